"""What `python -m training run` leaves in a real MLflow is what the server reads: bit for bit, with every proof."""

import re
from pathlib import Path

import joblib
import numpy as np
import pytest
import yaml
from sklearn.datasets import load_breast_cancer

from server.model import load
from server.replay import replay
from server.settings import Trust
from server.signature import Columns
from tests.contract.mlflow_server import free_port
from tests.contract.training_registry import Registry, Run, train
from tests.unit.training.factories import customers, with_gaps

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="session")
def built_in(registry: Registry) -> Run:
    """The breast cancer table, with every default, as the champion."""
    return train(registry.uri, "--alias", "champion")


@pytest.fixture(scope="session")
def mixed(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Texts, truth values, missing values, names that are not ASCII."""
    path = tmp_path_factory.mktemp("data") / "customers.csv"
    with_gaps(customers(120)).to_csv(path, index=False)
    return train(
        registry.uri, "--data", str(path), "--target", "churn", "--name", "Kunden", "--trees", "10",
        "--range", "age=0:120", "--tag", "validation_status=approved",
    )  # fmt: skip


def test_a_run_ends_with_figures_and_what_to_apply(registry: Registry, built_in: Run) -> None:
    assert (built_in.code, built_in.err) == (0, "")
    assert re.search(r"^  load +\d+\.\d s  569 rows; columns: 30 number$", built_in.out, re.MULTILINE)
    assert re.search(r"^  accuracy    0\.9\d\d ± 0\.0\d\d +0\.9\d\d$", built_in.out, re.MULTILINE)
    assert f"{registry.uri}/#/models/breast-cancer/versions/1" in built_in.out
    applied = yaml.safe_load(built_in.out[built_in.out.index("apiVersion") :])
    assert applied["spec"] == {"model": {"name": "breast-cancer", "alias": "champion"}}


def test_mlflow_has_the_version_its_alias_and_all_that_was_measured(registry: Registry, built_in: Run) -> None:
    version = registry.client.get_model_version_by_alias("breast-cancer", "champion")
    run = registry.client.get_run(version.run_id)
    assert (version.version, version.status, run.info.status) == ("1", "READY", "FINISHED")
    assert run.data.params.items() >= {
        "target": "target", "trees": "100", "max_depth": "10", "folds": "5", "test_size": "0.2", "seed": "42",
        "task": "classification", "estimator": "forest", "rows": "569", "rows_trained_on": "455", "columns": "30",
        "data": "scikit-learn's breast cancer table",
    }.items()  # fmt: skip
    names = ("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "brier")
    assert set(run.data.metrics) == {
        *(f"test_{name}" for name in names),
        *(f"cv_{name}_{figure}" for name in names for figure in ("mean", "std")),
    }
    assert run.data.metrics["test_accuracy"] > 0.93
    assert run.data.metrics["test_roc_auc"] > 0.98
    (logged,) = run.outputs.model_outputs
    of_the_model = registry.client.get_logged_model(logged.model_id).metrics or []
    assert {metric.key: metric.value for metric in of_the_model} == run.data.metrics


def test_the_run_has_a_report_and_its_pictures(registry: Registry, built_in: Run) -> None:
    run = registry.client.get_model_version("breast-cancer", "1").run_id
    names = {file.path for folder in (None, "plots") for file in registry.client.list_artifacts(run, folder)}
    assert names >= {"report.html", "plots/confusion.png", "plots/roc.png", "plots/importance.png"}
    assert re.search(r"^  report +\d+\.\d s  report\.html, and 5 pictures$", built_in.out, re.MULTILINE)
    report = Path(registry.client.download_artifacts(run, "report.html", str(registry.directory))).read_text()
    assert report.count("data:image/png;base64,") == 5


def test_the_server_reads_what_was_registered(registry: Registry, built_in: Run) -> None:
    model = registry.model("breast-cancer", "1")
    whole = load_breast_cancer(as_frame=True).frame
    assert isinstance(model.inputs, Columns)
    assert [c.name for c in model.inputs.columns] == list(whole.columns.drop("target"))
    assert {(c.type, c.required) for c in model.inputs.columns} == {("double", True)}
    assert model.record.target == "target"
    version = registry.client.get_model_version("breast-cancer", "1")
    assert model.record.metrics == registry.client.get_run(version.run_id).data.metrics
    assert model.record.data is not None
    assert (model.record.data["rows"], model.record.data["columns"]) == (455, 30)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", model.record.data["fingerprint"])
    low, high = model.record.bounds.seen["mean radius"]
    assert low is not None
    assert high is not None
    assert whole["mean radius"].min() <= low < high <= whole["mean radius"].max()
    assert model.record.bounds.declared == {}
    compiling = model.record.compiling
    assert compiling is not None
    assert (compiling.reason, compiling.worst) == (None, 0.0)
    assert compiling.nodes > 1000
    assert compiling.rows > 2000
    requirements = (model.directory / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in requirements} == {
        "mlflow", "scikit-learn", "numpy", "pandas", "scipy", "joblib", "skops",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["breast-cancer", "Kunden"])
def test_the_recorded_answer_is_repeated_bit_for_bit(registry: Registry, built_in: Run, mixed: Run, name: str) -> None:
    model = registry.model(name, "1")
    rows, recorded = model.example_frame, model.record.example
    assert rows is not None
    assert recorded is not None
    assert len(rows) == 5
    served = load(model, Trust(pickle="Deny" if name == "breast-cancer" else "Allow"))  # skops can't write what imputes texts
    for pipeline in (served.estimator, joblib.load(registry.dump(name, "1"))):
        assert pipeline.predict(rows).tolist() == recorded.predictions
        assert pipeline.classes_.tolist() == recorded.classes
        np.testing.assert_array_equal(pipeline.predict_proba(rows), np.array(recorded.probabilities))
    assert replay(load(model, Trust()), model) == "Answered"


def test_the_example_has_rows_of_both_classes(registry: Registry, built_in: Run) -> None:
    rows = registry.model("breast-cancer", "1").example_frame
    assert rows is not None
    whole = load_breast_cancer(as_frame=True).frame
    labels = whole.merge(rows.drop_duplicates(), on=list(rows.columns))["target"]
    assert len(labels) == 5
    assert set(labels) == {0, 1}


def test_quantities_are_registered_and_answered_again(registry: Registry, tmp_path: Path) -> None:
    frame = with_gaps(customers(120))
    frame["churn"] = frame["age"].fillna(40) * 1.5 + np.random.default_rng(0).normal(size=120)
    frame.to_csv(tmp_path / "spending.csv", index=False)
    done = train(
        registry.uri, "--data", str(tmp_path / "spending.csv"), "--target", "churn", "--name", "spending", "--trees", "5"
    )
    assert (done.code, done.err) == (0, "")
    assert re.search(r"regression: .* to .*, mean", done.out)
    model = registry.model("spending", "1")
    assert model.record.compiling is not None
    assert model.record.compiling.reason is None
    assert replay(load(model, Trust()), model) == "Answered"
    version = registry.client.get_model_version("spending", "1")
    assert {"test_rmse", "test_mae", "test_r2", "cv_r2_mean"} <= set(registry.client.get_run(version.run_id).data.metrics)


def test_texts_truth_values_and_gaps_arrive_as_they_are(registry: Registry, mixed: Run) -> None:
    assert (mixed.code, mixed.err) == (0, "")
    model = registry.model("Kunden", "1")
    assert isinstance(model.inputs, Columns)
    assert [(c.name, c.type, c.required) for c in model.inputs.columns] == [
        ("Größe", "double", False),
        ("age", "double", False),
        ("plan", "string", False),
        ("active", "boolean", False),
    ]
    assert model.record.compiling is not None
    assert model.record.compiling.reason is None
    assert model.record.bounds.declared == {"age": (0, 120)}
    assert set(model.record.bounds.seen) == {"Größe", "age"}
    assert "NaN" not in (model.directory / "input_example.json").read_text()
    assert model.example is not None
    assert any(None in row for row in model.example)
    version = registry.client.get_model_version("Kunden", "1")
    assert version.tags == {"validation_status": "approved"}
    assert version.aliases == []


def test_the_same_command_gives_the_same_figures_and_the_same_bytes(registry: Registry, built_in: Run) -> None:
    assert train(registry.uri, "--name", "again").code == 0
    first = registry.client.get_model_version("breast-cancer", "1")
    again = registry.client.get_model_version("again", "1")
    metrics = [registry.client.get_run(version.run_id).data.metrics for version in (first, again)]
    assert metrics[0] == metrics[1]
    dumps = [registry.dump(name, "1").read_bytes() for name in ("breast-cancer", "again")]
    assert dumps[0] == dumps[1]
    models = [registry.model(name, "1") for name in ("breast-cancer", "again")]
    assert models[0].estimator.read_bytes() == models[1].estimator.read_bytes()
    assert models[0].record == models[1].record


def test_another_forest_is_another_version_and_takes_the_alias(registry: Registry, built_in: Run) -> None:
    name = ("--name", "two", "--alias", "champion")
    assert train(registry.uri, *name, "--trees", "10").code == 0
    assert train(registry.uri, *name, "--trees", "3", "--max-depth", "2", "--seed", "7").code == 0
    assert registry.client.get_model_version_by_alias("two", "champion").version == "2"
    one, two = (registry.model("two", version).record.example for version in ("1", "2"))
    assert one is not None
    assert two is not None
    assert one.probabilities != two.probabilities


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("age,target\n1,0\n", 'There is no column "churn"'),
        ("age,churn\n1,0\nold,1\n2,0\n", 'Column "age", row 2 (line 3 of table.csv): "old" is no number'),
        ("age,churn\n1,0\n2,0\n", 'The target column "churn" has one class only: every row is 0.'),
    ],
)
def test_a_bad_table_registers_nothing(registry: Registry, tmp_path: Path, table: str, complaint: str) -> None:
    (tmp_path / "table.csv").write_text(table)
    done = train(registry.uri, "--data", str(tmp_path / "table.csv"), "--target", "churn", "--name", "bad")
    assert done.code == 2
    assert complaint in done.err
    assert len(done.err.splitlines()) == 1
    assert registry.client.search_registered_models("name = 'bad'") == []
    assert registry.client.get_experiment_by_name("bad") is None


def test_no_mlflow_is_told_within_seconds() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    done = train(uri)
    assert done.code == 1
    assert done.err.startswith(f"error: MLflow does not answer at {uri} (connection refused).")
    assert len(done.err.splitlines()) == 1
    assert done.seconds < 30


def test_an_mlflow_that_answers_and_then_refuses_is_told(registry: Registry) -> None:
    """As it does where the experiment of that name was deleted."""
    registry.client.delete_experiment(registry.client.create_experiment("gone"))
    done = train(registry.uri, "--name", "gone", "--trees", "2")
    assert done.code == 1
    assert f"error: MLflow at {registry.uri} refused:" in done.err
    assert registry.client.search_registered_models("name = 'gone'") == []
