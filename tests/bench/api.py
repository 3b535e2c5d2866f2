"""The API server with nothing in between: plain aiohttp, a fixed number of connections, dicts."""

import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

Object = dict[str, Any]

RESOURCE = "/apis/mlserving.dev/v1alpha1", "modeldeployments"
DEPLOYMENTS = "/apis/apps/v1", "deployments"
CHILDREN = (
    DEPLOYMENTS,
    ("/api/v1", "services"),
    ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    ("/apis/policy/v1", "poddisruptionbudgets"),
    ("/apis/networking.k8s.io/v1", "networkpolicies"),
    ("/apis/monitoring.coreos.com/v1", "servicemonitors"),
)
"""Every kind that a ModelDeployment may have as a child: API prefix and plural."""

PAGE = 500


class Api:
    """`async with Api(kubeconfig, connections) as api`."""

    def __init__(self, kubeconfig: Path, connections: int) -> None:
        config = json.loads(kubeconfig.read_text())  # as the local cluster writes it: one cluster, one user
        self._host: str = config["clusters"][0]["cluster"]["server"]
        tls = ssl.create_default_context(cadata=_decoded(config["clusters"][0]["cluster"]["certificate-authority-data"]))
        user = config["users"][0]["user"]
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
            file.flush()
            tls.load_cert_chain(file.name)
        self._tls = tls
        self._connections = connections

    async def __aenter__(self) -> "Api":
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=self._connections)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(
        self, method: str, path: str, body: Any = None, *, media: str = "application/json", absent_ok: bool = False
    ) -> Object:
        """The answer; RuntimeError with the API server's words where it refuses."""
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, self._host + path, data=data, headers={"Content-Type": media}) as response:
            text = await response.text()
            if response.status == 404 and absent_ok:
                return {}
            if response.status >= 300:
                raise RuntimeError(f"{method} {path}: {response.status} {text[:500]}")
            answer: Object = json.loads(text)
            return answer

    async def list(self, kind: tuple[str, str], namespace: str) -> list[Object]:
        items: list[Object] = []
        path, more = f"{collection(kind, namespace)}?limit={PAGE}", ""
        while True:
            # Absent: a kind whose CustomResourceDefinition is not installed.
            page = await self.send("GET", path + more, absent_ok=True)
            items += page.get("items") or []
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return items
            more = f"&continue={token}"

    async def watch(self, kind: tuple[str, str], namespace: str) -> AsyncIterator[tuple[str, Object]]:
        """Type and object of every event, from the objects that are there on; for as long as it is iterated."""
        version = "0"
        while True:
            path = f"{collection(kind, namespace)}?watch=true&timeoutSeconds=3600&resourceVersion={version}"
            async with self._session.get(self._host + path) as response:
                buffer = b""
                async for chunk in response.content.iter_any():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            raise RuntimeError(f"the watch of {kind[1]} in {namespace} failed: {event['object']}")
                        version = event["object"]["metadata"]["resourceVersion"]
                        yield event["type"], event["object"]


def collection(kind: tuple[str, str], namespace: str) -> str:
    prefix, plural = kind
    return f"{prefix}/namespaces/{namespace}/{plural}"


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()
