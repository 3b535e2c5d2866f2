"""The HorizontalPodAutoscaler, where the spec wants one."""

from typing import Any

from controller.api import ModelDeploymentSpec
from controller.resources.identity import Owner, metadata
from controller.surroundings import DEFAULT_CPU_UTILIZATION

# The CPU of loading a model is not load: wait until a scale-up was wanted for this long.
SCALE_UP_WINDOW_SECONDS = 30


def autoscaler(owner: Owner, spec: ModelDeploymentSpec) -> dict[str, Any] | None:
    wanted = spec.autoscaling
    if wanted is None:
        return None
    percentage = wanted.target_cpu_utilization_percentage or DEFAULT_CPU_UTILIZATION
    utilization = {"type": "Utilization", "averageUtilization": percentage}
    # The serving container's CPU alone: sidecars that others inject are not this model's load.
    cpu = {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "server", "target": utilization}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(owner),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": owner.name},
            "minReplicas": wanted.min_replicas,
            "maxReplicas": wanted.max_replicas,
            "metrics": wanted.metrics or [cpu],
            "behavior": wanted.behavior or {"scaleUp": {"stabilizationWindowSeconds": SCALE_UP_WINDOW_SECONDS}},
        },
    }
