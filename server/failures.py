"""Which error gets which status, and in the words of which protocol it is told. Pure."""

from collections.abc import Mapping, Sequence

from server import errors
from server.errors import Detail
from server.jsontext import dumps
from server.protocols import Failures, Reply, mlflow, plain_failure, predict

STATUS: Mapping[type[errors.Refused], int] = {
    errors.InvalidBody: 400,
    errors.OutOfBounds: 400,
    errors.Unauthorized: 401,
    errors.UnknownModel: 404,
    errors.BodyTooSlow: 408,
    errors.BodyTooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.InvalidFeatures: 422,
    errors.Unanswerable: 422,
    errors.NotReady: 503,
    errors.Overloaded: 503,
    errors.PredictionTooSlow: 503,
}
"""The one error table. What is not in it is unexpected: 500, without internals."""

RETRY_AFTER_SECONDS = b"1"

UNEXPECTED = "Something unexpected happened; the log of the pod has it under this request's id."


def refusal(path: str, error: errors.Refused) -> tuple[int, Reply]:
    """The response to a request that gets no prediction."""
    status = STATUS[type(error)]
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if status == 503:
        headers = ((b"retry-after", RETRY_AFTER_SECONDS),)
    elif status in (408, 413):
        headers = ((b"connection", b"close"),)
    elif status == 401:
        headers = ((b"www-authenticate", b"Bearer"),)
    return status, failure(path, status, error.reason, str(error), error.details, headers)


def failure(
    path: str,
    status: int,
    kind: str,
    message: str,
    details: Sequence[Detail] = (),
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Reply:
    """A response that is no answer, as the clients of this path expect it."""
    return Reply(dumps(_form(path)(status, kind, message, details)), headers=headers)


def _form(path: str) -> Failures:
    if path.startswith(("/v1/", "/v2/")) or path == "/v2":
        return plain_failure
    return mlflow.failure if path == "/invocations" else predict.failure
