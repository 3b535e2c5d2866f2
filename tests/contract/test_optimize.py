"""`python -m training optimize` against a real MLflow: one model is measured, the others were measured before."""

import subprocess
import sys
from pathlib import Path

import pytest

from server.model import load
from server.replay import replay
from server.settings import Trust
from tests.contract.training_registry import Registry
from tests.unit.training.factories import numbers, settings
from training.data import load as read
from training.optimize import known
from training.search import Found, key, specs
from training.table import checked

pytestmark = pytest.mark.timeout(180)


def measured(name: str, number: int) -> Found:
    """Of a forest that is neither small nor good."""
    return Found(
        key=name, spec=specs(balance=False)[number], folds={"accuracy": (0.8, 0.01)}, test={"accuracy": 0.8}, size=10**7,
        dump=10**6, plain=10**7, engine="compiled", load_seconds=0.1, row_seconds=0.001, row_seconds_sklearn=0.01,
        batch_seconds=0.1, memory=10**8, seconds=1.0,
    )  # fmt: skip


def test_it_goes_on_where_it_was_and_registers_the_choice(registry: Registry, tmp_path: Path) -> None:
    data, results = tmp_path / "t.csv", tmp_path / "results.jsonl"
    numbers(80).to_csv(data, index=False)
    chosen = settings(name="small")
    table = checked(read(data), chosen)
    lines = [
        measured(key(table, spec, chosen), number) for number, spec in enumerate(specs(balance=False)) if spec.kind != "linear"
    ]
    results.write_text("".join(line.model_dump_json() + "\n" for line in lines))
    command = [
        sys.executable, "-m", "training", "optimize", "--tracking-uri", registry.uri, "--data", str(data), "--target", "churn",
        "--name", "small", "--results", str(results), "--max-size", "1MB", "--max-p95", "50ms",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("known already") == 29
    assert "→ linear model" in done.stdout
    found = known(results)
    assert len(found) == 30
    (linear,) = (each for each in found.values() if each.spec.kind == "linear")
    assert (linear.engine, linear.test) == ("compiled", None)
    assert 0 < linear.row_seconds < linear.row_seconds_sklearn
    assert linear.memory > 0
    version = registry.client.get_model_version("small", "1")
    run = registry.client.get_run(version.run_id)
    assert run.data.params["estimator"] == "linear"
    assert float(run.data.params["size_reduction"]) == pytest.approx(10**7 / linear.size, rel=0.01)
    assert run.data.metrics["cv_accuracy_mean"] == pytest.approx(linear.folds["accuracy"][0])
    names = {file.path for folder in (None, "plots") for file in registry.client.list_artifacts(version.run_id, folder)}
    assert names >= {"optimize.tsv", "plots/frontier.png", "report.html"}
    model = registry.model("small", "1")
    assert replay(load(model, Trust()), model) == "Answered"
    assert linear.size == model.estimator.stat().st_size
