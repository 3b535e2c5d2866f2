"""KServe's V1: `POST /v1/models/NAME:predict` with `instances`, as TensorFlow Serving began it."""

from server.engine import Predicted
from server.errors import InvalidBody
from server.jsontext import dumps, loads
from server.protocols import Asked, Model, Reply, Request, Single, table
from server.protocols.typed import read_list


class Instances:
    """The protocol."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def decode(self, request: Request) -> Asked:
        """Rows under `instances`, or under `inputs` as KServe takes them too."""
        body = loads(request.content)
        keys = {"instances", "inputs"} & body.keys() if isinstance(body, dict) else set()
        if len(keys) != 1:
            raise InvalidBody('The body is not a JSON object with a list of rows: {"instances": [...]} is expected.')
        (key,) = keys
        return Asked(table(self._model, body[key], key), _reply)

    def single(self, content: bytes) -> Single | None:
        """One list of numbers."""
        cells = read_list(content)
        return None if cells is None else Single(cells, _reply)


def _reply(predicted: Predicted, _: float) -> Reply:
    return Reply(dumps({"predictions": predicted.predictions}))
