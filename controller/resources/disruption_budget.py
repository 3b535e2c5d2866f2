"""The PodDisruptionBudget: a drain of nodes takes one pod at a time."""

from typing import Any

from controller.api import ModelDeploymentSpec
from controller.resources.identity import Owner, metadata, selector


def disruption_budget(owner: Owner, spec: ModelDeploymentSpec, *, by_default: bool) -> dict[str, Any] | None:
    said = spec.disruption_budget.enabled if spec.disruption_budget else None
    if not (by_default if said is None else said):
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(owner),
        "spec": {
            "selector": {"matchLabels": selector(owner)},
            # Not minAvailable: with one pod alone that would forbid every drain of its node for ever.
            "maxUnavailable": 1,
            # A pod that does not answer is none whose loss is felt, and must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
