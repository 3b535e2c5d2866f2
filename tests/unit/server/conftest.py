"""Models are saved once."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from server import loading
from server.app import create_app
from server.metrics import Metrics
from server.pod import Pod
from tests.unit.server import factories
from tests.unit.server.local import Client

Model = Callable[[str], Path]
Served = Callable[..., tuple[Client, Pod]]


@pytest.fixture(scope="session", autouse=True)
def _warm_soon() -> Iterator[None]:
    """A hundred predictions before each of some hundred servers are ready would be most of what the tests do."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loading, "WARM_UP_TIMES", 20)
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The directory of a model of the factories, by its name. Not to be written to."""
    root = tmp_path_factory.mktemp("models")

    @cache
    def saved(name: str) -> Path:
        if name == "skops":
            return factories.forest(root / name, "skops")
        make: Callable[[Path], Path] = getattr(factories, name)
        return make(root / name)

    return saved


@pytest.fixture(scope="module")
def serve(model: Model) -> Iterator[Served]:
    """A client of a ready pod with this model."""
    with ExitStack() as stack:

        def make(name: str, **changes: Any) -> tuple[Client, Pod]:
            pod = Pod(factories.told(model(name), **changes), Metrics())
            pod.serving = loading.load(pod.settings, pod.metrics)
            stack.callback(pod.serving.predictor.close)
            return stack.enter_context(Client(create_app(pod))), pod

        yield make


def sample(pod: Pod, name: str, **labels: str) -> float:
    return pod.metrics.registry.get_sample_value(name, labels) or 0.0
