"""One MLflow for all tests of what training leaves in it: it takes seconds to start."""

from collections.abc import Iterator

import pytest
from mlflow import MlflowClient

from tests.contract.mlflow_server import mlflow_server
from tests.contract.training_registry import Registry


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """`mlflow server` that hands artifacts through, as in the cluster."""
    directory = tmp_path_factory.mktemp("mlflow")
    artifacts = ("--serve-artifacts", "--artifacts-destination", str(directory / "artifacts"))
    with mlflow_server(directory, *artifacts) as uri, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield Registry(uri=uri, client=MlflowClient(), directory=directory)
