"""The port for clients: which route does what, and which error gets which status. HTTP ends here."""

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from server import body, document, errors, validation
from server.document import Answered, Failed, Health
from server.pod import Pod, Serving
from server.predictor import Prediction
from server.stamp import Stamp
from server.validation import Checked

STATUS: Mapping[type[errors.Refused], int] = {
    errors.InvalidBody: 400,
    errors.OutOfBounds: 400,
    errors.BodyTooSlow: 408,
    errors.BodyTooLarge: 413,
    errors.InvalidFeatures: 422,
    errors.Unanswerable: 422,
    errors.NotReady: 503,
    errors.Overloaded: 503,
    errors.PredictionTooSlow: 503,
}
"""The one error table. What is not in it is unexpected: 500, without internals."""

RETRY_AFTER_SECONDS = "1"

log = logging.getLogger(__name__)


def create_app(pod: Pod) -> ASGIApp:
    """The application on the port for clients."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for kind in (*(error.__name__ for error in STATUS), "Internal"):
        pod.metrics.errors.labels(kind)  # zero from the start: a rate needs a value to rise from

    @app.post(
        "/predict", responses=document.responses(Answered, STATUS.values()), summary="Predict one row", operation_id="predict"
    )
    async def predict(request: Request) -> Response:
        serving = _serving(pod)
        content = await body.read(request, pod.settings.max_body_bytes, pod.settings.request_timeout_seconds)
        started = time.perf_counter()
        charset, encoding = _charset(request.headers), request.headers.get("content-encoding")
        checked = serving.validator.check(validation.parse(content, charset, encoding))
        prediction = await serving.predictor.predict(checked.row, started)
        return _answer(pod, checked, prediction)

    @app.get(
        "/health", responses=document.responses(Health, (503,)), summary="Whether /predict answers now", operation_id="health"
    )
    async def health() -> Response:
        model = pod.settings.model
        content = {"status": pod.phase, "model": model.name, "version": model.version}
        return JSONResponse(content, 200 if pod.phase == "Ready" else 503)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(document.openapi(app.routes, pod.settings.model, pod.serving))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        described = document.openapi(app.routes, pod.settings.model, pod.serving)
        return HTMLResponse(document.page(described, str(request.base_url)), headers={"content-security-policy": document.POLICY})

    async def refused(_: Request, error: Exception) -> Response:
        if not isinstance(error, errors.Refused):
            raise error
        pod.metrics.errors.labels(error.reason).inc()
        status = STATUS[type(error)]
        headers = (
            {"retry-after": RETRY_AFTER_SECONDS} if status == 503 else {"connection": "close"} if status in (408, 413) else {}
        )
        return _error(status, error.reason, str(error), error.details, headers)

    async def no_such_route(_: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        kind = error.detail.title().replace(" ", "")
        return _error(error.status_code, kind, f"{error.detail}; /docs says what there is.", (), error.headers)

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=400)  # nobody is there to read it

    async def unexpected(request: Request, _: Exception) -> Response:
        if request.url.path == "/predict":
            pod.metrics.errors.labels("Internal").inc()
        return _error(500, "Internal", "Something unexpected happened; the log of the pod has it under this request's id.")

    app.add_exception_handler(errors.Refused, refused)
    app.add_exception_handler(HTTPException, no_such_route)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, unexpected)
    return Stamp(app, pod)


def _serving(pod: Pod) -> Serving:
    if pod.serving is None:
        raise errors.NotReady("The model is being loaded.")
    return pod.serving


def _answer(pod: Pod, checked: Checked, prediction: Prediction) -> Response:
    content: dict[str, Any] = {"prediction": prediction.label}
    if prediction.probability is not None:
        content |= {"probability": prediction.probability, "probabilities": prediction.probabilities}
    content |= {"model_version": pod.settings.model.version, "latency_ms": round(prediction.seconds * 1000, 3)}
    headers = {}
    if checked.out_of_range:
        for feature in checked.out_of_range:
            pod.metrics.out_of_range.labels(feature).inc()
        headers["x-out-of-range"] = document.header_list(checked.out_of_range)
    return Response(json.dumps(content, allow_nan=False), headers=headers, media_type="application/json")


def _error(
    status: int, kind: str, message: str, details: tuple[errors.Detail, ...] = (), headers: Mapping[str, str] | None = None
) -> Response:
    listed = [{"feature": detail.feature, "message": detail.message} for detail in details]
    content = Failed.model_validate({"error": {"type": kind, "message": message, "details": listed}})
    return Response(content.model_dump_json(), status, headers, media_type="application/json")


def _charset(headers: Headers) -> str | None:
    for parameter in headers.get("content-type", "").split(";")[1:]:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset":
            return value.strip().strip('"')
    return None
