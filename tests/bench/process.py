"""Servers as processes: started, paused, watched, ended, each with all its children."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
END_SECONDS = 10
SETTLE_SECONDS, IDLE_SECONDS, IDLE_SHARE = 5, 0.1, 0.3


class NotStarted(Exception):
    """Why a server did not start."""


@dataclass(frozen=True, slots=True)
class Process:
    """A server and its children: a session of their own."""

    popen: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pids(self) -> list[int]:
        """Of all that are alive."""
        return [self.popen.pid, *_descendants(self.popen.pid)]

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return sum(_cpu(pid) for pid in self.pids)

    def pss_mb(self, environment: Path) -> float:
        """Its proportional set size if it were the only server of its environment, as it is in a pod."""
        return alone_kib([_read(pid, "smaps") for pid in self.pids], str(environment)) / 1024

    def pause(self) -> None:
        """Let it do nothing while others are measured."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in reversed(self.pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def settle(self) -> None:
        """Until it has done what nobody waits for any more."""
        deadline = time.monotonic() + SETTLE_SECONDS
        before = self.cpu()
        while time.monotonic() < deadline:
            time.sleep(IDLE_SECONDS)
            now = self.cpu()
            if now - before <= IDLE_SHARE * IDLE_SECONDS:
                return
            before = now

    def require_alive(self) -> None:
        """It has not ended by itself."""
        if self.popen.poll() is not None:
            raise NotStarted(f"ended with {self.popen.returncode}: {last_words(self.log)}")

    def end(self) -> None:
        """It and whatever it started, politely first."""
        started = {pid: _started(pid) for pid in self.pids}
        self.resume()
        self.popen.terminate()
        deadline = time.monotonic() + END_SECONDS
        while self.popen.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid, since in started.items():  # children that outlive it, and no stranger who got a number of theirs
            if since and _started(pid) == since:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.popen.wait()


def last_words(log: Path) -> str:
    """The end of a log, on one line."""
    return " ".join(log.read_text(errors="replace").split())[-300:]


@contextlib.contextmanager
def running(command: list[str], variables: Mapping[str, str], directory: Path, log: Path) -> Iterator[Process]:
    """A process with little of our environment; beside its own program it finds those that were installed with it."""
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TMPDIR")}
    kept["PATH"] = f"{Path(command[0]).parent}:{os.environ['PATH']}"
    with log.open("ab") as stream:
        popen = subprocess.Popen(
            command, env=kept | dict(variables), cwd=directory, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    process = Process(popen, log)
    try:
        yield process
    finally:
        process.end()


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            children.setdefault(int(_fields(path)[1]), []).append(int(path.parent.name))
    found, ask = [], [pid]
    while ask:
        of = children.get(ask.pop(), [])
        found += of
        ask += of
    return found


def _fields(path: Path) -> list[str]:
    """Of /proc/…/stat, from the state on: a name may hold anything."""
    return path.read_text().rpartition(")")[2].split()


def _started(pid: int) -> str:
    """When, in ticks; empty: it is gone."""
    with contextlib.suppress(OSError):
        return _fields(Path(f"/proc/{pid}/stat"))[19]
    return ""


def _cpu(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = _fields(Path(f"/proc/{pid}/stat"))
        return (int(fields[11]) + int(fields[12])) / TICK
    return 0.0


def _read(pid: int, what: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{what}").read_text()
    return ""


def alone_kib(smaps: Iterable[str], environment: str) -> int:
    """Memory of some processes, what they share divided among all who share it; but files of the environment, which other
    servers have mapped too, count in full: of each part of a file what the process has of it that has most."""
    most: dict[tuple[str, ...], int] = {}
    rest = 0
    for text in smaps:
        part: tuple[str, ...] | None = None
        seen: dict[str, int] = {}
        for line in text.splitlines():
            fields = line.split()
            if not fields[0].endswith(":"):  # address, permissions, offset, device, inode, path
                part = (fields[2], fields[5]) if len(fields) > 5 and fields[5].startswith(environment) else None
            elif fields[0] in ("Rss:", "Pss:"):
                seen[fields[0]] = int(fields[1])
            elif fields[0] == "Anonymous:":
                anonymous = int(fields[1])
                if part:
                    most[part] = max(most.get(part, 0), seen["Rss:"] - anonymous)
                rest += anonymous if part else seen["Pss:"]
    return sum(most.values()) + rest
