"""Which engine answers, and that a compiled one needs nothing of scikit-learn."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server import __main__ as command
from server import apart, compilation, loading, manifest, report
from server.errors import DigestMismatch, NotCompiled
from server.metrics import Metrics
from server.pod import Serving
from server.report import ENGINE, NAME, Report
from server.settings import Settings
from tests.unit.server import factories
from tests.unit.server.conftest import Model
from tests.unit.server.process import ROOT


@pytest.fixture(scope="session")
def forest_engine(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `compile` writes for the forest. Not to be written to."""
    directory = tmp_path_factory.mktemp("engines") / "forest"
    compilation.compile_directory(factories.told(model("forest"), compiledDir=str(directory)))
    return directory


def load(settings: Settings) -> Serving:
    serving = loading.load(settings, Metrics())
    serving.predictor.close()
    return serving


def test_a_compiled_model_proves_the_same_as_the_model(model: Model, forest_engine: Path) -> None:
    compiled = load(factories.told(model("forest"), compiledDir=str(forest_engine)))
    native = load(factories.told(model("forest"), compiledDir=str(forest_engine), engine="Native"))
    assert (compiled.engine.name, compiled.verified, compiled.engine_reason) == ("compiled", "Answered", "")
    assert (native.engine.name, native.engine_reason) == ("sklearn", "spec.server.engine is Native")
    assert native.artifact.example is not None
    assert compiled.engine.inputs == native.engine.inputs
    for rows in (native.artifact.example, np.array(native.artifact.example)):
        assert compiled.engine.predict(rows) == native.engine.predict(rows)


LOADED = """
import json, os, sys
from server import loading, serve, settings
from server.metrics import Metrics
serving = loading.load(settings.parse(os.environ), Metrics())
print(json.dumps([serving.engine.name, sorted({module.split(".")[0] for module in sys.modules})]))
serving.predictor.close()
"""


def test_a_compiled_model_is_served_without_scikit_learn_or_its_file(
    model: Model, forest_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.dumps(factories.value(model("forest"), compiledDir=str(forest_engine), trust={"pickle": "Deny"}))
    monkeypatch.setenv("MLSERVING_SETTINGS", told)
    ended = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True, timeout=50)
    name, modules = json.loads(ended.stdout.splitlines()[-1])
    assert name == "compiled" and "onnxruntime" in modules
    assert not {"sklearn", "pandas", "scipy", "joblib", "skops", "cloudpickle"} & set(modules)


def changed(engine: Path, target: Path, *, told: bool) -> Path:
    """An engine with another leaf; `told`: whose report was made to fit."""
    shutil.copytree(engine, target)
    path = target / ENGINE / "leaves-2.npy"
    leaves = np.load(path)
    np.save(path, leaves[:, ::-1])
    if told:
        found = report.Report.model_validate_json((target / NAME).read_bytes())
        found.model_copy(update={"engine": manifest.of_directory(target / ENGINE).digest}).write(target)
    return target


@pytest.mark.parametrize(
    ("told", "reason"),
    [(False, "its compiled form was changed after it was written"), (True, "row 1 is predicted as 1, recorded is 0")],
)
def test_a_changed_leaf_is_not_served(model: Model, forest_engine: Path, tmp_path: Path, told: bool, reason: str) -> None:
    directory = changed(forest_engine, tmp_path / "engine", told=told)
    serving = load(factories.told(model("forest"), compiledDir=str(directory)))
    assert serving.engine.name == "sklearn" and reason in serving.engine_reason
    with pytest.raises(NotCompiled, match=reason):
        load(factories.told(model("forest"), compiledDir=str(directory), engine="Compiled"))


def test_whatever_is_wrong_with_the_compiled_form_costs_speed_only(model: Model, forest_engine: Path, tmp_path: Path) -> None:
    def reason(name: str, content: bytes | None, *, told: bool = True) -> str:
        directory = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        shutil.copytree(forest_engine, directory)
        (directory / name).unlink()
        if content is not None:
            (directory / name).write_bytes(content)
        if told and name != NAME:
            found = Report.model_validate_json((directory / NAME).read_bytes())
            found.model_copy(update={"engine": manifest.of_directory(directory / ENGINE).digest}).write(directory)
        serving = load(factories.told(model("forest"), compiledDir=str(directory)))
        assert (serving.engine.name, serving.verified) == ("sklearn", "Answered")
        return serving.engine_reason

    assert reason(NAME, None) == "nobody has compiled it: that is what the command fetch does"
    assert reason(NAME, b"{") == "the report on its compiling can't be read"
    assert "does not load" in reason("engine/trees-0.onnx", b"\x08\x0a garbage")
    assert "does not load" in reason("engine/program.json", b"{}")
    assert "does not load" in reason("engine/leaves-2.npy", None)


def test_the_engine_of_another_model_is_none(model: Model, forest_engine: Path) -> None:
    serving = load(factories.told(model("regressor"), compiledDir=str(forest_engine)))
    assert (serving.engine.name, serving.engine_reason) == ("sklearn", "another model was compiled")


def test_readyz_and_the_metric_say_which_engine_and_why(model: Model, tmp_path: Path) -> None:
    metrics = Metrics()
    loading.load(factories.told(model("forest"), compiledDir=str(tmp_path)), metrics).predictor.close()
    text = metrics.exposition()[0].decode()
    assert 'engine="sklearn"' in text and 'engine_reason="nobody has compiled it' in text


def test_compiling_writes_down_why_a_model_is_served_as_it_is(model: Model, tmp_path: Path) -> None:
    told = factories.told(model("forest"), compiledDir=str(tmp_path / "a"), trust={"pickle": "Deny"})
    assert "it does not load: The model was written with cloudpickle" in (compilation.compile_directory(told).reason or "")
    budget = factories.told(model("forest"), compiledDir=str(tmp_path / "b"), maxTreeNodes=5)
    assert compilation.compile_directory(budget).reason == report.read(tmp_path / "b", budget.model.digest).reason
    other = {"name": "fraud", "version": "3", "digest": "sha256:" + "0" * 64}
    with pytest.raises(DigestMismatch):
        compilation.compile_directory(factories.told(model("forest"), model=other))


def test_what_would_fail_its_example_in_the_server_is_told_before_it_starts(model: Model, tmp_path: Path) -> None:
    """The resource's status repeats what compiling told."""

    def otherwise(mlmodel: dict[str, Any]) -> None:
        mlmodel["metadata"]["mlserving"]["example"]["predictions"][0] = 1

    told = factories.told(factories.altered(model("forest"), tmp_path / "wrong", otherwise), compiledDir=str(tmp_path / "engine"))
    reason = compilation.compile_directory(told).reason or ""
    assert "it fails its recorded example" in reason and "row 1 is predicted as 0, recorded is 1" in reason


def test_compiling_that_takes_too_long_or_too_much_is_given_up(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt(**changes: Any) -> Report:
        value = factories.value(model("forest"), compiledDir=str(tmp_path), **changes)
        monkeypatch.setenv("MLSERVING_SETTINGS", json.dumps(value))
        return apart.compile_apart(factories.told(model("forest"), compiledDir=str(tmp_path), **changes))

    assert attempt(compileTimeoutSeconds=0.01).reason == "compiling it did not end within 0.01 seconds"
    limit = tmp_path / "memory.limit_in_bytes"
    limit.write_text(str(apart.RESERVE_BYTES + 12 * 1024 * 1024))
    monkeypatch.setattr(apart, "MEMORY_LIMITS", (tmp_path / "memory.max", limit))  # as where control groups are of version 1
    given_up = attempt()
    assert given_up.engine is None and given_up.reason is not None
    assert "memory" in given_up.reason or "ended with code" in given_up.reason
    assert report.read(tmp_path, given_up.model) == given_up


def test_the_init_step_says_what_will_answer_or_why_it_cannot_go_on(model: Model, tmp_path: Path) -> None:
    words = tmp_path / "termination-log"
    words.touch()
    told = factories.told(model("forest"), terminationMessagePath=str(words))
    command._say(Report(model="x"), told)
    assert json.loads(words.read_text()) == {"engine": "compiled"}
    command._say(Report(model="x", reason="SVC is not compiled"), told)
    assert json.loads(words.read_text()) == {"engine": "sklearn", "engineReason": "SVC is not compiled"}
    with pytest.raises(NotCompiled, match="can't be: SVC is not compiled"):
        command._say(Report(model="x", reason="SVC is not compiled"), told.model_copy(update={"engine": "Compiled"}))
