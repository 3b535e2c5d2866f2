"""Small real models in MLflow's format, and what it takes to serve them; each call names only what its test is about."""

import json
import platform
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import sklearn
import skops.io
import yaml
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from server import manifest, settings
from server.artifact import METADATA_KEY, Answer, Bounds, Record
from server.settings import Settings

FOREST_ROW = {"mean radius": 17.99, "mean texture": 10.38, "mean perimeter": 122.8, "mean area": 1001.0}
"""The first row of the data and of the recorded example."""

MIXED_ROW = {"age": 41, "income": 30_500.5, "plan": "pro", "active": True}


def told(directory: Path, **changes: Any) -> Settings:
    """The settings for a model directory as it is."""
    return settings.parse({settings.VARIABLE: json.dumps(value(directory, **changes))})


def value(directory: Path, **changes: Any) -> dict[str, Any]:
    """The same as it travels."""
    model = {"name": "fraud", "version": "3", "digest": manifest.of_directory(directory).digest}
    return {"model": model, "modelDir": str(directory), **changes}


def altered(directory: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a model whose MLmodel says something else."""
    shutil.copytree(directory, target)
    path = target / "MLmodel"
    mlmodel = yaml.safe_load(path.read_text())
    change(mlmodel)
    path.write_text(yaml.safe_dump(mlmodel))
    return target


def cancer() -> tuple[pd.DataFrame, pd.Series]:
    """Real data: four columns are enough."""
    features, target = load_breast_cancer(return_X_y=True, as_frame=True)
    return features[list(FOREST_ROW)], target


def forest(directory: Path, serialization: str = "cloudpickle") -> Path:
    """A pipeline of numbers with everything recorded; `mean radius` has declared bounds."""
    features, target = cancer()
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(10, max_depth=4, random_state=0, n_jobs=2))
    pipeline.fit(features, target)
    example = features.head(3)
    answer = Answer(
        predictions=pipeline.predict(example).tolist(),
        probabilities=pipeline.predict_proba(example).tolist(),
        classes=pipeline.classes_.tolist(),
    )
    seen = {name: (float(features[name].min()), float(features[name].max())) for name in features}
    record = Record(example=answer, bounds=Bounds(seen=seen, declared={"mean radius": (0.0, 100.0)}))
    return save(directory, pipeline, example, record, serialization, ["sklearn.tree._tree.Tree"])


def mixed(directory: Path) -> Path:
    """Texts, truth values, whole numbers, a column that may be missing, and labels that are texts; nothing recorded."""
    random = np.random.default_rng(0)
    features = pd.DataFrame(
        {
            "age": random.integers(18, 90, 40),
            "income": np.where(random.random(40) > 0.8, np.nan, random.normal(30_000, 9_000, 40)),
            "plan": random.choice(["basic", "pro"], 40),
            "active": random.random(40) > 0.5,
        }
    )
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="error"), ["plan"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income"]),
        ("passthrough", ["active"]),
    )
    pipeline = make_pipeline(encode, LogisticRegression())
    pipeline.fit(features, np.where(features["age"] > 50, "leaves", "stays"))
    return save(directory, pipeline, features.sort_values("income").iloc[[0, -1]])  # the last has none


HOSTILE = (
    "<script>document.title='hacked'</script>",
    '"><img src=x onerror=alert(1)>',
    "it's \\ $(id) `id` %s {}",
    "__proto__",
    "large",
)
HOSTILE_LABELS = ("</dd><script>document.title='hacked'</script>", "\"quoted\" & 'so', a\u202eb")


def hostile(directory: Path) -> Path:
    """Names and labels that mean something to a browser, a shell or Python; a text and a number may be missing."""
    number, text, gaps, truth, whole = HOSTILE
    features = pd.DataFrame(
        {
            number: np.linspace(0, 1, 40),
            text: [None, "a", "b", "a"] * 10,
            gaps: [np.nan, 1, 2, 3] * 10,
            truth: [True, False] * 20,
            whole: 9007199254740993 + np.arange(40),
        }
    )
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), [text]), (SimpleImputer(), [gaps]), ("passthrough", [number, truth])
    )
    pipeline = make_pipeline(encode, LogisticRegression())
    pipeline.fit(features, np.where(features[number] > 0.5, *HOSTILE_LABELS))
    record = Record(bounds=Bounds(seen={number: (0.0, 1.0)}), target="<u>target</u>", metrics={"<i>test_f1</i>": 0.9})
    return save(directory, pipeline, features.head(2), record)


HOSTILE_NUMBERS = ('radius 5"', "a\\b", "ratio 1:2", "tab\there")


def hostile_numbers(directory: Path) -> Path:
    """Nothing but numbers, under names that JSON escapes."""
    features, target = cancer()
    features.columns = pd.Index(HOSTILE_NUMBERS)
    return save(directory, LogisticRegression(max_iter=5000).fit(features, target), features.head(2))


def regressor(directory: Path) -> Path:
    """Predicts numbers, and has its answer recorded."""
    features, _ = cancer()
    model = LinearRegression().fit(features[["mean radius"]], features["mean area"])
    example = features[["mean radius"]].head(3)
    return save(directory, model, example, Record(example=Answer(predictions=model.predict(example).tolist())))


def without_probabilities(directory: Path) -> Path:
    """A classifier that has none."""
    features, target = cancer()
    model = make_pipeline(StandardScaler(), LinearSVC()).fit(features, target.map({0: "bad", 1: "good"}))
    return save(directory, model, features.head(2))


def array(directory: Path) -> Path:
    """Trained on an array, with a signature of tensors."""
    features, target = cancer()
    model = LogisticRegression(max_iter=5000).fit(features.to_numpy(), target)
    return save(directory, model, features.head(2).to_numpy())


def without_signature(directory: Path) -> Path:
    """Neither signature nor example."""
    features, target = cancer()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, target)
    return save(directory, model)


def several_outputs(directory: Path) -> Path:
    """Two labels a row, whole numbers both."""
    features, target = cancer()
    model = DecisionTreeClassifier(random_state=0).fit(features, np.stack([target, 1 - target], axis=1))
    return save(directory, model, features.head(2))


SPLINE_TYPES = ("scipy._lib.array_api_compat.numpy._aliases.asarray", "scipy.interpolate._bsplines.BSpline")


def splines(directory: Path) -> Path:
    """A skops file with types that the server does not trust."""
    features, target = cancer()
    model = make_pipeline(StandardScaler(), SplineTransformer(n_knots=3), LogisticRegression()).fit(features, target)
    return save(directory, model, features.head(2), serialization="skops", trusted_types=SPLINE_TYPES)


FILES = {"cloudpickle": "model.pkl", "skops": "model.skops"}
TYPES = {"int64": "long", "float64": "double", "bool": "boolean"}


def save(
    directory: Path,
    model: Any,
    example: Any = None,
    record: Record | None = None,
    serialization: str = "cloudpickle",
    trusted_types: Sequence[str] = (),
) -> Path:
    """What `mlflow.sklearn.save_model` writes, as far as it is read when the model is served.

    MLflow itself takes longer than most tests; `tests/contract/test_saved_models.py` holds this to what it does.
    """
    directory.mkdir()
    path = directory / FILES[serialization]
    if serialization == "skops":
        skops.io.dump(model, path)
    else:
        path.write_bytes(cloudpickle.dumps(model))
    flavor: dict[str, Any] = {"code": None, "pickled_model": path.name, "serialization_format": serialization}
    flavor |= {"sklearn_version": sklearn.__version__, "skops_trusted_types": list(trusted_types) or None}
    function = {"loader_module": "mlflow.sklearn", "predict_fn": "predict", "python_version": platform.python_version()}
    flavors = {"sklearn": flavor, "python_function": function}
    mlmodel: dict[str, Any] = {"flavors": flavors}
    if record is not None:
        mlmodel["metadata"] = {METADATA_KEY: record.model_dump(exclude_none=True)}
    if example is not None:
        about, content = _columns(example) if isinstance(example, pd.DataFrame) else _array(example)
        answers = _tensor(model.predict(example))
        mlmodel["signature"] = {"inputs": json.dumps(about["inputs"]), "outputs": json.dumps([answers]), "params": None}
        mlmodel["saved_input_example_info"] = {
            "artifact_path": "input_example.json",
            "serving_input_path": "serving_input_example.json",
            **about["example"],
        }
        (directory / "input_example.json").write_text(json.dumps(content))
    (directory / "MLmodel").write_text(yaml.safe_dump(mlmodel))
    return directory


def _columns(example: pd.DataFrame) -> tuple[dict[str, Any], Any]:
    inputs = [
        {"type": TYPES.get(str(cells.dtype), "string"), "name": name, "required": bool(cells.notna().all())}
        for name, cells in example.items()
    ]
    cells = example.astype(object).where(example.notna(), np.nan)
    content = {"columns": list(example), "data": cells.to_numpy().tolist()}
    return {"inputs": inputs, "example": {"type": "dataframe", "pandas_orient": "split"}}, content


def _array(example: Any) -> tuple[dict[str, Any], Any]:
    return {"inputs": [_tensor(example)], "example": {"type": "ndarray"}}, example.tolist()


def _tensor(values: Any) -> dict[str, Any]:
    kind = "str" if values.dtype.kind == "U" else str(values.dtype)
    return {"type": "tensor", "tensor-spec": {"dtype": kind, "shape": [-1, *values.shape[1:]]}}
