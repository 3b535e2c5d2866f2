"""A registry that does as it is told: a proxy before MLflow, in a pod, that answers rightly, late, wrongly or not at all.

It is the operator's second registry, `faulty`, so whoever names the first one notices nothing of it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.kubernetes import Kubernetes

NAME = "faulty"
NAMESPACE = "mlflow"
VALUES = {"name": NAME, "uri": f"http://{NAME}.{NAMESPACE}.svc:5000"}

# Runs in the pod with nothing but Python's standard library. What is wrong stands in a file, read for each request.
_SCRIPT = """
import http.client, http.server, pathlib, time

MLFLOW, TOLD = "mlflow.mlflow.svc:5000", pathlib.Path("/told/fault")

def fault():
    return TOLD.read_text() if TOLD.exists() else ""

class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        while (told := fault()) == "hang":
            time.sleep(0.2)
        if told == "error":
            return self.answer(500, b'{"error_code": "INTERNAL_ERROR", "message": "the database is locked"}', "application/json")
        if told == "page":
            return self.answer(200, b"<!doctype html><title>Sign in</title><form>Sign in to go on</form>", "text/html")
        if told == "slow":
            time.sleep(2)
        upstream = http.client.HTTPConnection(MLFLOW, timeout=60)
        upstream.request("GET", self.path, headers={"Host": MLFLOW})
        response = upstream.getresponse()
        content, length = response.read(), None
        upstream.close()
        model = "/get-artifact" in self.path and "path=model." in self.path
        if model and told == "cut":  # the connection ends in the middle of the file
            length, content = len(content), content[: len(content) // 2]
        if model and told == "short":  # half the file as if it were all of it
            content = content[: len(content) // 2]
        if model and told == "beginning":
            content = bytes([content[0] ^ 0xFF]) + content[1:]
        if model and told == "middle":
            half = len(content) // 2
            content = content[:half] + bytes([content[half] ^ 0x01]) + content[half + 1 :]
        self.answer(response.status, content, response.headers.get("Content-Type", ""), length)

    def answer(self, status, content, kind, length=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", 5000), Proxy).serve_forever()
"""


@dataclass(frozen=True, slots=True)
class FaultyRegistry:
    """The proxy on the cluster."""

    cluster: Kubernetes

    @contextmanager
    def that(self, fault: str) -> Iterator[None]:
        """Behaves so, until the context ends: hang, error, page, slow, cut, short, beginning, middle."""
        self._tell(fault)
        try:
            yield
        finally:
            self._tell("")

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Nothing listens there."""
        self.cluster.kubectl("scale", f"deployment/{NAME}", "-n", NAMESPACE, "--replicas=0")
        try:
            yield
        finally:
            self.cluster.kubectl("scale", f"deployment/{NAME}", "-n", NAMESPACE, "--replicas=1")
            self._await()

    def install(self, image: str) -> None:
        self.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [_deployment(image), _service()]}))
        self._await()

    def remove(self) -> None:
        self.cluster.kubectl("delete", "deployment,service", NAME, "-n", NAMESPACE, "--ignore-not-found", "--wait=false")

    def _await(self) -> None:
        self.cluster.kubectl("rollout", "status", f"deployment/{NAME}", "-n", NAMESPACE, "--timeout=120s")

    def _tell(self, fault: str) -> None:
        script = f"import pathlib; pathlib.Path('/told/fault').write_text({fault!r})"
        self.cluster.kubectl("exec", "-n", NAMESPACE, f"deployment/{NAME}", "--", "python", "-c", script)


def _deployment(image: str) -> dict[str, object]:
    labels = {"app.kubernetes.io/name": NAME}
    container = {
        "name": "proxy",
        "image": image,
        "command": ["python", "-c", _SCRIPT],
        "ports": [{"containerPort": 5000}],
        "readinessProbe": {"tcpSocket": {"port": 5000}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "told", "mountPath": "/told"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "told", "emptyDir": {}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def _service() -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"selector": {"app.kubernetes.io/name": NAME}, "ports": [{"port": 5000}]},
    }
