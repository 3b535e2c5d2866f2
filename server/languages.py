"""The paths that predict, and what is spoken there."""

from collections.abc import Callable, Mapping

from server.protocols import Language, Model
from server.protocols.mlflow import Invocations
from server.protocols.predict import Predict
from server.protocols.v1 import Instances
from server.protocols.v2 import Infer
from server.settings import Settings


def spoken(settings: Settings) -> Mapping[str, Callable[[Model], Language]]:
    """By path."""
    name, version = settings.served_name, settings.model.version
    return {
        "/predict": Predict,
        "/invocations": Invocations,
        f"/v1/models/{name}:predict": Instances,
        f"/v2/models/{name}/infer": Infer,
        f"/v2/models/{name}/versions/{version}/infer": Infer,
    }


def languages(settings: Settings, model: Model) -> Mapping[str, Language]:
    """Each of them, for a model."""
    return {path: make(model) for path, make in spoken(settings).items()}
