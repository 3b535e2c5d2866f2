"""What can be looked at: pictures that any name fits in, importances that can be foretold, a page that needs no internet."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from tests.unit.training.factories import customers, settings, table
from training import importance
from training.estimators import Recipe, recipe
from training.evaluate import Judged, Spread, judge, scores
from training.importance import Importance, importances, measure
from training.page import page
from training.pipeline import fit
from training.plots import drawn, name, pictures
from training.report import report
from training.table import Part

PNG = b"\x89PNG\r\n"


class Sign:
    """Answers by the sign of the first column, and looks at no other."""

    classes_ = np.array(["no", "yes"])
    asked = 0

    def predict_proba(self, rows: pd.DataFrame) -> Any:
        self.asked += len(rows)
        yes = (rows.iloc[:, 0].to_numpy() > 0).astype(float)
        return np.column_stack([1 - yes, yes])

    def predict(self, rows: pd.DataFrame) -> Any:
        return self.classes_[(rows.iloc[:, 0].to_numpy() > 0).astype(int)]


def signs(rows: int = 400, columns: int = 3) -> Part:
    random = np.random.default_rng(0)
    features = pd.DataFrame(random.normal(size=(rows, columns))).rename(columns=lambda number: f"c{number}")
    return Part(features=features, labels=np.where(features["c0"] > 0, "yes", "no").astype(object))


def judged(classes: list[Any], rows: int = 60) -> Judged:
    random = np.random.default_rng(0)
    labels = random.choice(np.array(classes), rows)
    probabilities = random.dirichlet(np.ones(len(classes)), rows)
    found = np.array(classes)
    return Judged(labels=labels, predictions=found[probabilities.argmax(axis=1)], probabilities=probabilities, classes=found)


def test_only_the_column_that_is_looked_at_is_important() -> None:
    found = importances(Sign(), signs(), 0)
    assert found[0].column == "c0"
    assert found[0].mean == pytest.approx(0.5, abs=0.1)
    assert [each.mean for each in found[1:]] == [0.0, 0.0]
    assert found == importances(Sign(), signs(), 0)
    assert found != importances(Sign(), signs(), 1)
    assert measure(Sign()) == "ROC AUC"


def test_a_column_may_have_any_name() -> None:
    part = signs()
    named = Part(features=part.features.set_axis(["self", *part.features.columns[1:]], axis="columns"), labels=part.labels)
    assert importances(Sign(), named, 0)[0].column == "self"


def test_many_columns_are_not_answered_for_without_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "BUDGET", 2000)
    pipeline = Sign()
    found = importances(pipeline, signs(200, 40), 0)
    assert len(found) == 40
    assert (found[0].column, found[0].std) == ("c0", None)
    assert pipeline.asked <= 2100


def test_a_rare_class_is_looked_at_as_much_as_the_other() -> None:
    part = signs(5000)
    rare = np.flatnonzero(part.labels == "yes")[20:]
    kept = np.setdiff1d(np.arange(5000), rare)
    found = importances(Sign(), Part(features=part.features.iloc[kept], labels=part.labels[kept]), 0)
    assert found[0].mean == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("classes", [["$a", "b$", "客户", "<i>"], list(range(30))])
def test_each_picture_is_a_file(classes: list[Any]) -> None:
    important = [Importance(column=column, mean=0.1, std=0.01) for column in ("$x_{", "客户年龄", "long" * 20)]
    found = pictures(judged(classes), important, "accuracy")
    assert set(found) == {"confusion.png", "roc.png", "precision-recall.png", "calibration.png", "importance.png"}
    assert all(content.startswith(PNG) and len(content) < 60_000 for content in found.values())


def test_pictures_of_quantities() -> None:
    random = np.random.default_rng(0)
    labels = random.normal(size=3000)
    quantities = Judged(labels=labels, predictions=labels + random.normal(size=3000), probabilities=None, classes=None)
    found = pictures(quantities, [Importance(column="a", mean=0.1, std=None)], "R²")
    assert set(found) == {"predicted.png", "residuals.png", "importance.png"}


def test_a_name_that_the_font_has_no_letters_for_is_numbered() -> None:
    assert [name(text, 2) for text in ("Größe", "да", "客户", 7, "x" * 30)] == ["Größe", "да", "no. 3", "7", "x" * 23 + "…"]


def test_the_same_figures_give_the_same_picture() -> None:
    def how(axes: Axes) -> None:
        axes.set(title="$_{")

    assert drawn(how, 2, 2) == drawn(how, 2, 2)


def test_the_page_holds_everything_and_names_nothing_on_the_internet() -> None:
    frame = customers().rename(columns={"age": "<b>age</b>"})
    found, chosen = table(frame), settings(name="<fraud>")
    pipeline = fit(found.all, found.columns, recipe(chosen), found.task, chosen)
    answered = judge(pipeline, found.all)
    folds = {metric: Spread(mean=value, std=0.01) for metric, value in scores(answered).items()}
    files = report(found, found.all, pipeline, answered, folds, scores(answered), Recipe(kind="forest", trees=5), chosen)
    text = files["report.html"].decode()
    assert text.count("data:image/png;base64,") == len(files) - 1 == 5
    assert not re.search(r"https?:|<script|<link|url\(|<b>age", text)
    assert set(re.findall(r'(?:src|href)="(.{5})', text)) == {"data:"}
    for part in (
        "&lt;fraud&gt;",
        "&lt;b&gt;age&lt;/b&gt;",
        "Größe",
        found.fingerprint,
        "class <b>yes</b>",
        "± 0.010",
        "scikit-learn",
    ):
        assert part in text


def test_the_page_takes_remarks_and_columns_of_no_importance() -> None:
    found = table(customers(200).assign(id=[f"c{row}" for row in range(200)]))
    none = [Importance(column="id", mean=0.0, std=None)]
    text = page("n", found, {"r2": Spread(mean=0.5, std=0.1)}, {"r2": 0.4}, None, {}, {}, none, "R²")
    assert "200 different texts" in text
    assert "<td class='number'>0.0000</td>" in text
    assert "Precision, recall" not in text
