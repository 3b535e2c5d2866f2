"""Helm as the tests of the chart use it: values in, Kubernetes objects out."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

CHART = Path(__file__).parents[2] / "charts" / "modeldeployment-operator"
NAMESPACE = "mlserving-system"
NAME = "modeldeployment-operator"
CLUSTER_WIDE_NAME = f"{NAMESPACE}:{NAME}"
REGISTRIES = [{"name": "main", "uri": "http://mlflow.mlflow.svc:5000"}]


@dataclass(frozen=True, slots=True)
class Rendered:
    """What Helm would send to the API server."""

    objects: tuple[Object, ...]

    def all(self, kind: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str = NAME, namespace: str | None = None) -> Object:
        (found,) = [
            candidate
            for candidate in self.all(kind)
            if candidate["metadata"]["name"] == name and namespace in (None, candidate["metadata"].get("namespace"))
        ]
        return found

    @property
    def pod(self) -> Object:
        """The spec of the operator's pods."""
        spec: Object = self.one("StatefulSet")["spec"]["template"]["spec"]
        return spec

    def container(self, name: str) -> Object:
        (found,) = [container for container in self.pod["containers"] if container["name"] == name]
        return dict(found)

    def settings(self, pod: str = f"{NAME}-0", container: str = "controller") -> str:
        """The operator's settings as a pod sees them: a variable expands to those that stand above it, and to no other."""
        fields = {"metadata.name": pod, "metadata.namespace": NAMESPACE}
        environment: dict[str, str] = {}
        for variable in self.container(container)["env"]:
            value = variable.get("value") or fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            for name, known in environment.items():
                value = value.replace(f"$({name})", known)
            environment[variable["name"]] = value
        return environment["MLSERVING_OPERATOR_SETTINGS"]


@dataclass(frozen=True, slots=True)
class Helm:
    """The real helm, with an empty home of its own."""

    binary: Path
    home: Path

    def run(self, *arguments: str | Path, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        environment = {f"HELM_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [self.binary, *arguments, *(["--values", "-"] if values is not None else [])],
            input=json.dumps(values),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def template(self, values: Mapping[str, Any], *arguments: str, release: str = NAME) -> subprocess.CompletedProcess[str]:
        return self.run("template", release, CHART, "--namespace", NAMESPACE, *arguments, values=values)

    def text(self, *arguments: str, release: str = NAME, **values: Any) -> str:
        """The YAML for these values beside the one that is required."""
        done = self.template({"registries": REGISTRIES, **values}, *arguments, release=release)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def render(self, *arguments: str, release: str = NAME, **values: Any) -> Rendered:
        documents = yaml.load_all(self.text(*arguments, release=release, **values), Loader=yaml.CSafeLoader)
        return Rendered(tuple(document for document in documents if document))

    def refusal(self, *arguments: str, **values: Any) -> str:
        """What Helm says when it refuses these values."""
        done = self.template({"registries": REGISTRIES, **values}, *arguments)
        assert done.returncode != 0, f"accepted: {values}"
        return done.stderr
