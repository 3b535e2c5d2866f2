"""The node: a set of namespaces, the processes in them, and their end.

Nothing about a process is written down. Whether the node or a component runs is asked of /proc: the first process of the
node carries a path below this checkout as its name, everything else shares its pid namespace. So a `kill -9` at any point,
a reboot or a recycled pid cannot make the records wrong, because there are none.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.clusters.local.machine import cgroup_roots
from tests.clusters.packages import SYSTEM_PATH
from tests.clusters.progress import Trouble, wait_for
from tests.clusters.settings import Settings

INSIDE = Path("/mnt")
"""Where the node sees its own folder, wherever the checkout is: short enough for sockets, and never hidden by a mount."""

TOOLS_INSIDE = Path("/media")
"""Where the node sees the cache of built tools."""

UNSHARE = ("unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork")

SETUP = """
set -eu
name=$1 home=$2 tools=$3 services=$4
mount --make-rprivate /
mount -t proc proc /proc
mount --bind "$tools" /media
mount --bind "$home" /mnt
mount --bind /mnt/lib /var/lib
mount --bind /mnt/log /var/log
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
# What the kubelet wants to find in the kernel's settings it finds, and so it does not change them for the whole machine.
for wish in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
            kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=/run/sysctl/${wish%=*}
  mkdir -p "${file%/*}"
  echo "${wish#*=}" > "$file"
  mount --bind "$file" "/proc/sys/${wish%=*}"
done
mount --make-rshared /
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
# Services answer by iptables; a bridge without ports gives their addresses a route that leads nowhere else.
ip link add services type bridge
ip link set services up
ip route add "$services" dev services
exec -a "$name" /mnt/first-process
"""


class Node:
    def __init__(self, settings: Settings) -> None:
        self.home = settings.state / "node"
        self.first = self.home / "first-process"
        """The program that is the node's first process; its path is how it is found again."""
        self.cgroup = f"mdep-{settings.key}"

    def pid(self) -> int | None:
        """The first process of the node, as the machine counts it."""
        return next((pid for pid, arguments in _processes() if arguments[:1] == [str(self.first)]), None)

    def start(self, *, services: str, tools: Path) -> int:
        """Make the namespaces, or find them; returns the first process."""
        if pid := self.pid():
            return pid
        self.end()  # whatever a start that was killed half-way has left
        for folder in ("lib", "log", "logs"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        for root in cgroup_roots():
            (root / self.cgroup).mkdir(exist_ok=True)
        log = self.home / "logs" / "node.log"
        setup = ["bash", "-c", SETUP, "node", str(self.first), str(self.home), str(tools), services]
        _spawn(["setsid", "--fork", *UNSHARE, *setup], log, {"PATH": SYSTEM_PATH})
        hint = f"See {log}."
        wait_for("The node's first process", lambda: self.pid() is not None, seconds=30, hint=hint)
        return self.pid() or 0

    def enter(self, command: Sequence[str]) -> list[str]:
        """`command` as it has to be run from the machine to happen in the node."""
        pid = self.pid()
        if pid is None:
            raise Trouble("The local cluster is not running; start it with `make cluster`.")
        return ["nsenter", "--target", str(pid), "--mount", "--net", "--pid", "--ipc", "--uts", "--wd=/", "--", *command]

    def run(self, *command: str) -> str:
        """Run a command in the node and return what it prints."""
        environment = {"PATH": SYSTEM_PATH}
        result = subprocess.run(self.enter(command), env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            raise Trouble(f"In the node, `{' '.join(command)}` failed: {result.stderr.strip()[-1000:]}")
        return result.stdout

    def launch(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a long-lived process in the node; it belongs to the node's first process from then on."""
        log = self.home / "logs" / f"{name}.log"
        _spawn(self.enter(["setsid", "--fork", *command]), log, {"PATH": SYSTEM_PATH, **environment})

    def running(self) -> dict[str, int]:
        """Every process in the node by the name of its program."""
        first = self.pid()
        if first is None:
            return {}
        home = _pid_namespace(first)
        return {Path(arguments[0]).name: pid for pid, arguments in _processes() if arguments and _pid_namespace(pid) == home}

    def stop(self, name: str, *, seconds: float = 10) -> None:
        """End a process of the node: asked first, killed when it does not listen. Returns when it is gone."""
        pid = self.running().get(name)
        if pid is None:
            return
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if self.running().get(name) != pid:
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGTERM)
                deadline = time.monotonic() + seconds
                while self.running().get(name) == pid and time.monotonic() < deadline:
                    time.sleep(0.05)
                signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os.close(process)
        wait_for(f"The end of {name}", lambda: self.running().get(name) != pid, seconds=10)

    def end(self) -> None:
        """Kill the first process, and with it everything in the node; then remove its cgroup."""
        wait_for("The end of the node", self._gone, seconds=60)
        for root in cgroup_roots():
            wait_for(f"The end of the cgroup {root / self.cgroup}", partial(self._cgroup_gone, root), seconds=60)

    def _gone(self) -> bool:
        """Kill what is left of the node, also the shell that was still setting it up; true when nothing was."""
        mine = [(pid, arguments) for pid, arguments in _processes() if str(self.first) in arguments]
        for pid, arguments in mine:
            # What waits for either buries it and ends by itself; killed first, it would leave a zombie.
            if arguments[0] != "unshare":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return not mine

    def _cgroup_gone(self, root: Path) -> bool:
        top = root / self.cgroup
        if not top.exists():
            return True
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):  # busy while the kernel still buries what was in it
                Path(folder).rmdir()
        return not top.exists()


def _spawn(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """Run a command that starts what outlives us, with its output in a file."""
    with log.open("ab") as output:
        subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
        )


def _processes() -> list[tuple[int, list[str]]]:
    """Every live process of the machine and its arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().decode(errors="replace")
                found.append((int(entry.name), arguments.split("\0")[:-1]))
    return found


def _pid_namespace(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return None
