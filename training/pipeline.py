"""The one Pipeline: everything between a row of the table and a class, so that the server needs no code of ours.

Only scikit-learn's own classes go in: the estimator's file must load without this package.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from training.columns import Column
from training.settings import RunSettings
from training.table import Part


def fit(part: Part, columns: Sequence[Column], settings: RunSettings) -> Pipeline:
    """A pipeline that is trained on all cores, and answers on one.

    On several threads a forest adds the votes of its trees in whatever order they come, and the last bits differ.
    """
    pipeline = unfitted(columns, settings)
    with np.errstate(invalid="ignore"):  # the mean of a column whose few values are all in another fold
        pipeline.set_params(forest__n_jobs=-1).fit(part.features, part.labels)
    return pipeline.set_params(forest__n_jobs=1)


def unfitted(columns: Sequence[Column], settings: RunSettings) -> Pipeline:
    """The steps for these columns. Truth values go with the numbers, as 0 and 1."""
    texts = [column for column in columns if column.kind == "string"]
    numbers = [column for column in columns if column.kind != "string"]
    forest = RandomForestClassifier(
        n_estimators=settings.trees, max_depth=settings.max_depth, random_state=settings.seed, n_jobs=1
    )
    if not texts:
        return Pipeline([*_for_numbers(numbers).steps, ("forest", forest)])
    prepare = ColumnTransformer(
        [
            (name, steps, [column.name for column in some])
            for name, steps, some in (
                ("numbers", _for_numbers(numbers), numbers),
                ("texts", _for_texts(texts, settings), texts),
            )
            if some
        ]
    )
    return Pipeline([("prepare", prepare), ("forest", forest)])


def _for_numbers(columns: Sequence[Column]) -> Pipeline:
    """Scaling passes over missing values; what is missing then gets the median."""
    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(StandardScaler(), *([impute] if _gaps(columns) else []))


def _for_texts(columns: Sequence[Column], settings: RunSettings) -> Pipeline:
    """A missing text is a category of its own; one that training never saw is none of them."""
    impute = SimpleImputer(strategy="constant", fill_value="", missing_values=pd.NA)
    encode = OneHotEncoder(handle_unknown="ignore", max_categories=settings.max_categories)
    return make_pipeline(*([impute] if _gaps(columns) else []), encode)


def _gaps(columns: Sequence[Column]) -> bool:
    return any(column.optional for column in columns)
