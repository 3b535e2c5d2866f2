"""What a team does with its namespace: train, apply, look, change its mind."""

import io
import json
import os
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sklearn.datasets import load_breast_cancer

from tests import gitops
from tests.e2e import older_sklearn
from tests.installation import CHECKOUT, Installation
from tests.kubernetes import CommandFailedError, Kubernetes, Object, until
from tests.traffic import Traffic, traffic
from training.__main__ import main as train

NAME = "breast-cancer"
RATE = 50
REVISION = "deployment.kubernetes.io/revision"


@dataclass
class Team:
    """A namespace, and a registered model that no other test module, and no earlier run, knows."""

    installation: Installation
    namespace: str
    model: str

    @property
    def cluster(self) -> Kubernetes:
        return self.installation.cluster

    @cached_property
    def example(self) -> dict[str, float]:
        table = load_breast_cancer()
        return {str(name): float(value) for name, value in zip(table.feature_names, table.data[0], strict=True)}

    # --- MLflow -------------------------------------------------------------------------------------------------------
    def train(self, *arguments: str, alias: str = "champion") -> str:
        """Train and register a version under the alias; its number.

        As `python -m training` does it, in this process: MLflow's client takes longer to import than all the rest.
        """
        said = io.StringIO()
        with self.installation.mlflow() as address, warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said):
            warnings.simplefilter("ignore")  # MLflow's, which are not this project's
            command = ["run", "--tracking-uri", address, "--name", self.model, "--alias", alias, *arguments]
            if code := train(command):
                raise CommandFailedError(["python", "-m", "training", *command], code, said.getvalue())
            url = f"{address}/api/2.0/mlflow/registered-models/alias?name={self.model}&alias={alias}"
            with urllib.request.urlopen(url, timeout=30) as response:
                return str(json.load(response)["model_version"]["version"])

    def register_odd(self, kind: str, sklearn: str = "") -> str:
        """Register a version that something is wrong with, or that another scikit-learn has made; its number."""
        with self.installation.mlflow() as address:
            if sklearn:
                options = ("--name", self.model, "--tracking-uri", address)
                return older_sklearn.run(sklearn, "tests.e2e.odd_models", kind, *options).split()[-1]
            command = [sys.executable, "-m", "tests.e2e.odd_models", kind, "--name", self.model, "--tracking-uri", address]
            done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
        if done.returncode:
            raise CommandFailedError(command, done.returncode, done.stdout + done.stderr)
        return done.stdout.split()[-1]

    def tag(self, version: str, key: str, value: str) -> None:
        self._tell_mlflow("model-versions/set-tag", {"name": self.model, "version": version, "key": key, "value": value})

    def move_alias(self, version: str, alias: str = "champion") -> None:
        self._tell_mlflow("registered-models/alias", {"name": self.model, "alias": alias, "version": version})

    def _tell_mlflow(self, what: str, said: dict[str, str]) -> None:
        with self.installation.mlflow() as address:
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{address}/api/2.0/mlflow/{what}", json.dumps(said).encode(), headers)
            urllib.request.urlopen(request, timeout=30).close()

    @contextmanager
    def mlflow_away(self) -> Iterator[None]:
        """MLflow hangs, and the resource has missed it."""
        with self.mlflow_hanging():
            until("the registry to be missed", self._misses_registry, 90)
            yield

    @contextmanager
    def mlflow_hanging(self) -> Iterator[None]:
        """It takes connections and answers nothing. (Ended, it would forget: its data live as long as its pod.)"""
        self._signal_mlflow("SIGSTOP")
        try:
            yield
        finally:
            self._signal_mlflow("SIGCONT")

    def _signal_mlflow(self, name: str) -> None:
        script = (
            "import os, signal\n"
            "for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):\n"
            f"    pid in (1, os.getpid()) or os.kill(pid, signal.{name})"
        )
        self.cluster.kubectl("exec", "-n", "mlflow", "deployment/mlflow", "--", "python", "-c", script)

    def _misses_registry(self) -> bool:
        return bool(self.condition("ModelResolved").get("reason") == "RegistryUnavailable")

    # --- kubectl ------------------------------------------------------------------------------------------------------
    def kubectl(self, *arguments: str, **options: Any) -> str:
        return self.cluster.kubectl(*arguments, "-n", self.namespace, **options)

    def apply(self, name: str = NAME, **spec: Any) -> None:
        resource = {
            "apiVersion": "mlserving.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"model": {"name": self.model, "alias": "champion"}, **spec},
        }
        self.cluster.apply(json.dumps(resource))

    def patch(self, spec: dict[str, Any], name: str = NAME) -> None:
        self.kubectl("patch", f"mdep/{name}", "--type=merge", "-p", json.dumps({"spec": spec}))

    def ask_for(self, version: str, name: str = NAME) -> None:
        self.patch({"model": {"version": int(version), "alias": None}}, name)

    def follow(self, alias: str = "champion", name: str = NAME) -> None:
        self.patch({"model": {"version": None, "alias": alias}}, name)

    def undo(self, *arguments: str, name: str = NAME) -> None:
        self.kubectl("rollout", "undo", f"deployment/{name}", *arguments)

    def retry(self, name: str = NAME) -> None:
        """The command that status shows to a person."""
        command = next(
            line for line in self.condition("Ready", name)["message"].split(": ") if line.startswith("kubectl annotate")
        )
        subprocess.run(
            ["bash", "-c", command.replace("kubectl", self.cluster.kubectl_binary, 1)],
            check=True,
            capture_output=True,
            env={**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)},
        )

    # --- what they see ------------------------------------------------------------------------------------------------
    def resource(self, name: str = NAME) -> Object:
        return self.cluster.get("modeldeployment", name, self.namespace) or {}

    def status(self, name: str = NAME) -> Object:
        found: Object = self.resource(name).get("status", {})
        return found

    def condition(self, kind: str, name: str = NAME) -> Object:
        return _condition(self.status(name), kind)

    def ready(self, name: str = NAME) -> tuple[str, str]:
        """Status and reason of the Ready condition."""
        return told(self.status(name))[1:]

    def health(self, name: str = NAME) -> str:
        """What Argo CD says of it."""
        return gitops.health(self.resource(name))[0]

    def act(self, action: str, name: str = NAME) -> None:
        """As Argo CD does it, when somebody chooses that action."""
        self.kubectl("patch", f"mdep/{name}", "--type=merge", "-p", json.dumps(gitops.acted(self.resource(name), action)))

    def serving(self, name: str = NAME) -> str:
        return told(self.status(name))[0]

    def until_serving(self, version: str, reason: str = "Serving", name: str = NAME) -> None:
        """Wait until `version` alone serves, Ready is True for that reason, and no rollout is on its way that the status
        does not tell of yet."""

        def so() -> bool:
            status = self.status_that_is_up_to_date(name)
            return status is not None and told(status) == (version, "True", reason)

        until(f"{name} serves version {version} ({reason})", lambda: so() or None, 180)

    def status_that_is_up_to_date(self, name: str = NAME) -> Object | None:
        """The status, if it tells of the newest spec and of the Deployment's newest revision: else it speaks of those before.
        The Deployment is read first, and the status once: of two, one may be older than the rollout that the other tells of."""
        deployment = self.cluster.get("deployment", name, self.namespace)
        if deployment is None or deployment["status"].get("observedGeneration") != deployment["metadata"]["generation"]:
            return None
        resource = self.resource(name)
        if not resource:
            return None
        status: Object = resource.get("status", {})
        told = (status.get("observedGeneration"), *(str(entry["revision"]) for entry in status.get("history", [])[:1]))
        newest = (resource["metadata"]["generation"], deployment["metadata"]["annotations"].get(REVISION))
        return status if told == newest else None

    def until_ready_is(self, status: str, reason: str, name: str = NAME) -> None:
        until(f"{name} has Ready={status} {reason}", lambda: self.ready(name) == (status, reason) or None, 120)

    def until_looked_at(self) -> None:
        """Whoever leads has looked at everything once it has answered to a change of something else."""
        self.apply("probe", replicas=0)
        self.until_ready_is("True", "Stopped", "probe")
        self.kubectl("delete", "mdep", "probe")

    def until_event(self, *words: str, name: str = NAME) -> None:
        """Wait until `kubectl describe` shows them among the events, which are written after what they are about."""
        until(
            f"the events of {name} to have {' and '.join(words)}",
            lambda: all(word in self.kubectl("describe", f"mdep/{name}").partition("Events:")[2] for word in words),
            60,
        )

    def predict(self, body: dict[str, Any] | None = None, name: str = NAME) -> Object:
        with self.cluster.forwarded(f"service/{name}", 80, self.namespace) as address:
            request = urllib.request.Request(
                f"{address}/predict", json.dumps(body or self.example).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                answer: Object = json.load(response)
                return answer

    @contextmanager
    def load(self, name: str = NAME) -> Iterator[Traffic]:
        """50 requests a second through the Service, from a pod."""
        url = f"http://{name}/predict"
        with traffic(self.cluster, self.namespace, url, self.example, self.installation.server_image, RATE) as running:
            yield running


def told(status: Object) -> tuple[str, str, str]:
    """The version that serves, and status and reason of the Ready condition."""
    ready = _condition(status, "Ready")
    return str(status.get("serving", {}).get("version", "")), ready.get("status", ""), ready.get("reason", "")


def _condition(status: Object, kind: str) -> Object:
    found: list[Object] = status.get("conditions", [])
    return next((condition for condition in found if condition["type"] == kind), {})
