"""The NetworkPolicy: requests from whom the spec names, metrics for the monitoring; out to DNS and the operator's store only.

Probes come from the pod's own node, which no NetworkPolicy keeps out. Policies add up: whoever needs more, such as a mesh,
adds one of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controller.api import ModelDeploymentSpec
from controller.resources.deployment import HTTP_PORT, MANAGEMENT_PORT
from controller.resources.identity import Owner, metadata, selector

# DNS servers behind the cluster's DNS Service; policies see the port of the pod, which is 5353 on OpenShift.
DNS_PORTS = (53, 5353)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSurroundings:
    """What the operator, not the spec, says about the network."""

    by_default: bool
    monitoring_from: Sequence[dict[str, Any]]
    operator_namespace: str
    store_pods: dict[str, str]
    store_port: int


def network_policy(owner: Owner, spec: ModelDeploymentSpec, network: NetworkSurroundings) -> dict[str, Any] | None:
    said = spec.network_policy.enabled if spec.network_policy else None
    if not (network.by_default if said is None else said):
        return None
    peers = (spec.network_policy.ingress_from if spec.network_policy else None) or []
    metrics = {"ports": [_port(MANAGEMENT_PORT)], "from": list(network.monitoring_from)}
    senders = [peer.model_dump(by_alias=True, exclude_none=True) for peer in peers]
    store = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": network.operator_namespace}},
        "podSelector": {"matchLabels": network.store_pods},
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(owner),
        "spec": {
            "podSelector": {"matchLabels": selector(owner)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"ports": [_port(HTTP_PORT)], **({"from": senders} if senders else {})},
                *([metrics] if network.monitoring_from else []),  # an empty `from` would let everybody in
            ],
            "egress": [
                {"ports": [_port(port, protocol) for port in DNS_PORTS for protocol in ("UDP", "TCP")]},
                {"ports": [_port(network.store_port)], "to": [store]},
            ],
        },
    }


def _port(number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": number, "protocol": protocol}
