"""The operator and real MLflow servers that are less open than the demo's: one that proxies no artifacts, one with a login."""

import os
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import mlflow
import mlflow.sklearn
import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

from controller import artifact
from controller.api import ModelReference
from controller.errors import Waiting
from controller.registry import Registry
from controller.settings import RegistrySettings
from controller.store import Store
from tests.contract.mlflow_server import mlflow_server

pytestmark = pytest.mark.timeout(180)

CHAMPION = ModelReference(name="fraud", alias="champion")
OF_A_RUN = ModelReference(name="fraud", version="2")
ADMIN = ("admin", "correct horse battery")


def register(uri: str, directory: Path) -> None:
    """Version 1 as MLflow 3 logs a model, with the alias champion; version 2 as MLflow 2 did: files of a run."""
    model = LogisticRegression().fit(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1])
    how: dict[str, Any] = {"serialization_format": "cloudpickle", "pip_requirements": []}
    before = os.environ.get("MLFLOW_TRACKING_URI")  # which MLflow's own setting overwrites, or removes
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    try:
        with warnings.catch_warnings(), mlflow.start_run() as run:
            warnings.simplefilter("ignore")
            mlflow.log_metric("test_f1", 0.875)
            mlflow.sklearn.log_model(model, name="model", registered_model_name="fraud", **how)
            mlflow.sklearn.save_model(model, str(directory / "saved"), **how)
            mlflow.log_artifacts(str(directory / "saved"), "old/model")
        client.create_model_version("fraud", f"{run.info.artifact_uri}/old/model", run_id=run.info.run_id)
        client.set_registered_model_alias("fraud", "champion", "1")
        client.set_model_version_tag("fraud", "1", "validation_status", "approved")
    finally:
        mlflow.set_tracking_uri(before)


async def refused(registry: Registry, reference: ModelReference = CHAMPION) -> Waiting:
    """Why there is no version, or why its files cannot be had."""
    await registry.poll(registry.name_of(reference), [reference])  # asked again, whatever is remembered
    with pytest.raises(Waiting) as error:
        await registry.files(await registry.resolve(reference))
    return error.value


async def pulled(registry: Registry, reference: ModelReference, directory: Path) -> artifact.Artifact:
    await registry.poll(registry.name_of(reference), [reference])
    version, store = await registry.resolve(reference), Store(directory, 10**7)
    while True:
        try:
            return artifact.inspect(store, await store.pull(version, registry))
        except Waiting as error:
            if error.reason != "Pulling":  # on a machine that has much to do
                raise


# --- without artifact proxying ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unproxied:
    """`mlflow server --no-serve-artifacts`, whose artifacts lie where client and server reach them, as in a bucket."""

    uri: str
    artifacts: Path


@pytest.fixture(scope="session")
def unproxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unproxied]:
    directory = tmp_path_factory.mktemp("unproxied")
    artifacts = directory / "artifacts"
    with mlflow_server(directory, "--no-serve-artifacts", "--default-artifact-root", artifacts.as_uri()) as uri:
        register(uri, directory)
        yield Unproxied(uri, artifacts)


@pytest.fixture
async def open_registry(unproxied: Unproxied, tmp_path: Path) -> AsyncIterator[Registry]:
    registry = Registry([RegistrySettings(name="main", uri=unproxied.uri)], 30, tmp_path)
    yield registry
    await registry.close()


@pytest.mark.parametrize("reference", [CHAMPION, OF_A_RUN], ids=["logged model", "files of a run"])
async def test_files_that_mlflow_does_not_proxy_are_pulled_through_it(
    open_registry: Registry, reference: ModelReference, tmp_path: Path
) -> None:
    found = await pulled(open_registry, reference, tmp_path / "store")
    assert "sklearn" in found.flavors
    assert found.has_model_file


async def test_tags_and_metrics_are_those_that_were_logged(open_registry: Registry) -> None:
    version = await open_registry.resolve(CHAMPION)
    assert version.tags == {"validation_status": "approved"}
    assert await open_registry.metrics(version) == {"test_f1": 0.875}
    assert await open_registry.metrics(replace(version, run_id="")) == {"test_f1": 0.875}, "the logged model has them too"


async def test_files_that_mlflow_itself_cannot_reach_are_told_with_a_remedy(
    unproxied: Unproxied, open_registry: Registry
) -> None:
    moved = unproxied.artifacts.rename(unproxied.artifacts.with_name("elsewhere"))
    try:
        error = await refused(open_registry)
    finally:
        moved.rename(unproxied.artifacts)
    assert error.reason == "ArtifactsUnreachable"
    assert "give the MLflow server itself access" in error.message


async def test_a_host_name_that_mlflow_does_not_know_is_told_with_the_setting(unproxied: Unproxied, tmp_path: Path) -> None:
    headers = [{"name": "Host", "value": "mlflow.mlflow.svc"}]
    settings = RegistrySettings.model_validate({"name": "main", "uri": unproxied.uri, "headers": headers})
    registry = Registry([settings], 30, tmp_path)
    error = await refused(registry)
    await registry.close()
    assert error.reason == "RegistryRefused"
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" in error.message


# --- with its basic-auth app -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Guarded:
    """`mlflow server --app-name basic-auth`, where nobody may do anything by default."""

    uri: str

    def admin(self, method: str, path: str, **said: str) -> None:
        httpx.request(method, f"{self.uri}/api/{path}", json=said, auth=ADMIN, timeout=20).raise_for_status()

    def grant(self, user: str, kind: str, which: str) -> None:
        granted = {"username": user, "resource_type": kind, "resource_id": which, "permission": "READ"}
        self.admin("POST", "3.0/mlflow/users/permissions/grant", **granted)


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{directory}/auth.db\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"  # or it computes a slow hash for each request
    )
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(directory / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN[0],
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test",
    }
    artifacts = ("--serve-artifacts", "--artifacts-destination", str(directory / "artifacts"))
    with mlflow_server(directory, "--app-name", "basic-auth", *artifacts, **environment) as uri:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN[0])
            patch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN[1])
            register(uri, directory)
        yield Guarded(uri)


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A user of that MLflow, and a registry that logs in as this user, from a directory like that of a mounted Secret."""

    user: str
    registry: Registry
    secret: Path


@pytest.fixture
async def logged_in(guarded: Guarded, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[LoggedIn]:
    user = f"operator-of-{request.node.name}"
    guarded.admin("POST", "2.0/mlflow/users/create", username=user, password="the first password")
    secret = tmp_path / "secrets" / "0"
    secret.mkdir(parents=True)
    (secret / "username").write_text(f"{user}\n")
    (secret / "password").write_text("the first password\n")
    settings = {"name": "main", "uri": guarded.uri, "auth": {"basicSecret": {"name": "mlflow-login"}}}
    registry = Registry([RegistrySettings.model_validate(settings)], 30, secret.parent)
    yield LoggedIn(user, registry, secret)
    await registry.close()


async def test_a_user_needs_read_on_the_model_then_on_its_experiment_and_is_told_which(
    guarded: Guarded, logged_in: LoggedIn, tmp_path: Path
) -> None:
    error = await refused(logged_in.registry)
    assert error.reason == "RegistryRefused"
    assert f"the user {logged_in.user!r} in: it needs READ on the registered model 'fraud'" in error.message

    guarded.grant(logged_in.user, "registered_model", "fraud")
    error = await refused(logged_in.registry)
    assert error.reason == "RegistryRefused"
    assert "it needs READ on experiment 0" in error.message
    with pytest.raises(Waiting, match="READ on the experiment of run"):
        await logged_in.registry.metrics(await logged_in.registry.resolve(CHAMPION))

    guarded.grant(logged_in.user, "experiment", "0")
    for reference in (CHAMPION, OF_A_RUN):
        assert (await pulled(logged_in.registry, reference, tmp_path / "store")).has_model_file
    assert await logged_in.registry.metrics(await logged_in.registry.resolve(CHAMPION)) == {"test_f1": 0.875}


async def test_a_password_that_is_rotated_is_taken_up_without_a_restart(guarded: Guarded, logged_in: LoggedIn) -> None:
    guarded.grant(logged_in.user, "registered_model", "fraud")
    await logged_in.registry.resolve(CHAMPION)
    guarded.admin("PATCH", "2.0/mlflow/users/update-password", username=logged_in.user, password="the second password")
    error = await refused(logged_in.registry)
    assert error.reason == "RegistryRefused"
    assert "the username and the password of the Secret 'mlflow-login'" in error.message
    assert "the first password" not in error.message

    (logged_in.secret / "password").write_text("the second password\n")
    assert await logged_in.registry.poll(logged_in.registry.name_of(CHAMPION), [CHAMPION]) == {CHAMPION}
    assert (await logged_in.registry.resolve(CHAMPION)).version == "1"


async def test_without_a_login_the_operator_is_told_where_to_set_one(guarded: Guarded, tmp_path: Path) -> None:
    registry = Registry([RegistrySettings(name="main", uri=guarded.uri)], 30, tmp_path)
    error = await refused(registry)
    await registry.close()
    assert error.reason == "RegistryRefused"
    assert "registries[].auth" in error.message
