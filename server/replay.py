"""Whether the model in this process is the model that was trained: it answers its recorded example again."""

import math
from typing import Literal, TypeAlias

from server import engine
from server.artifact import Answer, Artifact, Label, versions
from server.engine import Engine
from server.errors import ExampleFailed, ExampleMismatch, text_of

Proof: TypeAlias = Literal["Answered", "Executed", "Loaded"]
"""What was shown: it answered as recorded; it ran, with nothing to compare; it only loaded."""

TOLERANCE = 1e-6
"""Of probabilities absolutely, of numbers relative to their size or their spread."""

NEGLIGIBLE = 1e-12
"""Below this a difference is rounding, also where everything recorded is zero."""


def replay(model: Engine, artifact: Artifact) -> Proof:
    """Answer the recorded example and compare. Raises where that goes wrong, so that no such pod becomes ready."""
    rows, recorded = artifact.example, artifact.record.example
    if rows is None:
        if recorded is not None:
            raise ExampleFailed("The model has a recorded answer and no input example. Register it again.")
        return "Loaded"
    try:
        answer = engine.answer(model, rows)
        model.predict(rows[:1])  # the shape of every request: what is imported or compiled lazily is so now
    except (Exception, SystemExit) as e:
        raise ExampleFailed(
            f"The model fails on its own recorded example: {text_of(e)}.{versions(artifact)} "
            "Log it again with an example that its predict() takes, and with all that the model needs inside it."
        ) from e
    if recorded is None:
        return "Executed"
    if difference := compare(recorded, answer, classifier=model.classes is not None):
        raise ExampleMismatch(
            f"The model answers its recorded example otherwise than when it was trained: {difference}.{versions(artifact)} "
            "Train and register it again with the scikit-learn of the server image."
        )
    return "Answered"


def compare(recorded: Answer, answer: Answer, *, classifier: bool) -> str | None:
    """The first difference that matters, in words with both values; None where there is none.

    Labels of a classifier are names, also where they are numbers: 1000001 is not almost 1000002.
    """
    if len(recorded.predictions) != len(answer.predictions):
        return f"{len(answer.predictions)} predictions, recorded are {len(recorded.predictions)}"
    scale = None if classifier else _spread(recorded.predictions)
    for number, (was, now) in enumerate(zip(recorded.predictions, answer.predictions, strict=True), start=1):
        if not _same(was, now, scale):
            return f"row {number} is predicted as {now!r}, recorded is {was!r}"
    return _compare_probabilities(recorded, answer)


def _compare_probabilities(recorded: Answer, answer: Answer) -> str | None:
    if recorded.probabilities is None:
        return None
    if answer.probabilities is None:
        return "there are no probabilities, recorded are some"
    if recorded.classes is not None and recorded.classes != answer.classes:
        return f"the classes are {answer.classes!r}, recorded are {recorded.classes!r}"
    if [len(row) for row in recorded.probabilities] != [len(row) for row in answer.probabilities]:
        return "the probabilities have another shape than those recorded"
    for number, (was, now) in enumerate(zip(recorded.probabilities, answer.probabilities, strict=True), start=1):
        if not all(abs(a - b) <= TOLERANCE for a, b in zip(was, now, strict=True)):
            return f"row {number} has the probabilities {now!r}, recorded are {was!r}"
    return None


def _same(was: Label | list[Label], now: Label | list[Label], scale: float | None) -> bool:
    if isinstance(was, list) or isinstance(now, list):
        return (
            isinstance(was, list)
            and isinstance(now, list)
            and len(was) == len(now)
            and all(_same(a, b, scale) for a, b in zip(was, now, strict=True))
        )
    if scale is None or not (_is_number(was) and _is_number(now)):
        return was == now and isinstance(was, bool) == isinstance(now, bool)
    return abs(float(was) - float(now)) <= max(TOLERANCE * max(abs(float(was)), scale), NEGLIGIBLE)


def _spread(predictions: list[Label | list[Label]]) -> float:
    flat = [one for value in predictions for one in (value if isinstance(value, list) else [value])]
    numbers = [float(value) for value in flat if _is_number(value) and math.isfinite(float(value))]
    return max(numbers) - min(numbers) if numbers else 0.0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
