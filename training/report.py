"""What can be looked at of a model: pictures of the test part, the importance of its columns, and the page that holds them."""

from collections.abc import Mapping

from sklearn.pipeline import Pipeline

from training.estimators import Recipe
from training.evaluate import Judged, Scores, Spread
from training.importance import importances, measure
from training.page import page
from training.plots import pictures
from training.settings import REPORT, RunSettings
from training.table import Part, Table


def report(
    table: Table,
    test: Part,
    pipeline: Pipeline,
    judged: Judged,
    folds: Mapping[str, Spread],
    scores: Scores,
    chosen: Recipe,
    settings: RunSettings,
) -> dict[str, bytes]:
    """Files by name: the page, and each of its pictures for whoever wants to show one."""
    important, what = importances(pipeline, test, settings.seed), measure(pipeline)
    drawn = pictures(judged, important, what)
    parameters = {
        **chosen.parameters(),
        **settings.model_dump(include={"folds", "test_size", "seed"}),
    }
    written = page(settings.name, table, folds, scores, judged.positive, parameters, drawn, important, what)
    return {REPORT: written.encode(), **{f"plots/{name}": content for name, content in drawn.items()}}
