"""What is done with versions in a real MLflow: listed, compared, promoted, pinned, refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

import training
from tests.contract.between import between
from tests.contract.test_any_model import FRAME, TWO
from tests.contract.training_registry import Registry, train
from training.errors import InputError, NotGoodEnough

pytestmark = pytest.mark.timeout(180)

RESOURCE = """\
apiVersion: mlserving.dev/v1alpha1
kind: ModelDeployment
metadata: {name: fraud}
spec:
  model: {name: two versions, alias: champion}  # from the registry
"""


@pytest.fixture(scope="module")
def name(registry: Registry) -> str:
    """A model with two versions: the second has an input less, and better figures."""
    made = "two versions"
    training.register(
        LogisticRegression().fit(FRAME, TWO), FRAME, name=made, alias="champion", metrics={"test_f1": 0.5}, params={"C": 1}
    )
    fewer = FRAME[["a", "b"]]
    training.register(LogisticRegression(C=2).fit(fewer, TWO), fewer, name=made, metrics={"test_f1": 0.75}, params={"C": 2})
    return made


def command(*options: str) -> str:
    done = subprocess.run([sys.executable, "-m", "training", *options], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_versions_are_listed_with_aliases_and_figures(name: str) -> None:
    newest, first = training.versions(name)
    assert (newest.version, newest.aliases, newest.metrics) == ("2", (), {"test_f1": 0.75})
    assert (first.version, first.aliases) == ("1", ("champion",))
    lines = command("versions", name).splitlines()
    assert lines[0].split() == ["version", "alias", "registered", "(UTC)", "f1", "tags"]
    assert lines[2].split()[:2] == ["1", "champion"]
    assert lines[2].split()[-1] == "0.5000"


def test_a_list_takes_no_more_requests_the_more_versions_there_are(name: str, registry: Registry) -> None:
    """Some of which have their figures in a run, as MLflow 2 had them."""
    asked = {}
    for count in (2, 5):
        for version in range(len(training.versions(name)), count):
            run = registry.client.create_run("0")
            registry.client.log_metric(run.info.run_id, "test_f1", version / 10)
            registry.client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
        with between(registry.uri) as proxy:
            found = training.versions(name, tracking_uri=proxy.uri)
            asked[count] = len(proxy.asked)
    assert [version.metrics["test_f1"] for version in found] == [0.4, 0.3, 0.2, 0.75, 0.5]
    assert asked[5] <= asked[2] + 1  # one for all runs
    for version in (3, 4, 5):
        registry.client.delete_model_version(name, str(version))


def test_a_version_whose_answer_is_lost_is_made_once(registry: Registry) -> None:
    with between(registry.uri) as proxy:
        proxy.losing["/model-versions/create"] = 1
        done = training.register(LogisticRegression().fit(FRAME, TWO), FRAME, name="lost", tracking_uri=proxy.uri)
    assert proxy.losing["/model-versions/create"] == 0
    assert done.version == "1"
    assert [version.version for version in registry.client.search_model_versions("name = 'lost'")] == ["1"]


def test_two_versions_are_compared_by_number_or_alias(name: str) -> None:
    found = training.compare(name, "champion", 2)
    assert found.versions == ("1", "2")
    assert found.metrics == {"test_f1": (0.5, 0.75)}
    assert found.params == {"C": ("1", "2")}
    assert found.inputs == ('"c" is no input any more',)
    told = command("compare", name, "1", "2")
    assert "+0.2500" in told
    assert 'input "c" is no input any more' in told


def test_a_version_is_pinned_by_the_digest_of_its_files(name: str, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "fraud.yaml"
    file.write_text(RESOURCE)
    done = training.pin(file)
    assert (done.name, done.version) == (name, "1")
    expected = RESOURCE.replace("alias: champion", f"version: 1, digest: {done.digest}")
    assert file.read_text() == expected
    told = command("pin", str(file), "--version", "2")
    assert "+  model: {name: two versions, version: 2, digest: sha256:" in told
    assert done.digest not in file.read_text()


def test_an_alias_moves_only_to_what_is_good_enough(name: str, registry: Registry) -> None:
    with pytest.raises(NotGoodEnough, match=r"test_f1 is 0.75, at least 0.9 is asked for"):
        training.promote(name, 2, "staging", minimum={"test_f1": 0.9})
    assert registry.client.get_registered_model(name).aliases.keys() == {"champion"}
    assert training.promote(name, 1, "staging").before is None
    moved = training.promote(name, 2, "staging", minimum={"f1": 0.7})
    assert (moved.version, moved.before) == ("2", "1")
    assert str(registry.client.get_model_version_by_alias(name, "staging").version) == "2"
    assert f"{name}@staging is version 1, was version 2" in command("promote", name, "champion", "--alias", "staging")


def test_what_is_not_there_is_told(name: str) -> None:
    with pytest.raises(InputError, match=r'There is no version 9 of "two versions"; there are 2, 1.'):
        training.promote(name, 9, "champion")
    with pytest.raises(InputError, match=r'No version of "two versions" has the alias "prod"; there are'):
        training.compare(name, "prod", 1)
    with pytest.raises(InputError, match='There is no model "absent"'):
        training.versions("absent")


def test_a_run_below_its_gates_leaves_nothing_and_one_above_is_compared(registry: Registry) -> None:
    quick = ("--name", "gated", "--alias", "champion", "--trees", "3", "--folds", "2")
    poor = train(registry.uri, *quick, "--min", "f1=0.999")
    assert poor.code == 3
    assert "at least 0.999 is asked for" in poor.err
    assert registry.client.search_registered_models("name = 'gated'") == []
    assert train(registry.uri, *quick, "--min", "f1=0.8").code == 0
    worse = train(registry.uri, *quick, "--max-depth", "1", "--trees", "1", "--max-loss", "roc_auc=0.001")
    assert worse.code == 3, worse.out
    assert "that of version 1 on the same rows is" in worse.err
    other = train(registry.uri, *quick, "--seed", "7")
    assert other.code == 0
    assert "champion is version 1: accuracy 0.9" in other.out
    assert "on the same rows, some of which it may have been trained on" in other.out
    found = registry.client.get_model_version_by_alias("gated", "champion")
    assert str(found.version) == "2"
    run = registry.client.get_run(found.run_id)
    assert {"before_f1", "test_f1"} <= set(run.data.metrics)
    assert "Predicts target" in found.description
    files = {file.path for file in registry.client.list_artifacts(found.run_id)}
    assert {"pipeline.joblib", "model_card.md", "environment.txt"} <= files
    card = Path(registry.client.download_artifacts(found.run_id, "model_card.md", str(registry.directory))).read_text()
    assert "| mean radius | number | no | " in card
