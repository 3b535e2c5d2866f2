"""KServe's V1: `POST /v1/models/NAME:predict` with `instances`, as TensorFlow Serving began it."""

from server.engine import Predicted
from server.errors import InvalidBody
from server.jsontext import dumps, loads
from server.protocols import Asked, Model, Reply, Request, Typed, table
from server.protocols.typed import read_lists


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

    def typed(self, content: bytes, *, single: bool) -> Typed | None:
        """Lists of numbers."""
        rows = read_lists(content, single=single)
        return None if rows is None else Typed(rows, _reply)


def _reply(predicted: Predicted, _: float) -> Reply:
    return Reply(dumps({"predictions": predicted.predictions}))
