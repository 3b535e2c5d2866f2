"""What is compiled answers like scikit-learn; what can't be says why."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from server import compile as compiler
from server import compile_steps, compiled, onnx, parity
from server.report import ENGINE
from server.signature import Columns, Inputs, Vector
from server.table import Column
from tests.unit.server import compiling, estimators
from tests.unit.server.process import ROOT

TWO, LABELS = make_classification(200, 6, n_informative=4, random_state=0)
FOUR = make_classification(200, 6, n_informative=5, n_redundant=0, n_classes=4, random_state=0)
HOLES = np.where(np.random.default_rng(0).random(TWO.shape) < 0.1, np.nan, TWO)
TEXT_LABELS = np.array(["stays", "leaves", "unknown", "äöü"])[FOUR[1]]


PREDICTORS = [name for name, kind in estimators.KINDS.items() if hasattr(kind, "predict") and name != "LocalOutlierFactor"]
COMPILED = {*compiler.SUPPORTED, *compiler.WRAPPERS, "Pipeline"}


def test_the_readme_names_all_that_is_compiled_and_nothing_else() -> None:
    text = (ROOT / "server" / "README.md").read_text()
    table = text[text.index("| compiled |") : text.index("| not |")]
    named, ours = set(re.findall(r"\w+", table)), COMPILED | set(compile_steps.TRANSFORMERS)
    assert ours - named == set() == (named & set(estimators.KINDS)) - ours


@pytest.mark.filterwarnings("ignore:Class PassiveAggressive:FutureWarning")  # on their way out, and served until then
@pytest.mark.parametrize("name", [name for name in PREDICTORS if name in COMPILED - {"BaggingClassifier"}])
def test_each_estimator_of_the_list_is_compiled(name: str, tmp_path: Path) -> None:
    made = compiling.report(estimators.fitted(name), tmp_path)
    assert (made.reason, made.rows >= parity.SEEDED_ROWS, made.worst < 1e-12) == (None, True, True)


@pytest.mark.parametrize("name", [name for name in PREDICTORS if name not in COMPILED])
def test_any_other_is_named(name: str, tmp_path: Path) -> None:
    reason = compiling.report(estimators.fitted(name), tmp_path).reason or ""
    assert reason == f"{name} is not compiled" or reason.startswith(("nobody knows", "it has no signature", "it takes a text"))


@pytest.mark.parametrize(
    ("estimator", "target"),
    [(LogisticRegression(), LABELS), (LogisticRegression(), FOUR[1]), (Ridge(), TWO[:, 0] + LABELS)],
    ids=["two classes", "four classes", "numbers"],
)
def test_a_row_has_the_same_answer_whoever_else_asks(estimator: Any, target: Any, tmp_path: Path) -> None:
    made = compiling.engine(make_pipeline(StandardScaler(), estimator).fit(TWO, target), tmp_path)
    alone = [made.predict(row[None]) for row in TWO]
    for count in (2, 3, 5, 16, 64, 200):
        together = made.predict(TWO[:count])
        assert together.predictions == [one.predictions[0] for one in alone[:count]]
        if together.probabilities is not None:
            assert together.probabilities == [one.probabilities[0] for one in alone[:count] if one.probabilities]


HARDER: dict[str, tuple[Any, Any, Any]] = {
    "text labels": (RandomForestClassifier(8, random_state=0), FOUR[0], TEXT_LABELS),
    "a forest with missing values": (ExtraTreesClassifier(8, random_state=0), HOLES, LABELS),
    "histograms with missing values": (HistGradientBoostingClassifier(max_iter=8), HOLES, LABELS),
    "histograms with categories": (
        HistGradientBoostingClassifier(max_iter=8, categorical_features=[0, 3], min_samples_leaf=5),
        np.column_stack([np.arange(200) % 13, TWO[:, 1:3], np.arange(200) % 37, HOLES[:, 4:]]),
        (np.arange(200) % 13 % 3 == 1) ^ (LABELS == 1),
    ),
    "histograms where a missing category alone decides": (
        HistGradientBoostingClassifier(max_iter=4, categorical_features=[0], min_samples_leaf=5),
        np.column_stack([np.where(LABELS == 1, np.nan, np.arange(200) % 3), TWO]),
        LABELS,
    ),
    "histograms of counts": (HistGradientBoostingRegressor(loss="poisson", max_iter=8), TWO, LABELS + 1.0),
    "boosting of four": (GradientBoostingClassifier(n_estimators=4, random_state=0), *FOUR),
    "boosting with another loss": (GradientBoostingClassifier(loss="exponential", n_estimators=4), TWO, LABELS),
    "bagging of some columns": (BaggingClassifier(max_features=0.5, random_state=0), *FOUR),
    "trees of one leaf": (RandomForestClassifier(8, max_depth=1, min_samples_leaf=95, random_state=0), TWO, LABELS),
    "planes of four": (LogisticRegression(), *FOUR),
    "planes one against the others": (SGDClassifier(loss="log_loss", random_state=0), *FOUR),
    "planes of Huber": (SGDClassifier(loss="modified_huber", random_state=0), *FOUR),
    "sigmoids of a forest": (CalibratedClassifierCV(RandomForestClassifier(4, random_state=0), cv=2), *FOUR),
    "lines of planes": (CalibratedClassifierCV(LinearSVC(), method="isotonic", cv=2), TWO, LABELS),
    "a vote of the many": (VotingClassifier([("a", DecisionTreeClassifier(max_depth=2)), ("b", LinearSVC())]), TWO, LABELS),
    "a weighed vote": (
        VotingClassifier(
            [("a", make_pipeline(MinMaxScaler(clip=True), DecisionTreeClassifier(max_depth=2))), ("b", LogisticRegression())],
            voting="soft",
            weights=[1, 3],
        ),
        *FOUR,
    ),
    "a stack with its rows": (
        StackingClassifier([("a", RandomForestClassifier(3)), ("b", LinearSVC())], passthrough=True, cv=2), *FOUR
    ),
    "another threshold, of the first class": (
        FixedThresholdClassifier(RandomForestClassifier(5, random_state=0), threshold=0.3, pos_label=0), TWO, LABELS
    ),
    "scalers": (
        make_pipeline(StandardScaler(), MaxAbsScaler(), RobustScaler(), FunctionTransformer(np.square), LogisticRegression()),
        TWO, LABELS,
    ),
    "an imputer that tells": (
        make_pipeline(SimpleImputer(add_indicator=True), SelectKBest(k=5), RandomForestClassifier(4, random_state=0)),
        HOLES, LABELS,
    ),
    "side by side": (
        make_pipeline(make_union(StandardScaler(), make_pipeline(SelectKBest(k=2), FunctionTransformer())), LogisticRegression()),
        TWO, LABELS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HARDER.values(), ids=HARDER)
def test_harder_ones_are_compiled_too(case: tuple[Any, Any, Any], tmp_path: Path) -> None:
    estimator, rows, target = case
    inputs = Vector(width=rows.shape[1], optional=bool(np.isnan(rows).any()))
    made = compiling.report(estimator.fit(rows, target), tmp_path, inputs)
    assert (made.reason, made.worst < 1e-12) == (None, True)


SIGNATURE = compiling.columns(age="long", income="double", plan="string", city="string", active="boolean", weight="float")


def people(count: int = 240) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": random.integers(18, 90, count),
            "income": np.where(random.random(count) > 0.8, np.nan, random.normal(30_000, 9_000, count)),
            "plan": pd.Series(random.choice(["basic", "pro", "rare", "rarer"], count, p=[0.5, 0.46, 0.02, 0.02]), dtype="str"),
            "city": pd.Series(np.array(["Köln", "Rom", "Oslo", None])[random.integers(0, 4, count)], dtype="str"),
            "active": random.random(count) > 0.5,
            "weight": random.normal(70, 9, count).astype("float32"),
        }
    )


def leaves(table: pd.DataFrame) -> Any:
    return np.where((table["age"] > 50) ^ (table["city"] == "Rom"), "leaves", "stays")


ENCODERS: dict[str, Any] = {
    "one column each": OneHotEncoder(handle_unknown="ignore"),
    "but the first": OneHotEncoder(drop="first", handle_unknown="ignore"),
    "rare ones together": OneHotEncoder(min_frequency=20, handle_unknown="infrequent_if_exist", sparse_output=False),
    "no others": OneHotEncoder(handle_unknown="error"),
    "numbers": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
    "means": TargetEncoder(cv=2),
    "after an imputer": make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
}


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_categories_become_the_numbers_that_scikit_learn_makes_of_them(encoder: Any, tmp_path: Path) -> None:
    table = people()
    columns = make_column_transformer(
        (encoder, ["plan", "city"]),
        (OneHotEncoder(handle_unknown="ignore"), ["active"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["income", "age"]),
        ("drop", ["weight"]),
        remainder="passthrough",
    )
    made = compiling.report(make_pipeline(columns, DecisionTreeClassifier()).fit(table, leaves(table)), tmp_path, SIGNATURE)
    assert (made.reason, made.worst) == (None, 0.0)
    assert made.rows > parity.SEEDED_ROWS + parity.ODD_ROWS / 2


def test_histograms_encode_their_categories_themselves(tmp_path: Path) -> None:
    table = people()[["age", "plan", "income", "city"]].astype({"plan": "category", "city": "category"})
    boosted = HistGradientBoostingClassifier(max_iter=8, categorical_features=["plan", "city"]).fit(table, leaves(table))
    inputs = compiling.columns(age="long", plan="string", income="double", city="string")
    assert compiling.report(boosted, tmp_path, inputs).reason is None


def test_columns_are_found_by_name_where_the_signature_has_another_order(tmp_path: Path) -> None:
    table = people()[["age", "weight"]].astype(float)
    columns = make_column_transformer((StandardScaler(), ["weight"]), (MinMaxScaler(), ["age"]))
    estimator = make_pipeline(columns, LogisticRegression()).fit(table, leaves(people()))
    inputs = compiling.columns(weight="double", spare="string", age="double")
    engine = compiling.engine(estimator, tmp_path, inputs)
    row = pd.DataFrame({"age": [40.0], "weight": [80.0]})
    assert engine.predict([[80.0, "x", 40.0]]).probabilities == estimator.predict_proba(row).tolist()


def regression_of_two() -> Any:
    return RandomForestRegressor(2).fit(TWO, np.stack([LABELS, -LABELS], axis=1))


class Odd(RandomForestClassifier):  # type: ignore[misc]  # scikit-learn has no types
    """Its name says that it may answer otherwise."""


STRINGS = compiling.columns(a="string", b="string", c="string", d="string", e="string", f="string")

REFUSED: dict[str, tuple[Callable[[], Any], Inputs, str]] = {
    "text": (
        lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["red", "blue"], [0, 1]),
        Columns(columns=(Column(name="text", type="string"),), named=False),
        "it takes a text",
    ),
    "a step": (
        lambda: make_pipeline(PCA(2), LogisticRegression()).fit(TWO, LABELS), Vector(width=6), "PCA is not compiled"
    ),
    "somebody's own": (lambda: Odd(2).fit(TWO, LABELS), Vector(width=6), "test_compile.Odd is not compiled"),
    "several outputs": (regression_of_two, Vector(width=6), "RandomForestRegressor has several outputs"),
    "a function": (
        lambda: make_pipeline(FunctionTransformer(np.cbrt), Ridge()).fit(TWO, LABELS), Vector(width=6),
        "FunctionTransformer of cbrt is not compiled",
    ),
    "weights": (
        lambda: make_pipeline(
            FeatureUnion([("a", StandardScaler())], transformer_weights={"a": 2}), Ridge()
        ).fit(TWO, LABELS),
        Vector(width=6), "FeatureUnion with weights",
    ),
    "half the precision": (
        lambda: make_pipeline(StandardScaler(), Ridge()).fit(TWO.astype("float32"), LABELS), Vector(width=6, dtype="float32"),
        "StandardScaler computes in float32 here",
    ),
    "temperature": (
        lambda: CalibratedClassifierCV(LinearSVC(), method="temperature", cv=2).fit(TWO, LABELS), Vector(width=6),
        "calibration by temperature is not compiled",
    ),
    "a start": (
        lambda: GradientBoostingClassifier(n_estimators=2, init=DecisionTreeClassifier()).fit(TWO, LABELS), Vector(width=6),
        "starts from DecisionTreeClassifier",
    ),
    "text at the end": (
        lambda: HistGradientBoostingClassifier(max_iter=2).fit(TWO, LABELS), STRINGS,
        "gets columns of text",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "inputs", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compiled_says_what_stands_in_the_way(
    make: Callable[[], Any], inputs: Inputs, reason: str, tmp_path: Path
) -> None:
    assert reason in (compiling.report(make(), tmp_path, inputs).reason or "")


def test_a_row_that_only_one_of_them_answers_is_described(tmp_path: Path) -> None:
    """A truth value that is missing makes scikit-learn's sparse matrices fail."""
    table = people()[["plan", "active"]]
    columns = make_column_transformer((OneHotEncoder(), ["plan"]), remainder="passthrough", sparse_threshold=1)
    estimator = make_pipeline(columns, DecisionTreeClassifier()).fit(table, leaves(people()))
    made = compiling.report(estimator, tmp_path, compiling.columns(plan="string", active="boolean"))
    assert "scikit-learn refuses a row without 'active' that the other answers" in (made.reason or "")


def test_more_trees_than_the_budget_allows_are_left_alone(tmp_path: Path) -> None:
    forest = RandomForestClassifier(5, random_state=0).fit(TWO, LABELS)
    assert "and at most 100 are compiled" in (compiling.report(forest, tmp_path, max_nodes=100).reason or "")


def test_rows_are_refused_where_scikit_learn_refuses_them(tmp_path: Path) -> None:
    engine = compiling.engine(GradientBoostingClassifier(n_estimators=2).fit(TWO, LABELS), tmp_path)
    for value in (None, float("nan"), 1e39):  # the last one is no float32
        with pytest.raises(ValueError, match="missing, or too large"):
            engine.predict([[value, *TWO[0, 1:].tolist()]])
    assert len(engine.predict(TWO[:3]).predictions) == 3


def test_many_rows_are_answered_as_each_by_itself(tmp_path: Path) -> None:
    estimator = make_pipeline(StandardScaler(), RandomForestClassifier(8, random_state=0)).fit(*FOUR)
    engine = compiling.engine(estimator, tmp_path)
    rows = np.tile(FOUR[0], (1 + compiled.ROWS_AT_ONCE // 200, 1))
    together = engine.predict(rows)
    assert together.probabilities == estimator.predict_proba(rows).tolist()
    assert together.predictions == estimator.predict(rows).tolist()
    assert together.predictions[:200] == [engine.predict([row]).predictions[0] for row in FOUR[0].tolist()]


@pytest.mark.parametrize("threshold", [1e-9, -1e-9])
def test_a_threshold_that_is_a_little_off_is_seen(threshold: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    floor = onnx._floor
    monkeypatch.setattr(onnx, "_floor", lambda values: floor(values) * np.float32(1 + 1e-6 * np.sign(threshold)))
    made = compiling.report(RandomForestClassifier(8, random_state=0).fit(TWO, LABELS), tmp_path)
    assert made.engine is None and "it does not answer like scikit-learn: " in (made.reason or "")


def test_a_leaf_that_is_a_little_off_is_named_with_both_values(tmp_path: Path) -> None:
    forest = RandomForestClassifier(8, random_state=0).fit(TWO, LABELS)
    about = compiling.artifact(forest, tmp_path)
    assert compiling.report(forest, tmp_path).reason is None
    path = tmp_path / ENGINE / "leaves-2.npy"
    broken = np.load(path)
    broken[:, 1] += 1e-4
    np.save(path, broken)
    scikit_learn = compiling.native(forest, tmp_path)
    made = compiler.compile_model(scikit_learn, compiling.DIGEST, compiling.MAX_NODES)
    shown = parity.compare(scikit_learn, compiled.load(tmp_path / ENGINE), None, about, made)
    assert shown.difference is not None
    assert "the worst row differs by 0.0001" in shown.difference or "and scikit-learn says" in shown.difference
