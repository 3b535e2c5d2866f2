"""The port for the cluster: probes and metrics, which a route to the Service must not publish."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from server.pod import Pod
from server.stamp import Stamp, Stamped


def create_management(pod: Pod) -> ASGIApp:
    """The application on the management port."""

    async def livez(_: Request) -> Response:
        """Whether the event loop turns, and no call of the model hangs, which only a restart ends; never whether there is a
        model."""
        hung = pod.serving is not None and pod.serving.predictor.hung
        return JSONResponse({"alive": not hung}, 503 if hung else 200)

    async def readyz(_: Request) -> Response:
        """Whether this pod should get requests, and if not, why."""
        model, ready = pod.settings.model, pod.phase == "Ready"
        content = {
            "ready": ready,
            "reason": pod.phase,
            "verified": pod.serving.verified if pod.serving else None,
            "signature": pod.serving.artifact.signature if pod.serving else None,
            "engine": pod.serving.engine.name if pod.serving else None,
            "engineReason": pod.serving.engine_reason if pod.serving else None,
            "model": {"name": model.name, "version": model.version, "digest": model.digest},
        }
        return JSONResponse(content, 200 if ready else 503)

    async def metrics(_: Request) -> Response:
        """All metrics, in Prometheus' text format."""
        content, media_type = pod.metrics.exposition()
        return Response(content, headers={"content-type": media_type})

    routes = [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Stamped(Starlette(routes=routes), Stamp(pod))
