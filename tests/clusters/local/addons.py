"""What is in every cluster but no part of Kubernetes: names for Services (CoreDNS) and figures for HPAs (metrics-server).

Both run as processes of the node, each behind a Service without selector, so the cluster needs no image to be complete.
"""

import base64
from pathlib import Path
from typing import Any

from tests.clusters.local.components import METRICS_PORT
from tests.clusters.local.network import Network

SYSTEM = "kube-system"
RBAC = "rbac.authorization.k8s.io"

Manifest = dict[str, Any]


def manifests(network: Network, keys: Path) -> list[Manifest]:
    dns_ports = [("dns", "UDP", 53, 53), ("dns-tcp", "TCP", 53, 53)]
    return [
        _cluster_role(
            "system:coredns",
            [
                _rule("", ["endpoints", "services", "pods", "namespaces"], ["list", "watch"]),
                _rule("discovery.k8s.io", ["endpointslices"], ["list", "watch"]),
            ],
        ),
        _cluster_role_binding("system:coredns", "system:coredns", "system:coredns"),
        *_process_as_service("kube-dns", network.node, dns_ports, clusterIP=network.dns_service),
        _cluster_role(
            "system:metrics-server",
            [
                _rule("", ["nodes/metrics"], ["get"]),
                _rule("", ["pods", "nodes"], ["get", "list", "watch"]),
            ],
        ),
        _cluster_role_binding("system:metrics-server", "system:metrics-server", "system:metrics-server"),
        _cluster_role_binding("metrics-server:auth-delegator", "system:auth-delegator", "system:metrics-server"),
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "metrics-server-auth-reader", "namespace": SYSTEM},
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "extension-apiserver-authentication-reader"},
            "subjects": [_user("system:metrics-server")],
        },
        *_process_as_service("metrics-server", network.node, [("https", "TCP", 443, METRICS_PORT)]),
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": base64.b64encode((keys / "ca.crt").read_bytes()).decode(),
                "service": {"name": "metrics-server", "namespace": SYSTEM},
            },
        },
    ]


def _process_as_service(
    name: str, address: str, ports: list[tuple[str, str, int, int]], **spec: Any
) -> tuple[Manifest, Manifest]:
    """A Service that leads to a process of the node; ports are (name, protocol, of the Service, of the process)."""
    metadata = {"name": name, "namespace": SYSTEM, "labels": {"k8s-app": name}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "ports": [{"name": n, "protocol": p, "port": outer, "targetPort": inner} for n, p, outer, inner in ports],
            **spec,
        },
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": SYSTEM, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": n, "protocol": p, "port": inner} for n, p, _, inner in ports],
    }
    return service, endpoints


def _cluster_role(name: str, rules: list[Manifest]) -> Manifest:
    return {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}


def _cluster_role_binding(name: str, role: str, user: str) -> Manifest:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [_user(user)],
    }


def _rule(group: str, resources: list[str], verbs: list[str]) -> Manifest:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _user(name: str) -> Manifest:
    return {"apiGroup": RBAC, "kind": "User", "name": name}
