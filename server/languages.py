"""The paths that predict, and what is spoken there."""

from collections.abc import Callable, Mapping

from server.pod import Pod, Serving
from server.protocols import Language, Model
from server.protocols.mlflow import Invocations
from server.protocols.predict import Predict
from server.protocols.v1 import Instances
from server.protocols.v2 import Infer


class Languages:
    """Each of them, made for the model when it is first spoken."""

    def __init__(self, pod: Pod) -> None:
        name, version = pod.settings.served_name, pod.settings.model.version
        self._pod = pod
        self._spoken: dict[str, Language] = {}
        self.paths: Mapping[str, Callable[[Model], Language]] = {
            "/predict": Predict,
            "/invocations": Invocations,
            f"/v1/models/{name}:predict": Instances,
            f"/v2/models/{name}/infer": Infer,
            f"/v2/models/{name}/versions/{version}/infer": Infer,
        }

    def of(self, path: str, serving: Serving) -> Language:
        """What is spoken at a path."""
        spoken = self._spoken.get(path)
        if spoken is None:
            spoken = self._spoken[path] = self.paths[path](self._pod.model(serving))
        return spoken
