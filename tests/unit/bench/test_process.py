"""What a server takes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench import process

OWN = "7f00-7f10 r-xp 00002000 fe:00 77 /environment/libsklearn.so\nRss: {} kB\nPss: 3 kB\nAnonymous: {} kB\nVmFlags: rd\n"
SYSTEM = "7e00-7e10 r-xp 00000000 fe:00 9 /usr/lib/libc.so.6\nRss: 700 kB\nPss: 7 kB\nAnonymous: 0 kB\n"
HEAP = "5500-5600 rw-p 00000000 00:00 0 [heap]\nRss: 5000 kB\nPss: 5000 kB\nAnonymous: 5000 kB\n"


def test_what_other_servers_of_the_environment_share_counts_in_full_and_once() -> None:
    smaps = [OWN.format(100, 20) + HEAP + SYSTEM, HEAP + OWN.format(60, 0) + SYSTEM]
    assert process.alone_kib(smaps, "/environment") == 80 + 20 + 2 * 5000 + 2 * 7


def test_memory_of_a_real_process() -> None:
    command = [sys.executable, "-S", "-c", "x = b'x' * 30_000_000; print(); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as popen:
        assert popen.stdin and popen.stdout
        popen.stdout.readline()
        assert 30 < process.Process(popen, Path()).pss_mb(Path("/environment")) < 60
        popen.stdin.close()


PARENT = "import subprocess, sys; subprocess.Popen(['sleep', '60']); subprocess.Popen(['sleep', '60']).wait()"


def test_a_server_ends_with_its_children(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", PARENT]
    with pytest.raises(RuntimeError), process.running(command, {}, tmp_path, tmp_path / "log") as told:
        while len(told.pids) < 3:
            time.sleep(0.005)
        pids = told.pids
        told.pause()
        raise RuntimeError("whoever measures fails")
    assert told.popen.returncode == -signal.SIGTERM  # it was asked, and awake to hear it
    while any(alive(pid) for pid in pids):
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_reason_of_an_early_end_is_in_the_message(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", "print('no such model'); raise SystemExit(3)"]
    with process.running(command, {}, tmp_path, tmp_path / "log") as told:
        told.popen.wait()
        with pytest.raises(process.NotStarted, match="ended with 3: no such model"):
            told.require_alive()
