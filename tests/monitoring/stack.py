"""The real Prometheus Operator, Prometheus and Alertmanager: built or installed, made an image of, and put on the cluster."""

import hashlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.clusters import binaries, images, packages
from tests.clusters.image import Image
from tests.clusters.progress import step
from tests.clusters.provider import chosen
from tests.clusters.settings import Settings
from tests.kubernetes import Kubernetes, until

HERE = Path(__file__).parent
NAME = "localhost/prometheus-stack:dev"
MODULE = "github.com/prometheus-operator/prometheus-operator"
FROM_DEBIAN = ("prometheus-alertmanager",)
"""(Not Prometheus: Debian's knows nothing of Kubernetes.)"""
TEMPLATES = Path("/usr/share/prometheus/alertmanager")
"""Without which Debian's Alertmanager does not start."""
FROM_GO = ("prometheus", "prometheus-operator")
SELECTED = {
    f"{each}.labels.release": "stack"
    for each in ("monitoring.podMonitor", "monitoring.prometheusRule", "defaults.serviceMonitor")
}
HELM_OPTIONS = tuple(
    part
    for key, value in {
        "monitoring.podMonitor.enabled": "true",
        "monitoring.prometheusRule.enabled": "true",
        "monitoring.dashboards.enabled": "true",
        **SELECTED,
    }.items()
    for part in ("--set", f"{key}={value}")
)
"""By which the chart's objects are those that stack.yaml selects."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Prometheus and Alertmanager as their HTTP API shows them."""

    prometheus: str
    alertmanager: str

    def query(self, promql: str) -> list[dict[str, Any]]:
        found = _get(f"{self.prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": promql}))
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    def over_time(self, promql: str) -> list[dict[str, Any]]:
        """What a query gave at any moment of the last half-hour: as often as Prometheus looks, since some of it is short."""
        end = time.time()
        asked = {"query": promql, "start": end - 1800, "end": end, "step": 5}
        found: list[dict[str, Any]] = _get(f"{self.prometheus}/api/v1/query_range?" + urllib.parse.urlencode(asked))["data"][
            "result"
        ]
        return found

    def label_values(self, label: str, series: str) -> list[str]:
        found = _get(f"{self.prometheus}/api/v1/label/{label}/values?" + urllib.parse.urlencode({"match[]": series}))
        values: list[str] = found["data"]
        return values

    def targets(self) -> dict[str, str]:
        """The health of each target of ours, by its pool and address."""
        found = _get(f"{self.prometheus}/api/v1/targets?state=active")["data"]["activeTargets"]
        return {f"{each['scrapePool']} {each['labels']['instance']}": each["health"] for each in found}

    def rules(self) -> dict[str, str]:
        """The health of each rule, by name."""
        groups = _get(f"{self.prometheus}/api/v1/rules")["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def alert(self, name: str, namespace: str) -> dict[str, Any] | None:
        """The alert as Alertmanager has it; None where there is none, or it is over."""
        found = _get(f"{self.alertmanager}/api/v2/alerts?active=true")
        ours = [each for each in found if (each["labels"]["alertname"], each["labels"].get("namespace")) == (name, namespace)]
        return next(iter(ours), None)


def install(cluster: Kubernetes) -> None:
    """All of it, and what it needs; what is there already stays as it is."""
    image = built()
    (name,) = chosen(Settings.read()).load_images([image]).values()
    with step("the Prometheus Operator, Prometheus and Alertmanager"):
        module = _module()
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(module / "example/prometheus-operator-crd"))
        cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=60s")
        cluster.kubectl("apply", "-f", str(module / "example/rbac/prometheus-operator/prometheus-operator-cluster-role.yaml"))
        cluster.apply((HERE / "stack.yaml").read_text().replace("IMAGE", name))
        for workload in ("prometheus-main", "alertmanager-main"):
            until(workload, partial(cluster.get, "statefulset", workload, "monitoring"), 180)
            cluster.kubectl("rollout", "status", f"statefulset/{workload}", "-n", "monitoring", "--timeout=300s")


def _module() -> Path:
    """The folder of the Prometheus Operator's sources, with its definitions and its role."""
    command = ["go", "list", "-m", "-f", "{{.Dir}}", MODULE]
    folder = binaries.TOOLS / "prometheus-operator"
    return Path(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip())


def built() -> Image:
    """The image with all of their programs."""
    settings = Settings.read()
    packages.ensure({name: name for name in FROM_DEBIAN})
    found = [Path(path) for name in FROM_DEBIAN if (path := shutil.which(name, path=packages.SYSTEM_PATH))]
    files = list(TEMPLATES.glob("*.tmpl"))
    programs = [*found, *(program for group in FROM_GO for program in binaries.built(settings, group).iterdir())]
    seen = [f"{path} {path.stat().st_size}" for path in sorted([*programs, *files, HERE / "Dockerfile"])]
    key = hashlib.sha256("\n".join(seen).encode()).hexdigest()[:16]
    archive = settings.cache / "images" / f"prometheus-stack-{key}.tar"
    with binaries.locked(archive):
        if not archive.exists():
            _build(settings, programs, files, archive)
    return Image(name=NAME, archive=archive, key=key)


def _build(settings: Settings, programs: list[Path], files: list[Path], archive: Path) -> None:
    builder = images.Buildah(archive.parent)
    with tempfile.TemporaryDirectory() as context, step(f"building the image {NAME}"):
        for source, place in (*((each, f"bin/{each.name}") for each in programs), *((each, str(each)[1:]) for each in files)):
            target = Path(context, place)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        builder.build(HERE / "Dockerfile", Path(context), NAME, builder.base(settings), ())
        temporary = archive.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        builder.save(NAME, temporary)
        temporary.rename(archive)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.load(response)


if __name__ == "__main__":  # before the tests, which have a time limit
    built()
