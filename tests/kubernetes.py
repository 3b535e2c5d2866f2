"""kubectl and helm for tests and the demo: what a person would type, and waiting for what they would then see."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Object = dict[str, Any]
T = TypeVar("T")

POLL_SECONDS = 0.5

MONITORS = "servicemonitors.monitoring.coreos.com"
MONITORS_DEFINITION = Path(__file__).parent / "servicemonitor-crd.yaml"
"""Stands in for the Prometheus Operator's, which may come later than everything else: that is what is tried with it."""


class CommandFailedError(Exception):
    """A command ended with another exit code than 0."""

    def __init__(self, command: Sequence[str], code: int, output: str) -> None:
        super().__init__(f"`{' '.join(command)}` ended with {code}:\n{output}")
        self.output = output


def until(what: str, seen: Callable[[], T | None], seconds: float = 120) -> T:
    """The first true thing that `seen` returns; TimeoutError, with the last thing seen, after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        last = seen()
        if last:
            return last
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s; last seen: {last!r}")
        time.sleep(POLL_SECONDS)


def run(
    command: Sequence[str], *, stdin: str | None = None, environment: dict[str, str] | None = None, seconds: float = 600
) -> str:
    """Standard output of a command; raises CommandFailedError with what it printed."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if done.returncode:
        raise CommandFailedError(command, done.returncode, done.stdout + done.stderr)
    return done.stdout


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """A cluster, as somebody with kubectl and helm knows it."""

    kubeconfig: Path
    kubectl_binary: str = "kubectl"
    helm_binary: str = "helm"

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 600) -> str:
        return run([self.kubectl_binary, *arguments], stdin=stdin, environment=self._environment, seconds=seconds)

    def helm(self, *arguments: str, seconds: float = 600) -> str:
        return run([self.helm_binary, *arguments], environment=self._environment, seconds=seconds)

    def apply(self, manifest: str) -> str:
        return self.kubectl("apply", "-f", "-", stdin=manifest)

    def get(self, kind: str, name: str, namespace: str) -> Object | None:
        """The object, or None."""
        text = self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        text = self.kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "json")
        items: list[Object] = json.loads(text)["items"]
        return items

    @contextmanager
    def forwarded(self, target: str, port: int, namespace: str) -> Iterator[str]:
        """The address of a port of a Service or a pod, on this machine."""
        command = [self.kubectl_binary, "port-forward", "-n", namespace, target, f":{port}"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **self._environment}
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # "Forwarding from 127.0.0.1:40123 -> 5000"
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found is None:
                raise CommandFailedError(command, process.poll() or -1, line + process.stdout.read())
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()
            process.wait(timeout=10)
            if process.stdout is not None:
                process.stdout.close()

    @property
    def _environment(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubeconfig)}
