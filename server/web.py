"""What people and programs ask beside predictions: health, metadata, documentation. FastAPI has the time for it."""

import logging

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from server import document, errors, page
from server.failures import UNEXPECTED, failure, refusal
from server.pod import Pod
from server.protocols import Reply
from server.protocols.v2 import metadata
from server.schemas import Health, Live, ModelMetadata, Models, ModelStatus, Ready, ServerMetadata, responses

OPEN_PATHS = frozenset(("/health", "/ping", "/v2/health/live", "/v2/health/ready", *page.FILES))
"""What load balancers ask, and the page's files. It needs no token, and tells nothing."""

SCORING_PROTOCOL = "3.17.2"
"""The version of MLflow whose scoring protocol /invocations speaks."""

log = logging.getLogger(__name__)


def create_web(pod: Pod) -> FastAPI:
    """All routes but those that predict."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    name, version = pod.settings.served_name, pod.settings.model.version

    def ready() -> bool:
        return pod.phase == "Ready"

    def status() -> int:
        return 200 if ready() else 503

    @app.get("/health", responses=responses(Health, 503), summary="Whether /predict answers now")
    async def health() -> Response:
        model = pod.settings.model
        return JSONResponse({"status": pod.phase, "model": model.name, "version": model.version}, status())

    @app.get("/ping", responses={200: {}, 503: {}}, summary="The same for MLflow's clients", response_class=PlainTextResponse)
    async def ping() -> Response:
        return PlainTextResponse("\n", status())

    @app.get("/version", summary="The version of MLflow whose protocol /invocations speaks", response_class=PlainTextResponse)
    async def mlflow_version() -> Response:
        return PlainTextResponse(SCORING_PROTOCOL)

    @app.get("/v1/models", responses=responses(Models), summary="The one model that is here (V1)")
    async def v1_models() -> Response:
        return JSONResponse({"models": [name]})

    @app.get(f"/v1/models/{name}", responses=responses(ModelStatus, 503), summary="Whether it answers now (V1)")
    async def v1_model() -> Response:
        return JSONResponse({"name": name, "ready": ready()}, status())

    @app.get("/v2", responses=responses(ServerMetadata), summary="What this server is (V2)")
    async def v2_server() -> Response:
        return JSONResponse({"name": "mlserving", "version": version, "extensions": ["binary_tensor_data"]})

    @app.get("/v2/health/live", responses=responses(Live), summary="Whether the server lives (V2)")
    async def v2_live() -> Response:
        return JSONResponse({"live": True})

    @app.get("/v2/health/ready", responses=responses(Ready, 503), summary="Whether it answers now (V2)")
    async def v2_ready() -> Response:
        return JSONResponse({"ready": ready()}, status())

    for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):

        @app.get(path, responses=responses(ModelMetadata, 503), summary="The model's tensors (V2)")
        async def v2_model() -> Response:
            if pod.serving is None:
                raise errors.NotReady("The model is being loaded.")
            return JSONResponse(metadata(pod.serving.model))

        @app.get(f"{path}/ready", responses=responses(ModelStatus, 503), summary="Whether it answers now (V2)")
        async def v2_model_ready() -> Response:
            return JSONResponse({"name": name, "ready": ready()}, status())

    known = {route.path for route in app.routes if isinstance(route, Route)}

    @app.api_route("/v1/models/{_:path}", methods=["GET", "POST"], include_in_schema=False)
    @app.api_route("/v2/models/{_:path}", methods=["GET", "POST"], include_in_schema=False)
    async def unknown(request: Request) -> Response:
        if request.url.path in known:
            raise HTTPException(405, headers={"allow": "GET"})
        raise errors.UnknownModel(f"The only model here is {name!r}, version {version!r}.")

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(document.openapi(app, pod.settings, pod.serving))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        described = document.openapi(app, pod.settings, pod.serving)
        return HTMLResponse(document.page(described, str(request.base_url)), headers={"content-security-policy": document.POLICY})

    page.add(app, pod)

    async def refused(request: Request, error: Exception) -> Response:
        if not isinstance(error, errors.Refused):
            raise error
        return _response(*refusal(request.url.path, error))

    async def no_such_route(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        kind, message = error.detail.title().replace(" ", ""), f"{error.detail}; /docs says what there is."
        headers = tuple((key.lower().encode(), value.encode()) for key, value in (error.headers or {}).items())
        return _response(error.status_code, failure(request.url.path, error.status_code, kind, message, (), headers))

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected error", extra={"path": request.url.path}, exc_info=error)
        return _response(500, failure(request.url.path, 500, "Internal", UNEXPECTED))

    app.add_exception_handler(errors.Refused, refused)
    app.add_exception_handler(HTTPException, no_such_route)
    app.add_exception_handler(Exception, unexpected)
    return app


def _response(status: int, reply: Reply) -> Response:
    headers = {key.decode(): value.decode() for key, value in reply.headers}
    return Response(reply.content, status, headers, media_type=reply.media_type.decode())
