"""What the machine must have for a node of its own: asked before anything is started, named in one sentence when missing."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from tests.clusters import packages
from tests.clusters.progress import Trouble

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
    "gcc": "gcc",
    "/usr/include/stdlib.h": "libc6-dev",
}
FREE_DISK_GB = 8
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
"""What the kubelet insists on below its root; on hugetlb too, where the kernel has it."""

PROBES = (
    ("namespaces of its own (CAP_SYS_ADMIN)", "true"),
    ("overlay file systems", "grep -qw overlay /proc/filesystems || modprobe overlay"),
    ("network links between namespaces (veth)", "ip link add probe0 type veth"),
    ("network bridges", "ip link add probe1 type bridge"),
    ("iptables on bridges (br_netfilter)", "test -e /proc/sys/net/bridge || modprobe br_netfilter"),
    ("NAT by iptables", "iptables -t nat -A POSTROUTING -j MASQUERADE"),
    ("iptables' statistic match", "iptables -A INPUT -m statistic --mode random --probability 0.5 -j RETURN"),
    ("connection tracking", "iptables -A INPUT -m conntrack --ctstate INVALID -j DROP"),
)
"""Each runs in namespaces that vanish afterwards, so asking changes nothing."""


def check() -> None:
    """Raise a Trouble that names the first thing that is missing; install what Debian has."""
    require_root()
    packages.ensure(PACKAGES)
    for feature, probe in PROBES:
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", probe]
        result = subprocess.run(command, env=packages.ENVIRONMENT, capture_output=True, text=True, check=False)
        if result.returncode:
            last = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise Trouble(f"The local cluster needs {feature}, which this machine does not offer: {last}.")
    if not cgroup_roots():
        raise Trouble("The local cluster needs cgroups mounted at /sys/fs/cgroup, which this machine does not have.")
    if missing := undelegated(CGROUPS):
        raise Trouble(
            f"The local cluster needs the cgroup controllers {', '.join(missing)} below the root; delegate them: "
            f"echo '{' '.join(f'+{name}' for name in missing)}' > {CGROUPS / 'cgroup.subtree_control'}"
        )
    free = shutil.disk_usage(Path(__file__)).free / 1e9
    if free < FREE_DISK_GB:
        raise Trouble(f"The local cluster needs {FREE_DISK_GB} GB of free disk; here are {free:.0f} GB.")


def require_root() -> None:
    """Raise a Trouble where nobody could run a node."""
    if platform.system() != "Linux":
        raise Trouble(
            "The local cluster needs Linux; elsewhere start a Docker engine (for kind), or set KUBECONFIG and REGISTRY."
        )
    if os.geteuid() != 0:
        raise Trouble(
            "The local cluster needs root: it makes namespaces and cgroups. Run this as root, start a Docker engine "
            "(for kind), or set KUBECONFIG and REGISTRY to use a cluster that exists."
        )


def undelegated(root: Path) -> list[str]:
    """The controllers that the kubelet will miss in a cgroup below `root`, where that is of cgroup v2; v1 has no such thing."""
    available = root / "cgroup.controllers"
    if not available.exists():
        return []
    delegated = (root / "cgroup.subtree_control").read_text().split()
    needed = (*CONTROLLERS, "hugetlb") if "hugetlb" in available.read_text().split() else CONTROLLERS
    return [name for name in needed if name not in delegated]


def cgroup_roots() -> list[Path]:
    """The root of each cgroup hierarchy: one with cgroup v2, one a controller with v1."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]
