"""The one Pipeline: everything between a row of the table and its answer, so that the server needs no code of ours.

Only scikit-learn's own classes go in: the estimator's file must load without this package.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from training.columns import Column
from training.estimators import Recipe
from training.settings import RunSettings, Task
from training.table import Part


def fit(part: Part, columns: Sequence[Column], chosen: Recipe, task: Task, settings: RunSettings) -> Pipeline:
    """A pipeline that is trained on all cores, and answers on one.

    On several threads a forest adds the votes of its trees in whatever order they come, and the last bits differ.
    """
    pipeline = unfitted(columns, chosen, task, settings)
    with np.errstate(invalid="ignore"):  # the mean of a column whose few values are all in another fold
        if chosen.kind == "forest":
            pipeline.set_params(model__n_jobs=settings.jobs)
        pipeline.fit(part.features, part.labels)
    if chosen.kind == "boosting":  # all that its file says of the machine; nothing asks for it once it is trained
        pipeline[-1]._bin_mapper.n_threads = 1
    return pipeline.set_params(model__n_jobs=1) if chosen.kind == "forest" else pipeline


def unfitted(columns: Sequence[Column], chosen: Recipe, task: Task, settings: RunSettings) -> Pipeline:
    """The steps for these columns. Truth values go with the numbers, as 0 and 1."""
    texts = [column for column in columns if column.kind == "string"]
    numbers = [column for column in columns if column.kind != "string"]
    model = chosen.estimator(task, settings.seed)
    if not texts:
        return Pipeline([*_for_numbers(numbers, chosen).steps, ("model", model)])
    prepare = ColumnTransformer(
        [
            (name, steps, [column.name for column in some])
            for name, steps, some in (
                ("numbers", _for_numbers(numbers, chosen), numbers),
                ("texts", _for_texts(texts, chosen, settings), texts),
            )
            if some
        ]
    )
    return Pipeline([("prepare", prepare), ("model", model)])


def _for_numbers(columns: Sequence[Column], chosen: Recipe) -> Pipeline:
    """Scaling passes over missing values; what is missing then gets the median. Boosting learns what missing means."""
    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(StandardScaler(), *([impute] if _gaps(columns) and chosen.kind != "boosting" else []))


def _for_texts(columns: Sequence[Column], chosen: Recipe, settings: RunSettings) -> Pipeline:
    """A missing text is a category of its own; one that training never saw is none of them."""
    impute = SimpleImputer(strategy="constant", fill_value="", missing_values=pd.NA)
    if chosen.kind == "boosting":  # it takes no sparse matrix, and a dense one of a column a category has no bound
        encode: Any = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=settings.max_categories
        )
    else:
        encode = OneHotEncoder(handle_unknown="ignore", max_categories=settings.max_categories)
    return make_pipeline(*([impute] if _gaps(columns) else []), encode)


def _gaps(columns: Sequence[Column]) -> bool:
    return any(column.optional for column in columns)
