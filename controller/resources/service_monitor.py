"""The ServiceMonitor: where the Prometheus Operator finds the pods' metrics."""

from collections.abc import Mapping
from typing import Any

from controller.api import NAME_LABEL, ModelDeploymentSpec
from controller.resources.identity import Owner, metadata, selector
from controller.surroundings import ServiceMonitorSettings

# As Prometheus shows the Service's label before relabeling.
_NAME = "__meta_kubernetes_service_label_" + "".join(letter if letter.isalnum() else "_" for letter in NAME_LABEL)


def service_monitor(
    owner: Owner, spec: ModelDeploymentSpec, *, by_default: bool, labels: Mapping[str, str]
) -> dict[str, Any] | None:
    """Series arrive with the `namespace` of the resource and its name as `modeldeployment`."""
    said = (spec.monitoring.service_monitor if spec.monitoring else None) or ServiceMonitorSettings()
    if not (by_default if said.enabled is None else said.enabled):
        return None
    about = metadata(owner)
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {**about, "labels": {**labels, **(said.labels or {}), **about["labels"]}},
        "spec": {
            "selector": {"matchLabels": selector(owner)},
            "endpoints": [
                {
                    # A port of the pods behind the Service; the Service itself does not publish it.
                    "targetPort": "management",
                    "path": "/metrics",
                    "relabelings": [{"sourceLabels": [_NAME], "targetLabel": "modeldeployment"}],
                }
            ],
        },
    }
