"""What only the machine under a cluster can do: kill a process in a pod, and stop a component of Kubernetes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.clusters.local.cluster import Local
from tests.clusters.local.components import SOCKET
from tests.clusters.progress import Trouble
from tests.clusters.provider import chosen
from tests.clusters.settings import Settings
from tests.kubernetes import Kubernetes


def kill(cluster: Kubernetes, namespace: str, pod: str, container: str) -> None:
    """`kill -9` of a container's first process, from the node: it gets no word in edgeways."""
    send("SIGKILL", cluster, namespace, pod, container)


def send(signal: str, cluster: Kubernetes, namespace: str, pod: str, container: str) -> None:
    """A signal to a container's first process, from the node: it can neither be refused nor ignored by what is inside."""
    found = cluster.get("pod", pod, namespace) or {}
    statuses = found.get("status", {}).get("containerStatuses", [])
    running = [status["containerID"] for status in statuses if status["name"] == container and "running" in status["state"]]
    if not running:
        raise Trouble(f"{container} of {namespace}/{pod} does not run.")
    identity = running[0].removeprefix("containerd://")
    _local().node.run("ctr", "--address", SOCKET, "--namespace", "k8s.io", "tasks", "kill", "--signal", signal, identity)


@contextmanager
def stopped(component: str) -> Iterator[None]:
    """A component of Kubernetes is down, and up again and of use afterwards."""
    local = _local()
    local.stop_component(component)
    try:
        yield
    finally:
        local.start_component(component)


def ready(cluster: Kubernetes) -> bool:
    """Whether every node of the cluster says that it is ready."""
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    conditions = [condition for node in nodes for condition in node["status"]["conditions"] if condition["type"] == "Ready"]
    return all(condition["status"] == "True" for condition in conditions)


def _local() -> Local:
    provider = chosen(Settings.read())
    if not isinstance(provider, Local):
        raise Trouble(f"The node itself can be disturbed in a local cluster only; this is {provider.name}.")
    return provider
