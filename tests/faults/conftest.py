"""The cluster of the end-to-end tests with two more registries, a faulty one and a guarded one, and a few registered versions
to disturb."""

import json
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import pytest

from tests import operator
from tests.clusters.provider import borrowed
from tests.clusters.settings import Settings
from tests.e2e.team import Team
from tests.faults import faulty_registry, guarded_registry
from tests.faults.faulty_registry import FaultyRegistry
from tests.faults.guarded_registry import GuardedRegistry
from tests.installation import Installation, prepare


@dataclass(frozen=True, slots=True)
class Shelf:
    """A registered model with versions that are known: two good ones, and one that answers otherwise than recorded."""

    team: Team
    first: str
    second: str
    broken: str

    @property
    def model(self) -> str:
        return self.team.model

    def another(self, version: str) -> str:
        """The same files registered once more: a version that the operator has never seen."""
        with self.team.installation.mlflow() as address:
            ask = partial(_ask, f"{address}/api/2.0/mlflow/model-versions")
            known = ask(f"get?name={self.model}&version={version}")["model_version"]
            source = known["source"]  # models:/ and the id of the logged model
            body = {"name": self.model, "source": source, "run_id": known["run_id"], "model_id": source.rpartition("/")[2]}
            return str(ask("create", body)["model_version"]["version"])


def _ask(base: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    content = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"{base}/{path}", content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        found: dict[str, Any] = json.load(response)
        return found


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    with borrowed(Settings.read()):
        more = [faulty_registry.VALUES, guarded_registry.VALUES]
        values = [("--set-json", f"registries[{place}]={json.dumps(each)}") for place, each in enumerate(more, start=1)]
        yield prepare(*chain.from_iterable(values))


@pytest.fixture(scope="session")
def faulty(installation: Installation) -> Iterator[FaultyRegistry]:
    registry = FaultyRegistry(installation.cluster)
    registry.install(installation.server_image)
    yield registry
    registry.remove()


@pytest.fixture(scope="session", autouse=True)
def guarded(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRegistry]:
    """Started for all, so that who needs it does not wait for an MLflow to start."""
    registry = GuardedRegistry(installation, tmp_path_factory.mktemp("guarded") / "keys")
    registry.start()
    yield registry
    registry.remove()


@pytest.fixture(scope="session")
def shelf(installation: Installation) -> Shelf:
    team = Team(installation, "", model=f"faults-{uuid.uuid4().hex[:6]}")
    first = team.train("--trees", "10", "--max-depth", "3")
    second = team.train("--trees", "5", "--max-depth", "3", "--seed", "7")
    return Shelf(team, first, second, broken=team.register_odd("wrong-answer"))


@pytest.fixture(scope="module")
def team(installation: Installation, shelf: Shelf, request: pytest.FixtureRequest) -> Iterator[Team]:
    """A namespace for each test module, gone afterwards."""
    namespace = "faults-" + request.module.__name__.rsplit("test_", 1)[-1].replace("_", "-")
    cluster = installation.cluster
    cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found")
    installation.make_namespace(namespace)
    yield Team(installation, namespace, model=shelf.model)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module", autouse=True)
def nothing_unforeseen(installation: Installation) -> Iterator[None]:
    """Whatever a module breaks, the operator must have thought of it."""
    since = operator.now()
    yield
    operator.settled(installation.cluster)
    assert operator.unforeseen(installation.cluster, since) == []
