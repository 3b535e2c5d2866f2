"""A volume for a cluster that has no storage class: a folder of a node, as a PersistentVolume that waits for its claim."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kubernetes import Kubernetes, until

CLASS = "e2e-volume"
SIZE = "1Gi"
_NAMESPACE = "default"  # where no pod security keeps a pod from a node's folder
_HOST = "kubernetes.io/hostname"
_FOLDER = f"/var/lib/{CLASS}"


@contextmanager
def local_volume(cluster: Kubernetes, image: str) -> Iterator[None]:
    """A volume of the storage class CLASS, empty; gone afterwards with what is in it. `image` has Python."""
    cluster.kubectl("delete", "pv", CLASS, "--ignore-not-found")
    cluster.apply(json.dumps(_volume(_emptied(cluster, image))))
    try:
        yield
    finally:
        cluster.kubectl("delete", "pv", CLASS, "--ignore-not-found", "--wait=false")
        _emptied(cluster, image)


def _emptied(cluster: Kubernetes, image: str) -> str:
    """The kubelet makes the folder where it is missing, and a pod takes out what is in it; the node's host name."""
    remove = "import shutil; shutil.rmtree('/folder', ignore_errors=True)"  # but for the mount itself
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": CLASS, "namespace": _NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "empty",
                    "image": image,
                    "command": ["python", "-c", remove],
                    "securityContext": {"runAsUser": 0},
                    "volumeMounts": [{"name": "folder", "mountPath": "/folder"}],
                }
            ],
            "volumes": [{"name": "folder", "hostPath": {"path": _FOLDER, "type": "DirectoryOrCreate"}}],
        },
    }
    cluster.kubectl("delete", "pod", CLASS, "-n", _NAMESPACE, "--ignore-not-found")
    cluster.apply(json.dumps(pod))
    try:
        until("an empty folder", lambda: _phase(cluster) == "Succeeded", 60)
        node = cluster.get("node", (cluster.get("pod", CLASS, _NAMESPACE) or {})["spec"]["nodeName"], "") or {}
        return str(node["metadata"]["labels"][_HOST])
    finally:
        cluster.kubectl("delete", "pod", CLASS, "-n", _NAMESPACE, "--wait=false")


def _phase(cluster: Kubernetes) -> str:
    return str((cluster.get("pod", CLASS, _NAMESPACE) or {}).get("status", {}).get("phase", ""))


def _volume(host: str) -> dict[str, object]:
    here = {"key": _HOST, "operator": "In", "values": [host]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": CLASS},
        "spec": {
            "capacity": {"storage": SIZE},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "local": {"path": _FOLDER},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
