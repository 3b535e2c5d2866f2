"""Pods to try a cluster with, each as restricted as Kubernetes allows: what they can do, ours can."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.kubernetes import Kubernetes

BUSYBOX = "localhost/busybox:test"
GREETING = "Hello from a pod"
SERVE = f"busybox mkdir -p /tmp/www; echo {GREETING} | busybox tee /tmp/www/index.html; exec busybox httpd -f -p 8080 -h /tmp/www"
BUSY = "while :; do :; done"

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workloads:
    cluster: Kubernetes
    namespace: str
    image: str

    def create(self) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}
        port = {"name": "http", "port": 80, "targetPort": 8080}
        service = self.manifest("v1", "Service", "web", {"selector": {"app": "web"}, "ports": [port]})
        items = [namespace, self.deployment("web", SERVE), service, self.deployment("busy", BUSY), self._autoscaler()]
        self.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        for name in ("web", "busy"):
            self.cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", self.namespace, "--timeout=60s")

    def run(self, *command: str) -> str:
        """What a command prints in the web server's pod."""
        return self.cluster.kubectl("exec", "-n", self.namespace, "deployment/web", "--", "/bin/busybox", *command)

    def manifest(self, version: str, kind: str, name: str, spec: Manifest) -> Manifest:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}

    def deployment(self, name: str, script: str) -> Manifest:
        labels = {"app": name}
        pod = {"metadata": {"labels": labels}, "spec": self.pod(["/bin/busybox", "sh", "-c", script])}
        return self.manifest("apps/v1", "Deployment", name, {"selector": {"matchLabels": labels}, "template": pod})

    def pod(self, command: Sequence[str]) -> Manifest:
        container = {
            "name": "main",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": command,
            "resources": {"requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            },
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
        return {
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 4711, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        }

    def _autoscaler(self) -> Manifest:
        target = {"type": "Utilization", "averageUtilization": 50}
        return self.manifest(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "busy",
            {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"},
                "maxReplicas": 2,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            },
        )
