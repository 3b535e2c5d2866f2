"""KServe's model class around a model of scikit-learn, as its own sklearnserver has it."""

import os
from typing import Any

import joblib
from kserve import Model, ModelServer
from kserve.utils.utils import get_predict_input, get_predict_response


class Forest(Model):  # type: ignore[misc]  # KServe is not installed where mypy runs
    def __init__(self) -> None:
        super().__init__("forest")
        self.ready = False

    def load(self) -> bool:
        self.model = joblib.load(os.environ["MODEL"])
        self.ready = True
        return True

    def predict(self, payload: Any, headers: Any = None) -> Any:
        return get_predict_response(payload, self.model.predict(get_predict_input(payload)), self.name)


if __name__ == "__main__":
    forest = Forest()
    forest.load()
    ModelServer(http_port=int(os.environ["PORT"]), workers=1, enable_grpc=False, enable_latency_logging=False).start([forest])
