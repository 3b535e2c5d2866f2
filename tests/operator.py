"""The operator as somebody sees it who runs it: who leads, what it logs, what it writes."""

from datetime import UTC, datetime

from tests.installation import RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import Kubernetes, until

UNFORESEEN = ("Traceback", "ReconcileFailed", "RegistryOdd")
"""What the operator logs only where something came up that nobody had thought of."""


def leader(cluster: Kubernetes) -> str:
    """The pod that holds the Lease and is there; '' while there is none."""
    lease = cluster.get("lease", RELEASE, SYSTEM_NAMESPACE) or {}
    return str(lease.get("spec", {}).get("holderIdentity", ""))


def change_leader(cluster: Kubernetes) -> None:
    """Whoever leads is asked to go; returns when another one leads."""
    before = leader(cluster)
    cluster.kubectl("delete", "pod", before.partition("_")[0], "-n", SYSTEM_NAMESPACE, "--wait=false")
    until("another leader", lambda: leader(cluster) not in ("", before) or None, 60)


def pods(cluster: Kubernetes) -> list[str]:
    found = cluster.list("pod", SYSTEM_NAMESPACE, "app.kubernetes.io/name=modeldeployment-operator")
    return [pod["metadata"]["name"] for pod in found]


def restarts(cluster: Kubernetes) -> dict[str, int]:
    """How often the containers of each pod were started anew, by the pod's uid."""
    found = cluster.list("pod", SYSTEM_NAMESPACE, "app.kubernetes.io/name=modeldeployment-operator")
    return {
        pod["metadata"]["uid"]: sum(status["restartCount"] for status in pod["status"].get("containerStatuses", []))
        for pod in found
    }


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def settled(cluster: Kubernetes) -> None:
    """Returns when every pod of it is there and ready."""
    cluster.kubectl("rollout", "status", f"statefulset/{RELEASE}", "-n", SYSTEM_NAMESPACE, "--timeout=180s")


def unforeseen(cluster: Kubernetes, since: str, *names: str) -> list[str]:
    """Lines of the log of these pods, or of all, since then that no fault may bring about."""
    lines = [line for pod in names or pods(cluster) for line in _log(cluster, pod, since)]
    return [line[:2000] for line in lines if any(word in line for word in UNFORESEEN)]


def _log(cluster: Kubernetes, pod: str, since: str) -> list[str]:
    """What its containers logged since then, and those before them where they were started anew."""
    found = cluster.get("pod", pod, SYSTEM_NAMESPACE) or {}
    text = ""
    for status in found.get("status", {}).get("containerStatuses", []):
        for which in [(), ("--previous",)] if status["restartCount"] else [()]:
            options = (*which, "-c", status["name"], f"--since-time={since}", "--tail=-1")
            text += cluster.kubectl("logs", "-n", SYSTEM_NAMESPACE, pod, *options)
    return text.splitlines()
