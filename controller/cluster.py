"""Kubernetes, as a handful of raw requests: plain dicts in, plain dicts out.

`kubernetes.aio` brings configuration, credentials and transport; its typed models stay out, because a field that a model
does not know would vanish in silence. Every write asks for strict field validation for the same reason.
"""

import json
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from kubernetes.aio import client, config

from controller import metrics

log = logging.getLogger(__name__)

Object = dict[str, Any]

FIELD_MANAGER = "modeldeployment-operator"
REQUEST_TIMEOUT = 30  # seconds
PAGE = 250  # objects
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

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls) -> "Cluster":
        """From the pod's service account, or from the kubeconfig where there is none."""
        try:
            config.load_incluster_config()
        except config.ConfigException:
            await config.load_kube_config()
        return cls(client.ApiClient())

    async def close(self) -> None:
        await self._api.close()

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
        query = {"limit": str(PAGE), "labelSelector": selector}
        while True:
            found = await self._request("GET", kind, namespace, query=query) or {}
            for item in found.get("items") or []:
                yield item
            query["continue"] = (found.get("metadata") or {}).get("continue", "")
            if not query["continue"]:
                return

    async def defines(self, kind: str) -> bool:
        """Whether the API server knows that kind."""
        prefix, plural = _PATHS[kind]
        found = await self._send("GET", prefix, plural, absent_ok=True)
        return any(resource["name"] == plural for resource in (found or {}).get("resources") or [])

    async def create(self, kind: str, body: Object) -> Object:
        return _present(await self._request("POST", kind, body["metadata"]["namespace"], query=_WRITE, body=body))

    async def replace(self, kind: str, body: Object) -> Object:
        """Replace the object under the resourceVersion that `body` carries."""
        metadata = body["metadata"]
        return _present(await self._request("PUT", kind, metadata["namespace"], metadata["name"], query=_WRITE, body=body))

    async def replace_status(self, kind: str, body: Object) -> Object:
        """Replace the status alone, under the resourceVersion that `body` carries."""
        metadata = body["metadata"]
        path = (metadata["namespace"], f"{metadata['name']}/status")
        return _present(await self._request("PUT", kind, *path, query=_WRITE, body=body))

    async def patch(self, kind: str, live: Object, operations: Sequence[Object]) -> Object:
        """One JSON patch that raises Conflict unless `live` is still what is there."""
        metadata = live["metadata"]
        # Not a `test` operation: when that fails, the API server's answer cannot be told from that to a bad request.
        unchanged = {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
        path = (metadata["namespace"], metadata["name"])
        answer = await self._request("PATCH", kind, *path, query=_WRITE, body=[unchanged, *operations], media=JSON_PATCH)
        return _present(answer)

    async def scale(self, kind: str, namespace: str, name: str, replicas: int) -> None:
        """Set the number of replicas through the scale subresource, as kubectl does."""
        body = {"spec": {"replicas": replicas}}
        await self._request("PATCH", kind, namespace, f"{name}/scale", query=_WRITE, body=body, media=MERGE_PATCH)

    async def delete(self, kind: str, live: Object) -> None:
        """Delete exactly this object; one that is gone already is fine."""
        metadata = live["metadata"]
        body = {"preconditions": {"uid": metadata["uid"]}, "propagationPolicy": "Background"}
        await self._request("DELETE", kind, metadata["namespace"], metadata["name"], body=body, absent_ok=True)

    async def announce(self, about: Object, kind: str, reason: str, message: str) -> None:
        """An event about an object, for `kubectl describe`. One that is refused is logged: events are news, not state."""
        metadata, now = about["metadata"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}-", "namespace": metadata["namespace"]},
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
        except ApiError as error:
            log.warning("EventRefused", extra={"error": str(error)})

    async def review_token(self, token: str, audience: str) -> str | None:
        """The user whose token this is, or None where it is not valid, or not for `audience`."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        status = _present(await self._request("POST", "TokenReview", body=body)).get("status") or {}
        if not status.get("authenticated") or audience not in (status.get("audiences") or []):
            return None
        user: str = status["user"]["username"]
        return user

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
        prefix, plural = _PATHS[kind]
        path = f"{prefix}/namespaces/{namespace}/{plural}" if namespace else f"{prefix}/{plural}"
        path = f"{path}{f'/{name}' if name else ''}{f'?{urlencode(query)}' if query else ''}"
        return await self._send(method, path, plural, body=body, media=media, absent_ok=absent_ok)

    async def _send(
        self, method: str, path: str, plural: str, *, body: Any = None, media: str = "application/json", absent_ok: bool = False
    ) -> Object | None:
        url = f"{self._api.configuration.host}{path}"
        headers = {"Accept": "application/json", "Content-Type": media, "User-Agent": FIELD_MANAGER}
        await self._api.update_params_for_auth(headers, None, ["BearerToken"], url, method, body)
        response = await self._api.call_api(method, url, headers, body=body, _request_timeout=REQUEST_TIMEOUT)
        metrics.api_requests.labels(verb=method, resource=plural, code=str(response.status)).inc()
        text = await response.read()
        if response.status < 300:
            answer: Object = json.loads(text)
            return answer
        if response.status == 404 and absent_ok:
            return None
        raise _error(response.status, text)


_WRITE = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}


def _present(answer: Object | None) -> Object:
    if answer is None:
        raise ApiError(500, "NoAnswer", "the API server answered a write with nothing")
    return answer


def _error(status: int, text: bytes) -> ApiError:
    try:
        answer = json.loads(text)
        reason, message = str(answer.get("reason", "")), str(answer.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = "", text[:200].decode(errors="replace")
    kinds = {"AlreadyExists": AlreadyExists, "Conflict": Conflict}
    return kinds.get(reason, ApiError)(status, reason, message)
