"""What runs in the node, and with which settings: one entry a component, in the order of their start."""

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clusters.local.certificates import Subject
from tests.clusters.local.network import Network
from tests.clusters.local.node import INSIDE

NODE = "local"
"""The name of the node."""

PAUSE = "localhost/pause:1"
DOMAIN = "cluster.local"
API_PORT = 6443
METRICS_PORT = 4443
KEYS = INSIDE / "keys"
CONFIGURATION = INSIDE / "configuration"
AUDIT_LOG = Path("audit.log")
"""In the node's /var/log: what service accounts have asked of the API server."""
SOCKET = "/run/containerd/containerd.sock"
GROUPS = ("kubernetes", "etcd", "coredns", "metrics-server")
"""The groups of built tools that the node needs."""


@dataclass(frozen=True, slots=True)
class Component:
    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


def components(network: Network) -> tuple[Component, ...]:
    return (
        Component("etcd", _etcd()),
        Component("kube-apiserver", _api_server(network)),
        Component("containerd", (f"--config={CONFIGURATION}/containerd.toml",)),
        Component(
            "kube-controller-manager",
            (
                *_as("controller-manager"),
                f"--cluster-signing-cert-file={KEYS}/ca.crt",
                f"--cluster-signing-key-file={KEYS}/ca.key",
                f"--root-ca-file={KEYS}/ca.crt",
                f"--service-account-private-key-file={KEYS}/service-accounts.key",
                "--use-service-account-credentials=true",
                # One of each: nobody to elect a leader against, and no wait for a lease after a restart.
                "--leader-elect=false",
                # The kubelet says nothing while the API server is away, which starts slowly on a busy machine. Its pods are
                # not to be taken out of their Services for that: there is no other node to take their place.
                "--node-monitor-grace-period=5m",
            ),
        ),
        Component("kube-scheduler", (*_as("scheduler"), "--leader-elect=false")),
        Component(
            "kubelet",
            (
                f"--config={CONFIGURATION}/kubelet.json",
                f"--kubeconfig={CONFIGURATION}/kubelet.kubeconfig",
                f"--hostname-override={NODE}",
                f"--node-ip={network.node}",
            ),
        ),
        Component("kube-proxy", (f"--config={CONFIGURATION}/kube-proxy.json", f"--hostname-override={NODE}")),
        Component("coredns", (f"-conf={CONFIGURATION}/Corefile",)),
        Component(
            "metrics-server",
            (
                f"--kubeconfig={CONFIGURATION}/metrics-server.kubeconfig",
                f"--authentication-kubeconfig={CONFIGURATION}/metrics-server.kubeconfig",
                f"--authorization-kubeconfig={CONFIGURATION}/metrics-server.kubeconfig",
                f"--tls-cert-file={KEYS}/metrics-server.crt",
                f"--tls-private-key-file={KEYS}/metrics-server.key",
                f"--bind-address={network.node}",
                f"--secure-port={METRICS_PORT}",
                f"--kubelet-certificate-authority={KEYS}/ca.crt",
                "--kubelet-preferred-address-types=InternalIP",
                # The shortest that it accepts: longer than a request to the kubelet may take.
                "--metric-resolution=15s",
            ),
        ),
    )


def _etcd() -> tuple[str, ...]:
    return (
        "--data-dir=/var/lib/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        # A throwaway cluster need not survive a power cut, and flushing each write is what etcd spends its time on.
        "--unsafe-no-fsync",
    )


def _api_server(network: Network) -> tuple[str, ...]:
    return (
        f"--advertise-address={network.node}",
        f"--secure-port={API_PORT}",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--service-cluster-ip-range={network.services}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={KEYS}/ca.crt",
        f"--tls-cert-file={KEYS}/api-server.crt",
        f"--tls-private-key-file={KEYS}/api-server.key",
        f"--kubelet-certificate-authority={KEYS}/ca.crt",
        f"--kubelet-client-certificate={KEYS}/kubelet-client.crt",
        f"--kubelet-client-key={KEYS}/kubelet-client.key",
        # Nothing resolves the node's name.
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
        f"--service-account-key-file={KEYS}/service-accounts.pub",
        f"--service-account-signing-key-file={KEYS}/service-accounts.key",
        # metrics-server is an aggregated API: the API server speaks to it in the name of its callers.
        f"--requestheader-client-ca-file={KEYS}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={KEYS}/front-proxy-client.crt",
        f"--proxy-client-key-file={KEYS}/front-proxy-client.key",
        "--enable-aggregator-routing=true",
        f"--audit-policy-file={CONFIGURATION}/audit.json",
        f"--audit-log-path=/var/log/{AUDIT_LOG}",
    )


def _as(user: str) -> tuple[str, ...]:
    path = f"{CONFIGURATION}/{user}.kubeconfig"
    return (f"--kubeconfig={path}", f"--authentication-kubeconfig={path}", f"--authorization-kubeconfig={path}")


def subjects(network: Network) -> dict[str, Subject]:
    """Whose certificate stands in which file."""
    api = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DOMAIN}", "localhost")
    metrics = ("metrics-server.kube-system.svc", network.node)
    return {
        "admin": Subject("admin", "system:masters"),
        "api-server": Subject("kube-apiserver", names=(*api, network.node, network.api_service, "127.0.0.1")),
        "kubelet-client": Subject("kube-apiserver-kubelet-client", "system:masters"),
        "kubelet": Subject(f"system:node:{NODE}", "system:nodes", names=(NODE, network.node)),
        "controller-manager": Subject("system:kube-controller-manager"),
        "scheduler": Subject("system:kube-scheduler"),
        "kube-proxy": Subject("system:kube-proxy"),
        "coredns": Subject("system:coredns"),
        "metrics-server": Subject("system:metrics-server", names=metrics),
        "front-proxy-client": Subject("front-proxy-client", authority="front-proxy-ca"),
    }


def kubeconfig(keys: Path, user: str, network: Network) -> dict[str, Any]:
    """A kubeconfig that carries its certificates in itself, so that it works from in and out of the node."""

    def embedded(file: str) -> str:
        return base64.b64encode((keys / file).read_bytes()).decode()

    cluster = {"server": f"https://{network.node}:{API_PORT}", "certificate-authority-data": embedded("ca.crt")}
    credentials = {
        "client-certificate-data": embedded(f"{user}.crt"),
        "client-key-data": embedded(f"{user}.key"),
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NODE, "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": NODE, "context": {"cluster": NODE, "user": user}}],
        "current-context": NODE,
    }
