"""The configuration files of the components that want files: containerd, its network, kubelet, kube-proxy, CoreDNS."""

import json
from pathlib import Path
from typing import Any

from tests.clusters.local.components import CONFIGURATION, DOMAIN, KEYS, PAUSE, SOCKET, kubeconfig
from tests.clusters.local.network import Network

CNI = CONFIGURATION / "cni"
USERS = ("kubelet", "controller-manager", "scheduler", "kube-proxy", "coredns", "metrics-server")


def write(folder: Path, keys: Path, network: Network, cgroup: str) -> None:
    """Write every configuration file, and none that is there already: kube-proxy ends itself when its own is touched."""
    (folder / "cni").mkdir(parents=True, exist_ok=True)
    documents = {
        "cni/10-bridge.conflist": _bridge(network),
        "kubelet.json": _kubelet(network, cgroup),
        "kube-proxy.json": _kube_proxy(network),
        "audit.json": AUDIT_POLICY,
    }
    documents |= {f"{user}.kubeconfig": kubeconfig(keys, user, network) for user in USERS}
    texts = {name: json.dumps(document, indent=1) for name, document in documents.items()}
    for name, text in (texts | {"containerd.toml": CONTAINERD, "Corefile": _corefile(network)}).items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


# What service accounts ask for, Kubernetes' own left out: what a pod did can be compared with what it may do.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}

# restrict_oom_score_adj: without CAP_SYS_RESOURCE nothing may lower the score, and runc would fail trying.
CONTAINERD = f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{CNI}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "runc"
SystemdCgroup = false
"""


def _bridge(network: Network) -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,  # a pod reaches itself through its Service
        "ipam": {"type": "host-local", "ranges": [[{"subnet": network.pods}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def _kubelet(network: Network, cgroup: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": f"{KEYS}/ca.crt"}, "anonymous": {"enabled": False}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{KEYS}/kubelet.crt",
        "tlsPrivateKeyFile": f"{KEYS}/kubelet.key",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "clusterDomain": DOMAIN,
        "clusterDNS": [network.dns_service],
        "resolvConf": "",  # the machine's name servers cannot be reached from a pod
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "failSwapOn": False,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        # Images are imported and cannot be pulled again: never collect them.
        "imageGCHighThresholdPercent": 100,
    }


def _kube_proxy(network: Network) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{CONFIGURATION}/kube-proxy.kubeconfig"},
        "mode": "iptables",
        "clusterCIDR": network.pods,
        "oomScoreAdj": 0,
        # These are settings of the whole machine: left as they are.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _corefile(network: Network) -> str:
    return f"""\
{DOMAIN} in-addr.arpa ip6.arpa {{
  bind {network.node}
  errors
  kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
    kubeconfig {CONFIGURATION}/coredns.kubeconfig
    ttl 5
  }}
}}
. {{
  bind {network.node}
  errors
  # Nothing beyond the cluster can be reached from its pods, so no name beyond it exists.
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""
