"""Where the controller is measured: the local cluster with fake nodes and raised limits, and an MLflow with real models."""

import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.models import point
from tests.clusters import binaries
from tests.clusters.local.cluster import Local
from tests.clusters.progress import step, wait_for
from tests.clusters.settings import Settings
from tests.kubernetes import MONITORS_DEFINITION, Kubernetes

NODES = 50
PODS_A_NODE = 110
RAISED = ("--kube-api-qps=1000", "--kube-api-burst=2000")
"""With their defaults, the controller-manager's own limit sets the result: 4.3 Deployments a second, whoever writes them."""

LIMITED = ("kube-controller-manager", "kube-scheduler")
NEEDLESS = ("kube-proxy", "coredns")
"""Nothing is sent to a Service here, and rewriting the rules of a thousand Services costs more than making them."""

CRD = Path(__file__).parents[2] / "charts" / "modeldeployment-operator" / "files" / "crd.yaml"
STAGES = Path(__file__).parent / "kwok-stages.yaml"
REAL_NODE = "local"


@contextmanager
def scaled_cluster(settings: Settings) -> Iterator[Path]:
    """The local cluster of this checkout as the benchmark needs it, and afterwards as it was; its kubeconfig."""
    cluster = Local(settings)
    found = cluster.running()
    kubeconfig = cluster.start()
    kubernetes = Kubernetes(kubeconfig, str(binaries.binary(settings, "kubectl")))
    nodes = {"apiVersion": "v1", "kind": "List", "items": [_node(f"fake-{number}") for number in range(NODES)]}
    try:
        with step("fake nodes, and the cluster's controllers without their limits"):
            kubernetes.kubectl("cordon", REAL_NODE)
            for definition in (CRD, MONITORS_DEFINITION):
                kubernetes.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(definition))
            for component in (*LIMITED, *NEEDLESS):
                cluster.stop_component(component)
            for component in LIMITED:
                cluster.start_component(component, *RAISED)
            kubernetes.apply(json.dumps(nodes))
        with _kwok(settings, kubeconfig):
            ready = ("get", "nodes", "-l", "type=kwok", "-o", "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}")
            wait_for("Ready fake nodes", lambda: kubernetes.kubectl(*ready).split() == ["True"] * NODES, seconds=60)
            yield kubeconfig
    finally:
        if found:
            kubernetes.kubectl("delete", "nodes", "-l", "type=kwok")
            for component in LIMITED:
                cluster.stop_component(component)
            for component in (*LIMITED, *NEEDLESS):
                cluster.start_component(component)
            kubernetes.kubectl("uncordon", REAL_NODE)
        else:
            cluster.stop()


@contextmanager
def mlflow(folder: Path, models: int) -> Iterator[str]:
    """The address of an MLflow server with `models` registered models; the first has a second version.

    They are kept in `folder`, since their registration takes longer than a small benchmark.
    """
    if not (folder / "registered").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "mlflow.log").open("w") as log, running(subprocess.Popen(command, stdout=log, stderr=log)):
        with step("MLflow"):
            wait_for("MLflow", lambda: answers(f"{address}/health"), seconds=120, hint=f"See {folder}/mlflow.log.")
        if not (folder / "registered").exists():
            with step(f"{models} models (once, kept in {folder})"):
                command = [sys.executable, "-m", "tests.bench.register", address, str(models)]
                subprocess.run(command, check=True, stderr=log, stdout=log)
            (folder / "registered").touch()
        for number in range(models):
            point(address, number, "1")
        yield address


@contextmanager
def running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process, ended at the end."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def _kwok(settings: Settings, kubeconfig: Path) -> Iterator[None]:
    """What plays the kubelets of the fake nodes: it says that they are well, and that their pods are ready."""
    log = settings.state / "node" / "logs" / "kwok.log"
    kwok = str(binaries.binary(settings, "kwok"))
    nodes = ("--manage-nodes-with-label-selector=type=kwok", "--node-lease-duration-seconds=40")
    command = [kwok, f"--kubeconfig={kubeconfig}", f"--config={STAGES}", *nodes]
    with log.open("w") as output, running(subprocess.Popen(command, stdout=output, stderr=output)):
        yield


def _node(name: str) -> dict[str, object]:
    room = {"cpu": "64", "memory": "256Gi", "pods": str(PODS_A_NODE)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"type": "kwok", "kubernetes.io/hostname": name}},
        "status": {"allocatable": room, "capacity": room},
    }
