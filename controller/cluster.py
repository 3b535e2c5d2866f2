"""Kubernetes, as a handful of raw requests: plain dicts in, plain dicts out.

`kubernetes.aio` brings configuration, credentials and transport; its typed models stay out, because a field that a model
does not know would vanish in silence. Every write asks for strict field validation for the same reason.
"""

import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client import rest

from controller import metrics
from controller.index import Index
from controller.ports import Object

log = logging.getLogger(__name__)

Objects = list[Object]  # `list` is a verb of the client below

FIELD_MANAGER = "modeldeployment-operator"
REQUEST_TIMEOUT = 30  # seconds
PAGE = 250  # objects
WATCH_SECONDS = 300  # then the server ends a watch, and it goes on from where it was
# The API server sends a bookmark every 60 to 75 s when nothing else happens. A watch that stays silent for longer is dead.
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"

_PATHS = {  # kind: (API prefix, plural)
    "ModelDeployment": ("/apis/mlserving.dev/v1alpha1", "modeldeployments"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "ReplicaSet": ("/apis/apps/v1", "replicasets"),
    "Pod": ("/api/v1", "pods"),
    "Service": ("/api/v1", "services"),
    "Event": ("/api/v1", "events"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "TokenReview": ("/apis/authentication.k8s.io/v1", "tokenreviews"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "ServiceMonitor": ("/apis/monitoring.coreos.com/v1", "servicemonitors"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
}

ANYBODYS = frozenset({"leases", "tokenreviews"})  # what is written by who does not lead, too

INDEXED = frozenset(_PATHS) - {"Event", "Lease", "ReplicaSet"}


class ApiError(Exception):
    """The API server refused; `status` is the HTTP status, `message` its sentence."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Conflict(ApiError):
    """Somebody else wrote first: observe again."""


class AlreadyExists(ApiError):
    """An object of that name is there already."""


class Cluster:
    """The API server. Make one with `connect`, and `close` it."""

    def __init__(self, api: client.ApiClient, index: Index) -> None:
        self._api = api
        self._index = index
        self._permission: Callable[[], Awaitable[None]] | None = None

    @classmethod
    async def connect(cls, index: Index | None = None) -> "Cluster":
        """From the pod's service account, or from the kubeconfig where there is none. `index` is told of every write."""
        configuration = client.Configuration()
        try:
            config.load_incluster_config(configuration)
        except config.ConfigException:
            await config.load_kube_config(client_configuration=configuration)
        configuration.connection_pool_maxsize = 0  # no limit: each watch holds a connection, a kind and namespace each
        return cls(client.ApiClient(configuration), index or Index())

    async def close(self) -> None:
        await self._api.close()

    def ask_before_writing(self, permission: Callable[[], Awaitable[None]]) -> None:
        """`permission()` returns when a write may be sent: only who leads may."""
        self._permission = permission

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, or None where there is none. A fresh read, never from a cache."""
        return await self._request("GET", kind, namespace, name, absent_ok=True)

    async def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        """The objects in a namespace, or in all of them. A fresh read."""
        found = await self._request("GET", kind, namespace, query={"labelSelector": selector} if selector else {})
        items: list[Object] = (found or {}).get("items") or []
        return items

    async def each(self, kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[Object]:
        """The objects one by one, read in pages: ten thousand of them at once are more memory than the operator has."""
        async for page, _ in self.pages(kind, namespace, selector):
            for item in page:
                yield item

    async def pages(self, kind: str, namespace: str, selector: str) -> AsyncIterator[tuple[Objects, str]]:
        """The objects page by page, each with the resourceVersion of the whole list, from which it can be watched."""
        query = {"limit": str(PAGE), "labelSelector": selector}
        while True:
            found = await self._request("GET", kind, namespace, query=query) or {}
            metadata: Object = found.get("metadata") or {}
            yield found.get("items") or [], metadata.get("resourceVersion", "")
            query["continue"] = metadata.get("continue", "")
            if not query["continue"]:
                return

    async def watch(self, kind: str, namespace: str, selector: str, version: str) -> AsyncIterator[Object]:
        """What happens after `version`, bookmarks too, until the server has had enough. Raises TimeoutError on a silent one."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        response = await self._open("GET", _path(kind, namespace, query=query), plural_of(kind), "WATCH", give_up=_WATCH_TIMEOUT)
        async with response.response:
            if response.status >= 300:
                raise _error(response.status, await response.read())
            async for line in _lines(response.response.content):
                yield json.loads(line)

    async def defines(self, kind: str) -> bool:
        """Whether the API server knows that kind."""
        prefix, plural = _PATHS[kind]
        found = await self._send("GET", prefix, plural, absent_ok=True)
        return any(resource["name"] == plural for resource in (found or {}).get("resources") or [])

    async def create(self, kind: str, body: Object) -> Object:
        return self._written(kind, await self._request("POST", kind, body["metadata"]["namespace"], query=_WRITE, body=body))

    async def replace(self, kind: str, body: Object) -> Object:
        """Replace the object under the resourceVersion that `body` carries."""
        metadata = body["metadata"]
        path = (metadata["namespace"], metadata["name"])
        return self._written(kind, await self._request("PUT", kind, *path, query=_WRITE, body=body))

    async def replace_status(self, kind: str, body: Object) -> Object:
        """Replace the status alone, under the resourceVersion that `body` carries."""
        metadata = body["metadata"]
        path = (metadata["namespace"], f"{metadata['name']}/status")
        return self._written(kind, await self._request("PUT", kind, *path, query=_WRITE, body=body))

    async def patch(self, kind: str, live: Object, operations: Sequence[Object]) -> Object:
        """One JSON patch that raises Conflict unless `live` is still what is there, or where it is gone."""
        metadata = live["metadata"]
        # Not a `test` operation: when that fails, the API server's answer cannot be told from that to a bad request.
        unchanged = {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
        path = (metadata["namespace"], metadata["name"])
        body = [unchanged, *operations]
        answer = await self._request("PATCH", kind, *path, query=_WRITE, body=body, media=JSON_PATCH, absent_ok=True)
        if answer is None:
            raise Conflict(404, "NotFound", f"{kind} {metadata['name']} is gone")
        return self._written(kind, answer)

    async def scale(self, kind: str, namespace: str, name: str, replicas: int) -> None:
        """Set the number of replicas through the scale subresource, as kubectl does."""
        body = {"spec": {"replicas": replicas}}
        await self._request("PATCH", kind, namespace, f"{name}/scale", query=_WRITE, body=body, media=MERGE_PATCH)

    async def delete(self, kind: str, live: Object) -> None:
        """Delete exactly this state of this object, or raise Conflict; one that is gone already is fine."""
        metadata = live["metadata"]
        unchanged = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = {"preconditions": unchanged, "propagationPolicy": "Background"}
        await self._request("DELETE", kind, metadata["namespace"], metadata["name"], body=body, absent_ok=True)
        self._index.remove(kind, live)

    async def announce(self, about: Object, kind: str, reason: str, message: str, occasion: str) -> None:
        """An event about an object, for `kubectl describe`, and a line of the log. Once for an `occasion`, however often it is
        told: its name says so. One that is refused is logged: events are news, not state, and stop nothing."""
        metadata, now = about["metadata"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": event_name(about, kind, reason, message, occasion), "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": FIELD_MANAGER},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self.create("Event", event)
        except AlreadyExists:
            return
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("EventRefused", extra={"error": str(error) or type(error).__name__})
        level = logging.WARNING if kind == "Warning" else logging.INFO
        log.log(level, reason, extra={"told": message})

    async def review_token(self, token: str, audience: str) -> str | None:
        """The user whose token this is, or None where it is not valid, or not for `audience`."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        answer = await self._request("POST", "TokenReview", body=body) or {}
        status = answer.get("status") or {}
        if not status.get("authenticated") or audience not in (status.get("audiences") or []):
            return None
        user: str = status["user"]["username"]
        return user

    def _written(self, kind: str, answer: Object | None) -> Object:
        if answer is None:
            raise ApiError(500, "NoAnswer", "the API server answered a write with nothing")
        if kind in INDEXED:
            self._index.put(kind, answer)
        return answer

    async def _request(
        self,
        method: str,
        kind: str,
        namespace: str = "",
        name: str = "",
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        media: str = "application/json",
        absent_ok: bool = False,
    ) -> Object | None:
        path = _path(kind, namespace, name, query)
        return await self._send(method, path, plural_of(kind), body=body, media=media, absent_ok=absent_ok)

    async def _send(
        self, method: str, path: str, plural: str, *, body: Any = None, media: str = "application/json", absent_ok: bool = False
    ) -> Object | None:
        response = await self._open(method, path, plural, method, body=body, media=media, give_up=REQUEST_TIMEOUT)
        text = await response.read()
        if response.status < 300:
            answer: Object = json.loads(text)
            return answer
        if response.status == 404 and absent_ok:
            return None
        raise _error(response.status, text)

    async def _open(
        self, method: str, path: str, plural: str, verb: str, *, give_up: Any, body: Any = None, media: str = "application/json"
    ) -> rest.RESTResponse:
        """Send a request; its answer is not read yet."""
        url = f"{self._api.configuration.host}{path}"
        headers = {"Accept": "application/json", "Content-Type": media, "User-Agent": FIELD_MANAGER}
        await self._api.update_params_for_auth(headers, None, ["BearerToken"], url, method, body)
        if self._permission is not None and method != "GET" and plural not in ANYBODYS:
            await self._permission()
        response = await self._api.call_api(method, url, headers, body=body, _request_timeout=give_up)
        metrics.api_requests.labels(verb=verb, resource=plural, code=str(response.status)).inc()
        return response


def event_name(about: Object, kind: str, reason: str, message: str, occasion: str) -> str:
    """The same for the same news of the same occasion, whoever tells it, and whenever."""
    told = json.dumps([about["metadata"]["uid"], kind, reason, message, occasion])
    return f"{about['metadata']['name']}.{hashlib.sha256(told.encode()).hexdigest()[:20]}"


def plural_of(kind: str) -> str:
    """What a kind is called in addresses, in RBAC and in the metrics."""
    return _PATHS[kind][1]


def _path(kind: str, namespace: str = "", name: str = "", query: dict[str, str] | None = None) -> str:
    prefix, plural = _PATHS[kind]
    path = f"{prefix}/namespaces/{namespace}/{plural}" if namespace else f"{prefix}/{plural}"
    return f"{path}{f'/{name}' if name else ''}{f'?{urlencode(query)}' if query else ''}"


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: `readline` of a stream gives up on long ones, and an object may have more than a megabyte."""
    begun: list[bytes] = []
    async for chunk in content.iter_any():
        *whole, last = chunk.split(b"\n")
        for part in whole:
            yield b"".join([*begun, part])
            begun = []
        begun.append(last)


_WRITE = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}


def _error(status: int, text: bytes) -> ApiError:
    try:
        answer = json.loads(text)
        reason, message = str(answer.get("reason", "")), str(answer.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = "", text[:200].decode(errors="replace")
    kinds = {"AlreadyExists": AlreadyExists, "Conflict": Conflict}
    return kinds.get(reason, ApiError)(status, reason, message)
