"""`make down` leaves nothing behind, whatever happened before. On a checkout of its own, beside any cluster that runs."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.pods import BUSYBOX, Workloads
from tests.clusters.image import Image
from tests.clusters.local import network
from tests.clusters.local.cluster import Local
from tests.clusters.local.components import components
from tests.clusters.packages import ENVIRONMENT
from tests.clusters.settings import CHECKOUT, Settings
from tests.kubernetes import Kubernetes, until

pytestmark = pytest.mark.timeout(240)

START = "import sys; from pathlib import Path; from dataclasses import replace\n" + "\n".join(
    (
        "from tests.clusters.local.cluster import Local",
        "from tests.clusters.settings import Settings",
        "Local(replace(Settings.read(), checkout=Path(sys.argv[1]))).start()",
    )
)


@pytest.fixture
def local(settings: Settings, tmp_path: Path) -> Iterator[Local]:
    """A local cluster that is not started yet, in a checkout with a path longer than any socket's may be."""
    checkout = tmp_path / ("a-long-name-" * 10)
    checkout.mkdir()
    local = Local(replace(settings, checkout=checkout))
    yield local
    local.stop()


def test_nothing_is_left_of_a_cluster_with_pods(local: Local, busybox: Image) -> None:
    before = traces(local)
    cluster = Kubernetes(local.start(), str(local.settings.state / "bin" / "kubectl"))
    local.load_images([busybox])
    Workloads(cluster, "left-behind", BUSYBOX).create()
    assert traces(local) != before, "nothing to see of a cluster that runs: this test cannot tell"
    local.stop()
    assert_same(local, before)


def test_a_start_that_was_killed_is_completed_by_the_next_and_removed_by_down(local: Local) -> None:
    before = traces(local)
    for moment in (local.running, lambda: "kube-apiserver" in local.node.running(), lambda: "kubelet" in local.node.running()):
        start_and_kill(local, moment)
    local.start()
    assert local.answers()
    before_another_start = component_pids(local)
    local.start()
    assert component_pids(local) == before_another_start, "a cluster that runs was started again"
    local.stop()
    assert_same(local, before)


@pytest.mark.parametrize("moment", ["at once", "with the first process", "with the kubelet"])
def test_nothing_is_left_of_a_start_that_was_killed(local: Local, moment: str) -> None:
    before = traces(local)
    seen: dict[str, Callable[[], bool]] = {
        "at once": lambda: (local.settings.state / "node").exists(),
        "with the first process": local.running,
        "with the kubelet": lambda: "kubelet" in local.node.running(),
    }
    start_and_kill(local, seen[moment])
    local.stop()
    assert_same(local, before)


def test_nothing_is_left_when_the_node_itself_has_crashed(local: Local) -> None:
    before = traces(local)
    local.start()
    pid = local.node.pid()
    assert pid
    os.kill(pid, signal.SIGKILL)
    until("the end of the node", lambda: not local.running())
    local.stop()
    assert_same(local, before)


def start_and_kill(local: Local, moment: Callable[[], bool]) -> None:
    """Start the cluster in a process of its own, and kill that when `moment` has come."""
    command = [sys.executable, "-c", START, str(local.settings.checkout)]
    with subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not moment():
            assert process.poll() is None, "the start ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()


def component_pids(local: Local) -> dict[str, int | None]:
    running = local.node.running()
    return {component.name: running.get(component.name) for component in components(network.chosen(local.settings))}


def traces(local: Local) -> dict[str, set[str]]:
    """Everything on the machine that a cluster could leave, as far as it can be this one's."""
    # Zombies have a name only, and other clusters' processes the same one; theirs were there before.
    mine = (str(local.settings.checkout), local.settings.key, local.node.first.name)
    return {
        "processes": {name for name in processes() if any(each in name for each in mine)},
        "namespaces": namespaces(local),
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "links": {link["ifname"] for link in json.loads(output("ip", "-json", "link"))},
        "routes": set(output("ip", "route", "show", "table", "all").splitlines()),
        "rules": {line for line in output("iptables-save").splitlines() if not line.startswith(("#", ":"))},
        "cgroups": set().union(*(entries(root) for root in entries("/sys/fs/cgroup"))),
        "files": entries(local.settings.checkout),
        "elsewhere": set().union(*(entries(folder) for folder in FOLDERS)),
        "kernel settings": {f"{path}={path.read_text()}" for path in KERNEL_SETTINGS},
    }


def entries(folder: str | Path) -> set[str]:
    path = Path(folder)
    return {str(entry) for entry in path.iterdir()} if path.is_dir() else set()


FOLDERS = ("/var/lib", "/var/log", "/run", "/run/netns", "/etc/cni", "/opt/cni")
KERNEL_SETTINGS = tuple(
    Path("/proc/sys") / name
    for name in (
        "net/ipv4/ip_forward",
        "net/netfilter/nf_conntrack_max",
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
        "kernel/keys/root_maxbytes",
    )
)


def assert_same(local: Local, before: dict[str, set[str]]) -> None:
    """Nothing has come; the kernel may take a moment to bury a network. What others ended meanwhile is not ours."""
    left: dict[str, set[str]] = {}

    def nothing_left() -> bool:
        now = traces(local)
        left.clear()
        left.update({kind: now[kind] - before[kind] for kind in now if now[kind] - before[kind]})
        return not left

    with contextlib.suppress(TimeoutError):
        until("the end of every trace", nothing_left, 10)
    assert left == {}


def processes() -> set[str]:
    """Each process with its arguments; a zombie, which has none, with its name."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.add(f"{entry.name} {arguments or (entry / 'comm').read_text()}")
    return found


def namespaces(local: Local) -> set[str]:
    """Where processes live: what runs in a node is started from the node's own paths, and is known by its namespaces.

    Without what descends from the first process of another cluster: its pods come and go as they like.
    """
    parents: dict[int, int] = {}
    others: set[int] = set()
    found: dict[int, set[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                pid = int(entry.name)
                parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                program = (entry / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
                if program.endswith(f"/.cluster/node/{local.node.first.name}") and program != str(local.node.first):
                    others.add(pid)
                found[pid] = {str((entry / "ns" / kind).readlink()) for kind in ("pid", "mnt")}

    def line(pid: int) -> Iterator[int]:
        while pid:
            yield pid
            pid = parents.get(pid, 0)

    return set().union(*(names for pid, names in found.items() if others.isdisjoint(line(pid))))


def output(*command: str) -> str:
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
