"""Whatever predicts in scikit-learn is served as it was fitted, from a pickle and from a skops file."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
import skops.io
from skops.io.exceptions import UnsupportedTypeException

from server import model, trust
from server.artifact import Artifact, Record, Serialization
from server.settings import Trust
from server.signature import Vector
from tests.unit.server import estimators

UNTRUSTED = {
    "SplineTransformer": {"scipy._lib.array_api_compat.numpy._aliases.asarray", "scipy.interpolate._bsplines.BSpline"},
    "SparseRandomProjection": {"scipy.sparse._csr.csr_matrix"},
    "SpectralEmbedding": {"scipy.sparse._csr.csr_matrix"},
}
"""Types that stay outside the list: compiled code follows the indices in them, and nobody checks those."""

NO_SKOPS = {"Birch"}
"""What skops itself can't write, so that MLflow doesn't either."""


def artifact(directory: Path, content: bytes, serialization: Serialization, inputs: Any) -> Artifact:
    path = directory / f"model.{serialization}"
    path.write_bytes(content)
    return Artifact(
        directory=directory,
        estimator=path,
        serialization=serialization,
        sklearn_version=sklearn.__version__,
        inputs=inputs,
        predict_function="predict",
        example=None,
        record=Record(),
    )


@pytest.mark.filterwarnings("ignore:Class PassiveAggressive:FutureWarning")  # on their way out, and served until then
@pytest.mark.parametrize("name", estimators.KINDS)
def test_it_is_served_as_it_was_fitted(name: str, tmp_path: Path) -> None:
    estimator = estimators.fitted(name)
    served = []
    if hasattr(estimator, "predict"):
        served.append(artifact(tmp_path, pickle.dumps(estimator), "pickle", Vector(width=None, numbers=False)))
    try:
        dumped = skops.io.dumps(estimator)
    except UnsupportedTypeException:
        assert name in NO_SKOPS
    else:
        unknown = set(skops.io.get_untrusted_types(data=dumped)) - set(trust.TRUSTED)
        assert unknown == UNTRUSTED.get(name, set())
        if served and not unknown:
            served.append(artifact(tmp_path, dumped, "skops", Vector(width=None, numbers=False)))
    for about in served:
        assert_same(model.load(about, Trust()), estimator, estimators.rows(name))


def assert_same(loaded: model.Model, estimator: Any, rows: list[Any]) -> None:
    """It says to some rows what the estimator says to their array."""
    predicted, data = loaded.predict(rows), np.array(rows)
    expected = np.asarray(estimator.predict(data))
    if expected.dtype.kind == "f":  # where an array lies in memory may decide how its numbers are added up
        np.testing.assert_allclose(np.array(predicted.predictions), expected, rtol=1e-9, atol=1e-12)
    else:
        assert predicted.predictions == expected.tolist()
    if predicted.probabilities is None:
        assert not hasattr(estimator, "predict_proba") or not isinstance(getattr(estimator, "classes_", None), np.ndarray)
    else:
        np.testing.assert_allclose(predicted.probabilities, estimator.predict_proba(data), rtol=1e-9, atol=1e-12)
        assert loaded.classes == estimator.classes_.tolist()
