"""The HTTP side of the artifact store, a process of its own: a thousand pods that fetch a model starve no watch.

    GET /v1/manifests/sha256:<digest>    the manifest, byte for byte: its sha256 is the digest
    GET /v1/origins/sha256:<digest>      from which registered models it comes, for the other replicas
    GET /v1/files/sha256:<hash>          a file
    GET /healthz, /readyz

Who asks shows a token (`controller.readers`), and for a manifest has to be in a namespace that names it and to which its
registry is open; only who has the manifest knows the hashes of the files. What is not here is asked from the other replicas
first.
"""

import asyncio
from pathlib import Path

from aiohttp import web

from controller import metrics, origins
from controller.manifest import DIGEST
from controller.readers import Readers, Refused
from controller.store import HOP_HEADER, Store
from controller.verifier import Verifier

_STORE = web.AppKey("store", Store)
_VERIFIER = web.AppKey("verifier", Verifier)
_READERS: web.AppKey[Readers | None] = web.AppKey("readers")
_CACHE_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def create_app(store: Store, verifier: Verifier, readers: Readers | None = None) -> web.Application:
    """The application that serves `store` to `readers`, or to everybody who knows a digest."""
    app = web.Application()
    app[_STORE] = store
    app[_VERIFIER] = verifier
    app[_READERS] = readers
    app.add_routes(
        [
            web.get("/v1/manifests/{digest}", _manifest),
            web.get("/v1/origins/{digest}", _origins),
            web.get("/v1/files/{digest}", _file),
            web.get("/healthz", _healthy),
            web.get("/readyz", _ready),
        ]
    )
    return app


async def _manifest(request: web.Request) -> web.StreamResponse:
    store, digest = request.app[_STORE], _digest(request)
    await _admit(request, digest)
    if not await asyncio.to_thread(store.whole, digest) and HOP_HEADER not in request.headers:
        await store.fetch_from_peers(digest)
    store.used([digest])  # a pod that has the manifest asks for the files next
    return _content(store.manifest_path(digest), "application/json")


async def _origins(request: web.Request) -> web.StreamResponse:
    store, digest = request.app[_STORE], _digest(request)
    await _admit(request, replica=True)
    return web.Response(body=origins.written(store.origins(digest)), content_type="application/json")


async def _file(request: web.Request) -> web.StreamResponse:
    # A pod asks for the manifest first, and that brings the files along; another replica may have answered it, though.
    store, digest = request.app[_STORE], _digest(request)
    await _admit(request)
    sha256 = digest.removeprefix("sha256:")
    # Who was sent other bytes than those of that hash asks again, past every cache: so for the store, past what it remembers.
    doubted = "no-cache" in request.headers.get("Cache-Control", "")
    if not await request.app[_VERIFIER].intact(sha256, doubted=doubted) and HOP_HEADER not in request.headers:
        await store.fetch_file_from_peers(sha256)
    return _content(store.file_path(sha256), "application/octet-stream")


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _ready(request: web.Request) -> web.Response:
    if request.app[_STORE].mirrored:
        return web.Response(text="ok\n")
    return web.Response(text="not yet: models that run are still being copied here\n", status=503)


async def _admit(request: web.Request, digest: str | None = None, *, replica: bool = False) -> None:
    readers = request.app[_READERS]
    if readers is None:
        return
    try:
        await readers.admit(request.headers.get("Authorization", ""), digest, replica=replica)
    except Refused as refusal:
        metrics.store_refusals.labels(code=str(refusal.status)).inc()
        refusals = {401: web.HTTPUnauthorized, 403: web.HTTPForbidden, 503: web.HTTPServiceUnavailable}
        raise refusals[refusal.status](text=f"{refusal.sentence}\n") from refusal


def _digest(request: web.Request) -> str:
    digest = request.match_info["digest"]
    if not DIGEST.fullmatch(digest):
        raise web.HTTPBadRequest(text="a digest is sha256: and 64 hexadecimal digits\n")
    return digest


def _content(path: Path, media: str) -> web.StreamResponse:
    if not path.is_file():
        raise web.HTTPNotFound(text="not in the store\n")
    return web.FileResponse(path, headers={**_CACHE_FOR_EVER, "Content-Type": media})
