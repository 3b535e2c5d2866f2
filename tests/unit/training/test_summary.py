"""The end of a run: figures, and a manifest that Kubernetes takes."""

import pytest
import yaml

from tests.unit.training.factories import settings
from training.evaluate import Spread
from training.notebook import Registered
from training.pipeline_run import Outcome
from training.summary import manifest, resource_name, summary, to_apply


def test_the_manifest_follows_the_alias_or_names_the_version() -> None:
    model = yaml.safe_load(manifest(settings(alias="champion"), "3"))["spec"]["model"]
    assert model == {"name": "fraud", "alias": "champion"}
    assert yaml.safe_load(manifest(settings(), "3"))["spec"]["model"] == {"name": "fraud", "version": "3"}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("fraud", "fraud"),
        ("Fraud Detector_v2", "fraud-detector-v2"),
        ("2024 churn", "model-2024-churn"),
        ("kunden-größe", "kunden-grosse"),
        ("Ærø Łódź Œuvre", "aero-lodz-oeuvre"),
        ("Évaluation №2", "evaluation-no2"),
        ("客户 churn", "churn"),
        ("2024", "model-2024"),
        ("x" * 62 + "--y", "x" * 62),
    ],
)
def test_a_name_that_a_service_can_have(model: str, name: str) -> None:
    assert resource_name(model) == name


def test_a_name_is_asked_for_where_none_can_be_made() -> None:
    assert resource_name("客户") is None
    resource = manifest(settings(name="客户"), "3")
    assert yaml.safe_load(resource)["metadata"]["name"] == "<name>"
    assert to_apply(resource).startswith("To serve it, kubectl apply this with a name of yours for <name> (lower-case")
    assert to_apply(manifest(settings(), "3")).startswith("To serve it, kubectl apply this:\n\napiVersion")


def test_what_register_returns_is_shown_once() -> None:
    """It is printed; as the last line of a cell it shows itself again."""
    made = Registered(
        name="fraud", version="3", digest="sha256:0", uri="models:/fraud/3", yaml="kind: ModelDeployment", sent_as="text"
    )
    assert repr(made) == "Registered(name='fraud', version='3', alias=None)"
    assert '  clients  send a row as {"text": "a text"}' in str(made).splitlines()


def test_the_summary_has_what_a_person_needs_next() -> None:
    from training.registry import Version

    version = Version(name="fraud", number="3", run_id="r", digest="sha256:0", url="http://m/#/models/fraud/versions/3")
    outcome = Outcome(version=version, folds={"f1": Spread(mean=0.9, std=0.01)}, test={"f1": 0.92}, positive="yes")
    text = summary(outcome, settings(alias="champion"))
    for part in ("0.900 ± 0.010", "0.920", "class yes", "version     3", "champion", version.url, "kind: ModelDeployment"):
        assert str(part) in text
