"""`POST /predict`: one flat JSON object, a key for each feature; or a list of such objects, answered by a list."""

from collections.abc import Sequence
from typing import Any

from server.artifact import Label
from server.engine import Predicted
from server.errors import Detail, InvalidBody
from server.jsontext import dumps, loads
from server.metrics import label_text
from server.protocols import Asked, Model, Reply, Request, Typed, described
from server.protocols.typed import row_forms


class Predict:
    """The protocol of this project."""

    def __init__(self, model: Model) -> None:
        self._validator = model.validator
        self._version = model.version
        self._texts = {label: label_text(label) for label in model.classes or ()}
        self._rows = row_forms(model.inputs)

    def decode(self, request: Request) -> Asked:
        """One row, or some."""
        body = loads(request.content)
        if type(body) is dict:
            return Asked(self._validator.records((body,), numbered=False), self._one)
        if type(body) is list:
            return Asked(self._validator.records(body), self._many)
        raise InvalidBody("The body is not a JSON object; one with a key for each feature is expected, or a list of them.")

    def typed(self, content: bytes, *, single: bool) -> Typed | None:
        """One object, or a list of them."""
        if self._rows is None:
            return None
        if content.startswith(b"["):
            rows = self._rows.listed(content, single=single)
            return None if rows is None else Typed(rows, self._many)
        row = self._rows.one(content)
        return None if row is None else Typed((row,), self._one)

    def _one(self, predicted: Predicted, seconds: float) -> Reply:
        row = predicted.probabilities[0] if predicted.probabilities else None
        return Reply(dumps(self._answer(predicted.predictions[0], row, round(seconds * 1000, 3))))

    def _many(self, predicted: Predicted, seconds: float) -> Reply:
        rows: Sequence[list[float] | None] = predicted.probabilities or [None] * len(predicted.predictions)
        took = round(seconds * 1000, 3)
        return Reply(dumps([self._answer(*pair, took) for pair in zip(predicted.predictions, rows, strict=True)]))

    def _answer(self, label: Label | list[Label], row: list[float] | None, milliseconds: float) -> dict[str, Any]:
        content: dict[str, Any] = {"prediction": label}
        if row is not None:
            probabilities = dict(zip(self._texts.values(), row, strict=True))
            content["probability"] = None if isinstance(label, list) else probabilities[self._texts[label]]
            content["probabilities"] = probabilities
        content["model_version"] = self._version
        content["latency_ms"] = milliseconds
        return content


def failure(status: int, kind: str, message: str, details: Sequence[Detail]) -> Any:
    """Why there is no answer, in the form of all routes that belong to no other protocol."""
    return {"error": {"type": kind, "message": message, "details": described(details)}}
