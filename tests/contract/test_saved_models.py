"""The models of the server's tests are written by hand, for speed: what stands in them is what MLflow itself writes."""

import json
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.sklearn
import pytest
import yaml
from mlflow.models import infer_signature

from server.artifact import METADATA_KEY, Record
from tests.unit.server import factories

MODELS: dict[str, Callable[[Path], Path]] = {
    **{
        make.__name__: make
        for make in (
            factories.forest,
            factories.mixed,
            factories.hostile,
            factories.regressor,
            factories.without_probabilities,
            factories.array,
            factories.several_outputs,
            factories.without_signature,
            factories.splines,
        )
    },
    "skops": partial(factories.forest, serialization="skops"),
}


def save(
    directory: Path,
    model: Any,
    example: Any = None,
    record: Record | None = None,
    serialization: str = "cloudpickle",
    trusted_types: Sequence[str] = (),
) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow has many opinions on pickle, integers and Python
        mlflow.sklearn.save_model(
            model,
            directory,
            signature=None if example is None else infer_signature(example, model.predict(example)),
            input_example=example,
            serialization_format=serialization,
            pip_requirements=["scikit-learn"],  # or MLflow starts a process to find out
            metadata={METADATA_KEY: record.model_dump(exclude_none=True)} if record else None,
            skops_trusted_types=list(trusted_types) or None,
        )
    return directory


def said(directory: Path) -> dict[str, Any]:
    mlmodel: dict[str, Any] = yaml.safe_load((directory / "MLmodel").read_text())
    for name, text in mlmodel.get("signature", {}).items():
        mlmodel["signature"][name] = json.loads(text or "null")
    return mlmodel


@pytest.mark.parametrize("name", MODELS)
def test_they_say_what_mlflow_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = MODELS[name](tmp_path / "ours")
    monkeypatch.setattr(factories, "save", save)
    mlflows = MODELS[name](tmp_path / "mlflows")

    here, there = said(ours), said(mlflows)
    here["flavors"]["python_function"] |= {key: there["flavors"]["python_function"][key] for key in ("env", "model_path")}
    assert here == {key: there[key] for key in here}
    assert {key for key in there if key.startswith(("metadata", "signature", "saved_input"))} <= set(here)
    assert {path.name for path in ours.iterdir()} <= {path.name for path in mlflows.iterdir()}
    if "saved_input_example_info" in here:
        example, mlflows_example = (json.loads((each / "input_example.json").read_text()) for each in (ours, mlflows))
        assert str(example) == str(mlflows_example)  # as text, since NaN is not equal to itself
