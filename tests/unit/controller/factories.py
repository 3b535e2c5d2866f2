"""A value of each kind, with what a test is about as keyword."""

from datetime import UTC, datetime
from typing import Any

from controller.catalogue import Catalogue, Runtime
from controller.decision import Observed
from controller.policy import Gates, ServerDefaults, Trust
from controller.resources.deployment import PodSettings
from controller.rollout import PinnedModel, Rollout, Word
from controller.settings import Settings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CHAMPION = Word(request="fraud@champion")


def digest(version: int) -> str:
    return f"sha256:{version:064x}"


def model(version: int, **changes: Any) -> PinnedModel:
    values = {
        "name": "fraud",
        "version": str(version),
        "digest": digest(version),
        "run_id": f"run{version}",
        "size_bytes": 1000,
        "registry": "main",
        "verified": "Answered",
    }
    return PinnedModel(**{**values, **changes})


def rollout(number: int, version: int, **changes: Any) -> Rollout:
    values = {
        "number": number,
        "model": model(version),
        "word": CHAMPION,
        "inputs": "as-before",
        "held": "",
        "pending": None,
        "told": "",
        "cause": "ModelChanged",
        "image": "server:1",
        "runtime": "sklearn-1.9",
        "revision": number,
    }
    return Rollout(**{**values, **changes})


def observed(**changes: Any) -> Observed:
    values: dict[str, Any] = {"word": CHAMPION, "inputs": "as-before", "now": NOW, "target": model(1), "live": None}
    return Observed(**{**values, **changes})


def catalogue(image: str = "server:1", **others: str) -> Catalogue:
    """The image as the default runtime, of scikit-learn 1.9; `others` by their minor version, such as `v1_8="server:1.8"`."""
    minors = {minor.removeprefix("v").replace("_", "."): name for minor, name in others.items()}
    runtimes = {"1.9": image, **minors}
    return Catalogue(
        tuple(Runtime(name=f"sklearn-{minor}", image=name, scikit_learn=minor, python="3.11") for minor, name in runtimes.items())
    )


def pod_settings(image: str = "server:1", **changes: Any) -> PodSettings:
    values: dict[str, Any] = {
        "catalogue": catalogue(image),
        "default_gates": Gates(),
        "default_trust": Trust(),
        "default_server": ServerDefaults(),
        "compile_memory": "1Gi",
        "store_url": "http://store:8082",
        "default_resources": {"requests": {"cpu": "250m"}},
    }
    return PodSettings(**{**values, **changes})


def resource(name: str = "fraud", **spec: Any) -> dict[str, Any]:
    """A ModelDeployment as the API server would answer."""
    return {
        "apiVersion": "mlserving.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": "team"},
        "spec": {"model": {"name": "fraud", "alias": "champion"}, **spec},
    }


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "namespace": "mlserving-system",
        "identity": "operator-0",
        "registries": [{"name": "main", "uri": "http://mlflow:5000"}],
        "server_image": "server:1",
        "store_url": "http://store:8082",
        "store_pods": {"app": "operator"},
    }
    return Settings(**{**values, **changes})
