"""A registry that asks who is there: MLflow with its basic-auth app, behind a certificate that only an authority of its own
vouches for. The operator's third registry, `guarded`; what it takes to get in is in Secrets beside the operator.
"""

import json
import os
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import create_default_context
from typing import Any

import yaml

from tests.clusters.local import certificates
from tests.installation import CHECKOUT, SYSTEM_NAMESPACE, Installation, mlflow_manifest
from tests.kubernetes import CommandFailedError, Kubernetes, Object

NAME = "guarded"
NAMESPACE = "mlflow"
HOST = f"{NAME}.{NAMESPACE}.svc"
LOGIN = "guarded-login"
AUTHORITY = "guarded-ca"
VALUES = {
    "name": NAME,
    "uri": f"https://{HOST}:5000",
    "auth": {"basicSecret": {"name": LOGIN}},
    "caSecret": {"name": AUTHORITY, "key": "ca.crt"},
}
USER = "operator"

_ADMIN = ("admin", "correct horse battery")
_AUTH = """
[mlflow]
default_permission = READ
database_uri = sqlite:////data/auth.db
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@dataclass(frozen=True, slots=True)
class GuardedRegistry:
    """That MLflow on the cluster; `keys` has its certificate, and that of its authority."""

    installation: Installation
    keys: Path

    @property
    def cluster(self) -> Kubernetes:
        return self.installation.cluster

    @property
    def authority(self) -> str:
        return (self.keys / "ca.crt").read_text()

    @property
    def another_authority(self) -> str:
        return (self.keys / "front-proxy-ca.crt").read_text()

    def start(self) -> None:
        """Begin to start it, which takes a while."""
        self.remove()
        certificates.write(self.keys, {NAME: certificates.Subject(NAME, names=(HOST, "127.0.0.1"))})
        files = {"auth.ini": _AUTH, "tls.crt": self._read("crt"), "tls.key": self._read("key")}
        _, deployment, service = yaml.safe_load_all(mlflow_manifest(self.installation.image_names))
        self.secret(NAME, NAMESPACE, **files)
        self.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [_guarded(deployment), _renamed(service)]}))

    def await_start(self) -> None:
        self.cluster.kubectl("rollout", "status", f"deployment/{NAME}", "-n", NAMESPACE, "--timeout=180s")

    def remove(self) -> None:
        # With its pods: one that is left behind answers for its successor, with a certificate that nobody knows any more.
        for kind in ("deployment", "service", "secret"):
            self.cluster.kubectl("delete", kind, NAME, "-n", NAMESPACE, "--ignore-not-found", "--cascade=foreground")
        self.cluster.kubectl("delete", "secret", LOGIN, AUTHORITY, "-n", SYSTEM_NAMESPACE, "--ignore-not-found")

    def train(self, model: str) -> None:
        """Register a version there, under the alias champion."""
        with self._forwarded() as address:
            command = [sys.executable, "-m", "training", "run", "--tracking-uri", address, "--name", model, "--alias", "champion"]
            login = {"MLFLOW_TRACKING_USERNAME": _ADMIN[0], "MLFLOW_TRACKING_PASSWORD": _ADMIN[1]}
            trust = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(self.keys / "ca.crt")}
            small = ("--trees", "5", "--max-depth", "2")
            environment = {**os.environ, **login, **trust}
            done = subprocess.run([*command, *small], capture_output=True, text=True, cwd=CHECKOUT, check=False, env=environment)
        if done.returncode:
            raise CommandFailedError(command, done.returncode, done.stdout + done.stderr)

    def tell(self, method: str, what: str, **said: str) -> None:
        """Ask it for something that only its administrator may have done."""
        login = b64encode(":".join(_ADMIN).encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {login}"}
        with self._forwarded() as address:
            request = urllib.request.Request(
                f"{address}/api/2.0/mlflow/{what}", json.dumps(said).encode(), headers, method=method
            )
            trust = create_default_context(cadata=self.authority)
            urllib.request.urlopen(request, timeout=60, context=trust).close()

    def secret(self, name: str, namespace: str = SYSTEM_NAMESPACE, **content: str) -> None:
        """Write a Secret, by default one of those beside the operator."""
        metadata = {"name": name, "namespace": namespace}
        self.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content}))

    @contextmanager
    def _forwarded(self) -> Iterator[str]:
        with self.cluster.forwarded(f"service/{NAME}", 5000, NAMESPACE) as address:
            yield address.replace("http://", "https://")

    def _read(self, kind: str) -> str:
        return (self.keys / f"{NAME}.{kind}").read_text()


def _renamed(manifest: Object) -> Object:
    """A part of the first MLflow's manifest as that of another one beside it."""
    text = json.dumps(manifest).replace('"app.kubernetes.io/name": "mlflow"', f'"app.kubernetes.io/name": "{NAME}"')
    renamed: Object = json.loads(text)
    renamed["metadata"]["name"] = NAME
    return renamed


def _guarded(deployment: Object) -> Object:
    renamed = _renamed(deployment)
    pod: dict[str, Any] = renamed["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    certificate = "--ssl-certfile=/guard/tls.crt --ssl-keyfile=/guard/tls.key"
    server["args"] += ["--app-name=basic-auth", f"--uvicorn-opts={certificate}"]
    allowed = {"name": "MLFLOW_SERVER_ALLOWED_HOSTS", "value": f"{HOST}:*,localhost:*,127.0.0.1:*"}
    settings = {
        "MLFLOW_AUTH_CONFIG_PATH": "/guard/auth.ini",
        "MLFLOW_AUTH_ADMIN_USERNAME": _ADMIN[0],
        "MLFLOW_AUTH_ADMIN_PASSWORD": _ADMIN[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of these tests",
    }
    others = [each for each in server["env"] if each["name"] != allowed["name"]]
    server["env"] = [*others, allowed, *({"name": name, "value": value} for name, value in settings.items())]
    server["readinessProbe"]["httpGet"]["scheme"] = "HTTPS"
    server["volumeMounts"] = [*server["volumeMounts"], {"name": "guard", "mountPath": "/guard", "readOnly": True}]
    pod["volumes"].append({"name": "guard", "secret": {"secretName": NAME}})
    pod["terminationGracePeriodSeconds"] = 1
    return renamed
