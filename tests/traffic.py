"""A constant load on a Service from a pod inside the cluster, and an account of every request.

Half of the workers keep their connection, the other half open one for each request, as clients do. The pod logs one JSON
line a second and a last one when it is told to stop; a request counts as answered only with status 200 and a version.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.kubernetes import Kubernetes, until

WORKERS = 10
POD = "traffic"

# Runs in the pod with nothing but Python's standard library.
_SCRIPT = """
import http.client, itertools, json, os, signal, threading, time, urllib.parse

told = json.loads(os.environ["TRAFFIC"])
url = urllib.parse.urlsplit(told["url"])
body, pause = json.dumps(told["body"]).encode(), told["workers"] / told["rate"]
stop, lock = threading.Event(), threading.Lock()
seen = {"sent": 0, "answered": 0, "versions": {}, "failures": []}

def once(connection):
    connection.request("POST", url.path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise RuntimeError(f"{response.status} {content[:200]!r}")
    return json.loads(content)["model_version"]

def work(number):
    keeps = number % 2 == 0
    connection = None
    due = time.monotonic() + number * pause / told["workers"]
    while not stop.wait(max(0.0, due - time.monotonic())):
        due += pause
        try:
            if connection is None:
                connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=10)
            version, error = once(connection), None
        except Exception as caught:
            version, error = None, f"{time.time():.2f} {'kept' if keeps else 'new'}: {caught!r}"
        if error or not keeps:
            connection.close()
            connection = None
        with lock:
            seen["sent"] += 1
            if error:
                seen["failures"].append(error)
            else:
                seen["answered"] += 1
                seen["versions"][version] = seen["versions"].get(version, 0) + 1

signal.signal(signal.SIGTERM, lambda *_: stop.set())
threads = [threading.Thread(target=work, args=(number,)) for number in range(told["workers"])]
for thread in threads:
    thread.start()
while not stop.wait(1):
    with lock:
        print(json.dumps({**seen, "failures": seen["failures"][:20]}), flush=True)
for thread in threads:
    thread.join()
print(json.dumps({**seen, "failures": seen["failures"][:20], "final": True}), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the requests."""

    sent: int = 0
    answered: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    """Answers by model version."""
    failures: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        return self.sent - self.answered


class Traffic:
    """A load that runs."""

    def __init__(self, cluster: Kubernetes, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def account(self) -> Account:
        """So far."""
        lines = self._cluster.kubectl("logs", "-n", self._namespace, POD, "--tail=1").splitlines()
        return _account(json.loads(lines[-1])) if lines else Account()

    def finish(self) -> Account:
        """Stop the load; every request that was sent is accounted for."""
        self._cluster.kubectl("exec", "-n", self._namespace, POD, "--", "python", "-c", "import os; os.kill(1, 15)")
        line = until("the load's last account", self._last_line, 60)
        return _account(json.loads(line))

    def _last_line(self) -> str | None:
        lines = self._cluster.kubectl("logs", "-n", self._namespace, POD, "--tail=1").splitlines()
        return lines[-1] if lines and json.loads(lines[-1]).get("final") else None


@contextmanager
def traffic(
    cluster: Kubernetes, namespace: str, url: str, body: dict[str, Any], image: str, rate: float = 50
) -> Iterator[Traffic]:
    """Send `rate` requests a second to `url` from a pod of `image`, which has Python, until the context ends."""
    told = {"url": url, "body": body, "rate": rate, "workers": WORKERS}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "traffic",
                    "image": image,
                    "command": ["python", "-c", _SCRIPT],
                    "env": [{"name": "TRAFFIC", "value": json.dumps(told)}],
                    "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                }
            ],
        },
    }
    cluster.kubectl("delete", "pod", POD, "-n", namespace, "--ignore-not-found")
    cluster.apply(json.dumps(pod))
    running = Traffic(cluster, namespace)
    try:
        cluster.kubectl("wait", "-n", namespace, f"pod/{POD}", "--for=condition=Ready", "--timeout=60s")
        until("the first answers", lambda: running.account().answered > 0, 30)
        yield running
    finally:
        cluster.kubectl("delete", "pod", POD, "-n", namespace, "--ignore-not-found")


def _account(line: dict[str, Any]) -> Account:
    return Account(line["sent"], line["answered"], line["versions"], tuple(line["failures"]))
