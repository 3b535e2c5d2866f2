"""Models as people log them with MLflow, whoever trained them: served here, they answer as MLflow's own scoring does."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from server import artifact, compilation, compiled, model
from server.app import create_app
from server.errors import FlavorUnsupported, LoadFailed, ModelAtFault
from server.loading import load
from server.metrics import Metrics
from server.pod import Pod
from server.replay import replay
from server.report import ENGINE
from server.settings import Trust
from server.signature import Columns, Vector
from server.table import Row
from tests.unit.server import factories
from tests.unit.server.local import Client

# MLflow's own: how it compares the columns of an example, and its advice on type hints and whole numbers. As errors, the
# latter would keep it from writing a signature. And scikit-learn's word on names: some cases mix frames and arrays on purpose.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
    pytest.mark.filterwarnings("ignore:.*(Any type hint is inferred|Add type hints|Hint. Inferred schema):UserWarning"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning"),
]

SIZE = 24
RANDOM = np.random.default_rng(0)
ARRAY = RANDOM.gamma(2, size=(SIZE, 3)).round(3)
FRAME = pd.DataFrame(ARRAY, columns=["a", "b", "c"])
TEXTS = ["red apple", "blue sky", "red sky", "green apple"] * 6
MIXED = pd.DataFrame({"number": ARRAY[:, 0], "count": range(SIZE), "plan": ["basic", "pro"] * 12, "review": TEXTS, "new": True})
GAPS = MIXED.assign(plan=MIXED["plan"].where(MIXED["count"] % 5 > 0), number=MIXED["number"].where(MIXED["count"] % 3 > 0))
COUNTS = pd.DataFrame({"count": pd.array([1, None, 3, 4] * 6, dtype="Int64"), "other": pd.array([1, 2, None, None] * 6)})
DATES = pd.DataFrame({"since": pd.date_range("2026-01-01", periods=SIZE, freq="31h"), "a": ARRAY[:, 0]})
KINDS = pd.DataFrame({"kind": pd.Categorical(["x", "y", "z"] * 8), "a": ARRAY[:, 0]})
WORDS = np.array([["red", "big"], ["blue", "big"], ["red", "small"]] * 8)
SPARSE = OneHotEncoder().fit_transform(WORDS)
TWO = np.arange(SIZE) % 2
THREE = np.array(["low", "mid", "high"])[np.arange(SIZE) % 3]
NUMBER = ARRAY @ [1.0, 2.0, 3.0]


@dataclass(frozen=True)
class Case:
    """One model, how it is logged, and what is then recorded of its inputs."""

    fitted: Callable[[], Any]
    example: Any
    inputs: str = "Columns"
    more: dict[str, Any] = field(default_factory=dict)
    by_estimator: bool = False
    """MLflow's scoring can't ask it, or asks it wrongly: the estimator itself is the judge."""


def encoded() -> Any:
    return make_column_transformer(
        (OneHotEncoder(), ["plan"]),
        (TfidfVectorizer(), "review"),
        (SimpleImputer(), ["number", "count"]),
        ("passthrough", ["new"]),
    )


def hours(frame: pd.DataFrame) -> Any:
    return frame.assign(since=frame["since"].dt.hour, weekday=frame["since"].dt.day_of_week)


PICKLED = {"serialization_format": "cloudpickle"}
UNSIGNED = {"signature": False}
SKOPS = {"skops_trusted_types": ["numpy.dtype"]}


def mixed(frame: pd.DataFrame) -> Any:
    return make_pipeline(encoded(), LogisticRegression()).fit(frame, TWO)


def reading() -> Any:
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


def signed(inputs: Any) -> dict[str, Any]:
    """Where MLflow asks the model itself for a signature in vain, a person gives it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whole numbers with gaps: just the case
        return {"signature": infer_signature(inputs, TWO)}


CASES = {
    "three classes": Case(lambda: RandomForestClassifier(5).fit(FRAME, THREE), FRAME[:4], more=PICKLED),
    "truth values as labels": Case(lambda: LogisticRegression().fit(FRAME, TWO == 1), FRAME[:4]),
    "labels that are texts of numpy": Case(lambda: LinearSVC().fit(ARRAY, THREE), ARRAY[:4], "Arrays"),
    "several numbers": Case(lambda: LinearRegression().fit(FRAME, FRAME[["b", "a"]]), FRAME[:4]),
    "several labels": Case(
        lambda: DecisionTreeClassifier().fit(FRAME, np.stack([THREE, THREE[::-1]], axis=1)), FRAME[:4], more=PICKLED
    ),
    "a search": Case(lambda: GridSearchCV(LogisticRegression(), {"C": [1]}).fit(FRAME, TWO), FRAME[:4], more=PICKLED),
    "clusters": Case(lambda: KMeans(2, random_state=0).fit(FRAME), FRAME[:4]),
    "outliers": Case(lambda: IsolationForest(n_estimators=5, random_state=0).fit(FRAME), FRAME[:4], more=PICKLED),
    "columns of every kind": Case(lambda: mixed(MIXED), MIXED[:4], more=SKOPS),
    "columns with gaps": Case(lambda: mixed(GAPS), GAPS[:9], more=SKOPS),
    "whole numbers with gaps": Case(
        lambda: make_pipeline(SimpleImputer(), LinearRegression()).fit(COUNTS, NUMBER),
        COUNTS[:4],
        more=SKOPS | signed(COUNTS),
        by_estimator=True,
    ),
    "dates": Case(
        lambda: make_pipeline(FunctionTransformer(hours), LinearRegression()).fit(DATES, NUMBER), DATES[:4], more=PICKLED
    ),
    "categories": Case(
        lambda: HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=2).fit(KINDS, TWO),
        KINDS[:4],
        more=PICKLED | signed(KINDS),
        by_estimator=True,
    ),
    "one column with texts": Case(
        lambda: make_pipeline(make_column_transformer((TfidfVectorizer(), "review")), LogisticRegression()).fit(MIXED, TWO),
        MIXED[["review"]][:4],
        more=SKOPS,
    ),
    "a series of texts": Case(
        lambda: reading().fit(MIXED["review"], TWO), MIXED[["review"]][:4], more=signed(MIXED["review"]), by_estimator=True
    ),
    "a series of texts without a name": Case(
        lambda: reading().fit(MIXED["review"], TWO),
        MIXED[["review"]][:4],
        more=signed(pd.Series(TEXTS)),
        by_estimator=True,
    ),
    "a list of texts": Case(lambda: reading().fit(TEXTS, TWO), TEXTS[:4], more=signed(TEXTS), by_estimator=True),
    "a text": Case(lambda: reading().fit(TEXTS, TWO), TEXTS[0], more=signed(TEXTS[0]), by_estimator=True),
    "an array of texts": Case(lambda: reading().fit(np.array(TEXTS), TWO), np.array(TEXTS[:4])),
    "texts that a function sees first": Case(
        lambda: make_pipeline(FunctionTransformer(np.char.upper), reading()).fit(TEXTS, TWO), np.array(TEXTS[:4]), more=PICKLED
    ),
    "single precision": Case(
        lambda: KNeighborsClassifier(1, algorithm="brute").fit(ARRAY.astype(np.float32), THREE),
        ARRAY[:9].astype(np.float32),
        "Arrays",
    ),
    "columns in single precision": Case(
        lambda: LinearRegression().fit(FRAME.astype(np.float32), NUMBER), FRAME[:4].astype(np.float32)
    ),
    "whole numbers": Case(lambda: LogisticRegression().fit(ARRAY.astype(int), TWO), ARRAY[:4].astype(int), "Arrays"),
    "an array of truth values": Case(lambda: BernoulliNB().fit(ARRAY > 1, TWO), ARRAY[:4] > 1),
    "an array of words": Case(lambda: make_pipeline(OneHotEncoder(), LogisticRegression()).fit(WORDS, TWO), WORDS[:4]),
    "an array with one column": Case(lambda: IsotonicRegression().fit(ARRAY[:, 0], NUMBER), ARRAY[:4, 0], "Arrays"),
    "a sparse array": Case(lambda: LogisticRegression().fit(SPARSE, TWO), SPARSE[:4], "Arrays"),
    "a sparse array by columns": Case(lambda: LogisticRegression().fit(SPARSE, TWO), SPARSE[:4].tocsc(), "Arrays"),
    "lists of numbers": Case(
        lambda: LogisticRegression().fit(ARRAY, TWO), ARRAY[:4].tolist(), "Arrays", signed(ARRAY.tolist()), by_estimator=True
    ),
    "columns without names": Case(
        lambda: LogisticRegression().fit(ARRAY, TWO),
        pd.DataFrame(ARRAY[:4]),
        "Arrays",
        {"signature": ModelSignature(Schema([ColSpec("double")] * 3))},
    ),
    "columns with numbers for names": Case(lambda: LogisticRegression().fit(pd.DataFrame(ARRAY), TWO), pd.DataFrame(ARRAY[:4])),
    "a frame for what was trained on an array": Case(lambda: LogisticRegression().fit(ARRAY, TWO), FRAME[:4]),
    "an array for what was trained on a frame": Case(
        lambda: LogisticRegression().fit(FRAME, TWO), FRAME[:4].to_numpy(), "Arrays", by_estimator=True
    ),
    "a row as a dictionary": Case(lambda: LogisticRegression().fit(FRAME, TWO), {"a": 1.5, "b": 2.5, "c": 0.5}),
    "rows as dictionaries": Case(
        lambda: mixed(GAPS), GAPS.astype(object).where(GAPS.notna(), None)[:4].to_dict("records"), more=SKOPS
    ),
    "parameters beside the rows": Case(lambda: LogisticRegression().fit(FRAME, TWO), (FRAME[:4], {"threshold": 0.5})),
    "no signature": Case(lambda: LogisticRegression().fit(FRAME, TWO), FRAME[:4], "NoSignature", UNSIGNED),
    "no signature and texts": Case(lambda: mixed(MIXED), MIXED[:4], "NoSignature", SKOPS | UNSIGNED),
    "no signature and gaps": Case(lambda: mixed(GAPS), GAPS[:9], "NoSignature", SKOPS | UNSIGNED),
    "no signature and nothing but texts": Case(lambda: reading().fit(TEXTS, TWO), np.array(TEXTS[:4]), "NoSignature", UNSIGNED),
    "a signature that says nothing": Case(
        lambda: LogisticRegression().fit(FRAME, TWO),
        FRAME[:4],
        "NoSignature",
        {"signature": ModelSignature(Schema([ColSpec(AnyType())]))},
        by_estimator=True,
    ),
    "no signature, since it can't be inferred": Case(
        lambda: reading().fit(TEXTS, TWO), TEXTS[:4], "NoSignature", by_estimator=True
    ),
    "no signature and categories": Case(
        lambda: HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=2).fit(KINDS, TWO),
        KINDS[:4],
        "NoSignature",
        PICKLED,
        by_estimator=True,
    ),
}


def saved(case: Case, directory: Path) -> artifact.Artifact:
    mlflow.sklearn.save_model(
        case.fitted(), directory, input_example=case.example, **{"pip_requirements": ["scikit-learn"], **case.more}
    )
    return artifact.read(directory)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_recorded_example_is_answered_as_by_mlflow(case: Case, tmp_path: Path) -> None:
    about = saved(case, tmp_path / "model")
    loaded = model.load(about, Trust())
    assert about.signature == case.inputs
    assert replay(loaded, about) == "Executed"
    assert about.example is not None
    expected = asked(case, loaded, tmp_path / "model")
    assert_same(loaded.predict(about.example).predictions, expected)
    assert_same([loaded.predict([row]).predictions[0] for row in about.example], expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_protocol_has_words_for_its_rows(case: Case, tmp_path: Path) -> None:
    about = saved(case, tmp_path / "model")
    pod = Pod(factories.told(about.directory), Metrics())
    pod.serving = load(pod.settings, pod.metrics)
    rows = [list(row) for row in about.example or ()]
    expected = pod.serving.engine.predict(rows).predictions
    inputs = pod.serving.engine.inputs
    with Client(create_app(pod)) as client:
        if isinstance(inputs, Columns):
            names: list[Any] = [column.name for column in inputs.columns]
            records: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in rows]
            described = client.get("/v2/models/fraud").json()["inputs"]
            tensors = [
                {"name": name, "shape": [len(rows)], "datatype": tensor["datatype"], "data": [row[index] for row in rows]}
                for index, (name, tensor) in enumerate(zip(names, described, strict=True))
            ]
        else:
            names = list(range(len(rows[0])))
            records = [{"features": row} for row in rows]
            tensors = [{"name": "input-0", "shape": [len(rows), len(names)], "datatype": "FP64", "data": rows}]
        answers = client.post("/predict", json=records).json()
        assert_same([answer["prediction"] for answer in answers], expected)
        split = {"dataframe_split": {"columns": names, "data": rows}}
        for path, body in {"/invocations": split, "/v1/models/fraud:predict": {"instances": rows}}.items():
            assert_same(client.post(path, json=body).json()["predictions"], expected)
        (output,) = client.post("/v2/models/fraud/infer", json={"inputs": tensors}).json()["outputs"]
        assert_same(output["data"], np.array(expected, dtype=object).ravel().tolist())
        assert [client.get(path).status_code for path in ("/docs", "/openapi.json")] == [200, 200]
    pod.serving.predictor.close()


COMPILED = (
    "three classes", "a search", "whole numbers with gaps", "categories", "columns in single precision", "whole numbers",
    "an array of words", "a sparse array", "lists of numbers", "columns without names", "columns with numbers for names",
    "a frame for what was trained on an array", "an array for what was trained on a frame", "no signature",
)  # fmt: skip


@pytest.mark.parametrize("name", COMPILED)
def test_the_compiled_form_takes_and_says_the_same(name: str, tmp_path: Path) -> None:
    about = saved(CASES[name], tmp_path / "model")
    native = model.load(about, Trust())
    made = compilation.attempt(native, about, "sha256:" + "0" * 64, tmp_path / "compiled", 1_000_000)
    assert made.reason is None
    engine = compiled.load(tmp_path / "compiled" / ENGINE)
    assert engine.inputs == native.inputs
    assert about.example is not None
    assert_same(engine.predict(about.example).predictions, native.predict(about.example).predictions)


def asked(case: Case, loaded: model.Model, directory: Path) -> list[Any]:
    """What MLflow's scoring says to the example as it was given, or else the estimator."""
    data = case.example[0] if isinstance(case.example, tuple) else case.example
    if not case.by_estimator:
        answers = mlflow.pyfunc.load_model(str(directory)).predict(data)
    elif isinstance(data, str):
        answers = loaded.estimator.predict([data])
    else:
        answers = loaded.estimator.predict(data["review"] if isinstance(data, pd.DataFrame) and "review" in data else data)
    return list(np.asarray(answers).tolist())


def assert_same(answers: list[Any], expected: list[Any]) -> None:
    if np.asarray(expected).dtype.kind == "f":  # rounding depends on how many rows there are
        np.testing.assert_allclose(answers, expected, rtol=1e-6)
    else:
        assert answers == expected


REFUSED: dict[str, tuple[Callable[[], Any], dict[str, Any], type[ModelAtFault], str]] = {
    "what only transforms": (lambda: StandardScaler().fit(FRAME), {}, FlavorUnsupported, "StandardScaler, which has no predict"),
    "what knows only its own rows": (lambda: DBSCAN().fit(FRAME), {}, FlavorUnsupported, "DBSCAN, which knows only the rows"),
    "what was never fitted": (LogisticRegression, {}, LoadFailed, "LogisticRegression that was never fitted"),
    "probabilities that there are not": (
        lambda: make_pipeline(DecisionTreeClassifier()).fit(FRAME, np.stack([TWO, THREE], axis=1)),
        {"pyfunc_predict_fn": "predict_proba"},
        FlavorUnsupported,
        "Pipeline has no probabilities of a single label",
    ),
    "logarithms of probabilities": (
        lambda: LogisticRegression().fit(FRAME, TWO),
        {"pyfunc_predict_fn": "predict_log_proba"},
        FlavorUnsupported,
        "pyfunc_predict_fn='predict_log_proba'. Supported is predict or predict_proba",
    ),
    "code of its own": (
        lambda: LogisticRegression().fit(FRAME, TWO),
        {"code_paths": [str(Path(__file__).parent / "forest.py")]},
        FlavorUnsupported,
        "code_paths",
    ),
}


@pytest.mark.parametrize(("fitted", "more", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_served_is_refused_with_a_sentence(
    fitted: Callable[[], Any], more: dict[str, Any], error: type[ModelAtFault], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        model.load(saved(Case(fitted, None, more=PICKLED | more), tmp_path / "model"), Trust())


def test_another_flavor_is_refused_with_what_is_supported(tmp_path: Path) -> None:
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=lambda model_input: model_input, pip_requirements=["scikit-learn"])
    with pytest.raises(FlavorUnsupported, match=r"flavors python_function\. Supported is sklearn, serialized as skops"):
        artifact.read(tmp_path / "model")


@pytest.mark.parametrize(
    "estimator", [HistGradientBoostingClassifier(max_iter=2), LogisticRegression()], ids=["takes", "refuses"]
)
def test_a_value_of_an_array_may_be_missing_where_the_estimator_answers_then(estimator: Any, tmp_path: Path) -> None:
    loaded = model.load(saved(Case(lambda: estimator.fit(ARRAY, TWO), ARRAY[:2], more=PICKLED), tmp_path / "model"), Trust())
    assert loaded.inputs == Vector(width=3, optional=isinstance(estimator, HistGradientBoostingClassifier))


def test_what_was_trained_on_a_frame_knows_its_names_without_a_signature(tmp_path: Path) -> None:
    loaded = model.load(saved(Case(lambda: mixed(MIXED), MIXED[:2], more=SKOPS | UNSIGNED), tmp_path / "model"), Trust())
    assert loaded.inputs == Vector(width=5, numbers=False, optional=True, names=tuple(map(str, MIXED)))


def test_the_company_of_a_row_does_not_change_its_answer_where_nobody_says_what_its_values_are(tmp_path: Path) -> None:
    loaded = model.load(saved(Case(lambda: mixed(GAPS), GAPS[:2], more=SKOPS | UNSIGNED), tmp_path / "model"), Trust())
    rows: list[Row] = [
        [1.5, 3.0, "pro", "red sky", True],
        [1.5, None, None, "blue sky", False],
        ["2", 3.0, "pro", "red sky", True],
    ]
    alone = [loaded.predict([row]) for row in rows]
    together = loaded.predict([*rows, *rows[::-1]])
    order = [*alone, *alone[::-1]]
    assert together.predictions == [one.predictions[0] for one in order]
    np.testing.assert_allclose(together.probabilities or [], [(one.probabilities or [])[0] for one in order], rtol=1e-12)
    seen: list[int] = []
    watched = replace(loaded, estimator=Watched(loaded.estimator, seen))
    watched.predict([*rows, *rows])
    assert seen == [2, 2, 2]


class Watched:
    """Notes how many rows it gets at a time."""

    def __init__(self, estimator: Any, seen: list[int]) -> None:
        self._estimator, self._seen = estimator, seen

    def predict(self, data: pd.DataFrame) -> Any:
        return self._estimator.predict(data)

    def predict_proba(self, data: pd.DataFrame) -> Any:
        self._seen.append(len(data))
        return self._estimator.predict_proba(data)
