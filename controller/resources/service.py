"""The Service in front of the pods."""

from typing import Any

from controller.api import ModelDeploymentSpec
from controller.resources.identity import Owner, metadata, selector


def service(owner: Owner, spec: ModelDeploymentSpec) -> dict[str, Any]:
    """Port of the spec to the pods' `http` port. Metrics and probes have a port of their own, which stays out."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, annotations=spec.service.annotations or {}),
        "spec": {
            "selector": selector(owner),
            "ports": [{"name": "http", "port": spec.service.port, "protocol": "TCP", "targetPort": "http"}],
        },
    }


def url(owner: Owner, spec: ModelDeploymentSpec) -> str:
    """Where a client in the cluster sends requests."""
    port = "" if spec.service.port == 80 else f":{spec.service.port}"
    return f"http://{owner.name}.{owner.namespace}.svc{port}"
