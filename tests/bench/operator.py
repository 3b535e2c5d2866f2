"""The operator as in its pod, two processes; what they cost, from /proc and from the operator's own metrics."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from prometheus_client.parser import text_string_to_metric_families

from controller.settings import ENVIRONMENT_VARIABLE
from tests.bench.world import answers, free_port, running
from tests.clusters.progress import wait_for

NAMESPACE = "bench-system"
NOT_WRITING = ("GET", "WATCH")
ELECTION = "leases"
"""Renewed by the leader every few seconds; no write on behalf of a resource."""

COUNTERS = (
    "modeldeployment_api_requests_total",
    "modeldeployment_registry_requests_total",
    "modeldeployment_reconciles_total",
    "modeldeployment_queue_depth",
)
"""What is read of its metrics, several times a second: the series of a thousand resources are not."""

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Setup:
    """What stays the same from one start of the operator to the next."""

    kubeconfig: Path
    registry: str
    folder: Path
    health_port: int
    store_port: int
    store_metrics_port: int

    def environment(self) -> dict[str, str]:
        settings = {
            "namespace": NAMESPACE,
            "identity": "bench-0",
            "registries": [{"name": "main", "uri": self.registry}],
            "serverImage": "localhost/modeldeployment-server:dev",
            "storeDir": str(self.folder / "store"),
            "storeUrl": f"http://127.0.0.1:{self.store_port}",
            "storePort": self.store_port,
            "storeMetricsPort": self.store_metrics_port,
            "healthPort": self.health_port,
        }
        return {**os.environ, ENVIRONMENT_VARIABLE: json.dumps(settings), "KUBECONFIG": str(self.kubeconfig)}


def setup(kubeconfig: Path, registry: str, folder: Path) -> Setup:
    (folder / "store").mkdir()
    return Setup(kubeconfig, registry, folder, free_port(), free_port(), free_port())


@contextmanager
def store(setup: Setup) -> Iterator["Process"]:
    with _part(setup, "store") as process:
        yield process


@contextmanager
def controller(setup: Setup) -> Iterator["Controller"]:
    """The controller, answering; it may not lead yet."""
    with _part(setup, "controller") as process:
        url = f"http://127.0.0.1:{setup.health_port}/metrics?{urlencode([('name[]', name) for name in COUNTERS])}"
        wait_for("The controller", lambda: answers(url), seconds=60, hint=f"See {setup.folder}/controller.log.")
        yield Controller(process.pid, url)


@contextmanager
def _part(setup: Setup, part: str) -> Iterator["Process"]:
    command = [sys.executable, "-m", "controller", part]
    with (setup.folder / f"{part}.log").open("a") as log:
        started = subprocess.Popen(command, env=setup.environment(), stdout=log, stderr=log)
    with running(started) as process:
        yield Process(process.pid)


@dataclass(frozen=True, slots=True)
class Process:
    pid: int

    @property
    def alive(self) -> bool:
        """Not a zombie that waits for its parent."""
        return "\nState:\tZ" not in Path(f"/proc/{self.pid}/status").read_text()

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def peak_rss_mb(self) -> float:
        return self._status("VmHWM") / 1024

    def _status(self, key: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


@dataclass(frozen=True, slots=True)
class Calls:
    """What the operator has counted since its start."""

    by_verb: dict[tuple[str, str], int]
    """Requests to the API server by verb and resource, without those of the election, nor watches."""

    registry: int
    reconciles: int
    waiting: int

    @property
    def writes(self) -> int:
        return sum(count for (verb, _), count in self.by_verb.items() if verb not in NOT_WRITING)

    @property
    def reads(self) -> int:
        return sum(count for (verb, _), count in self.by_verb.items() if verb == "GET")

    def since(self, before: "Calls") -> "Calls":
        by_verb = {key: count - before.by_verb.get(key, 0) for key, count in self.by_verb.items()}
        return Calls(by_verb, self.registry - before.registry, self.reconciles - before.reconciles, self.waiting)


@dataclass(frozen=True, slots=True)
class Controller(Process):
    url: str

    def calls(self) -> Calls:
        by_verb: dict[tuple[str, str], int] = {}
        totals = {"registry": 0.0, "reconciles": 0.0, "waiting": 0.0}
        with urllib.request.urlopen(self.url, timeout=30) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "modeldeployment_api_requests_total" and sample.labels["resource"] != ELECTION:
                    key = sample.labels["verb"], sample.labels["resource"]
                    by_verb[key] = by_verb.get(key, 0) + int(sample.value)
                elif sample.name == "modeldeployment_registry_requests_total":
                    totals["registry"] += sample.value
                elif sample.name == "modeldeployment_reconciles_total":
                    totals["reconciles"] += sample.value
                elif sample.name == "modeldeployment_queue_depth":
                    totals["waiting"] += sample.value
        return Calls(by_verb, int(totals["registry"]), int(totals["reconciles"]), int(totals["waiting"]))
