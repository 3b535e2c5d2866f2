"""A ModelDeployment that comes from Git, and one that takes the place of another server, on the real cluster."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests import gitops
from tests.e2e.team import Team
from tests.installation import CHECKOUT
from tests.kubernetes import CommandFailedError, Object, until

pytestmark = pytest.mark.timeout(900)

NAME = "fraud-model"
OLD = "fraud"
OLD_PORT = 9000
"""Names and port are those of the page on migration, whose commands are run."""

# What somebody once wrote: it keeps connections open, and knows nothing of an orderly end.
OLD_APPLICATION = """
import http.server, json

class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"prediction": 1, "model_version": "old"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", %d), Application).serve_forever()
"""


@pytest.fixture(scope="module")
def version(team: Team) -> str:
    return team.train("--trees", "10", "--max-depth", "3")


@pytest.fixture(scope="module")
def chart(team: Team, version: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chart of a team's own, with a ModelDeployment in it."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "templates").mkdir()
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: models\nversion: 1.0.0\n")
    template = json.dumps(manifest(team, version), indent=1).replace('"MODEL"', "{{ toJson .Values.model }}")
    (folder / "templates" / "model.yaml").write_text(template)
    (folder / "values.yaml").write_text(json.dumps({"model": manifest(team, version, model=None)["spec"]["model"]}))
    return folder


def manifest(team: Team, version: str, model: str | None = "MODEL") -> Object:
    return {
        "apiVersion": "mlserving.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": NAME},
        "spec": {
            "model": model or {"name": team.model, "version": int(version)},
            "autoscaling": {"minReplicas": 1, "maxReplicas": 2},
        },
    }


def helm(team: Team, chart: Path, *options: str) -> None:
    team.cluster.helm("upgrade", "--install", "models", str(chart), "-n", team.namespace, "--wait", "--timeout=3m", *options)


def seen(team: Team) -> tuple[str, str]:
    """What Argo CD says, and what Flux and Helm say."""
    resource = team.resource(NAME)
    return gitops.health(resource)[0], gitops.kstatus(resource)


def test_helm_waits_until_it_serves(team: Team, version: str, chart: Path) -> None:
    helm(team, chart)
    assert (team.ready(NAME), team.serving(NAME)) == (("True", "Serving"), version)
    assert seen(team) == ("Healthy", "Current")


def test_helm_ends_at_once_where_a_person_is_needed(team: Team, version: str, chart: Path) -> None:
    began = time.monotonic()
    with pytest.raises(CommandFailedError, match=r"not ready\. status: Failed"):
        helm(team, chart, "--set", f"model.digest=sha256:{'0' * 64}")
    assert time.monotonic() - began < 60
    assert (team.ready(NAME), *seen(team)) == (("False", "DigestMismatch"), "Degraded", "Failed")
    helm(team, chart)
    assert (team.ready(NAME), *seen(team)) == (("True", "Serving"), "Healthy", "Current")


def test_nothing_differs_after_apply_and_other_field_managers_meet_no_conflict(team: Team, version: str) -> None:
    written = manifest(team, version, model=None)
    written["spec"] |= {"server": {"outOfRange": "Flag"}, "gates": {}}  # beside which the definition has a default
    text = json.dumps(written)
    for options in ((), ("--server-side", "--field-manager=argocd-controller"), ("--server-side", "--field-manager=flux")):
        team.kubectl("apply", "-f", "-", *options, stdin=text)
        team.until_ready_is("True", "Serving", NAME)
        assert team.kubectl("diff", "-f", "-", *options, stdin=text) == ""
    managers = json.loads(team.kubectl("get", f"mdep/{NAME}", "-o", "json", "--show-managed-fields"))["metadata"]["managedFields"]
    (ours,) = [each for each in managers if each.get("subresource") == "status"]
    assert list(ours["fieldsV1"]) == ["f:status"]
    assert ours["manager"] not in {each["manager"] for each in managers if each is not ours}


def test_another_server_is_replaced_without_a_lost_request(team: Team, version: str, tmp_path: Path) -> None:
    """By the commands of the page, in a shell."""
    team.cluster.apply(json.dumps(old_application(team)))
    team.kubectl("rollout", "status", f"deployment/{OLD}", "--timeout=60s")
    (tmp_path / "fraud-model.yaml").write_text(json.dumps(manifest(team, version, model=None)))
    page = (CHECKOUT / "manifests" / "migration" / "README.md").read_text()
    beside, there, back, end = re.findall(r"^```shell\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    shell = shell_of(team, tmp_path)

    def run(commands: str) -> None:
        subprocess.run(["bash", "-euc", commands], cwd=tmp_path, env=shell, check=True, capture_output=True, text=True)

    with team.load(OLD) as first:  # a pod that is ready is known to the node's proxy a moment later
        until("an answer by the Service", lambda: first.account().versions.get("old"), 60)
    with team.load(OLD) as load:

        def answers(by: str, others: str) -> None:
            """A hundred more answers by one, and of the other no more than those on kept connections."""
            before = load.account().versions.get(by, 0)
            until(f"answers by {by} beside {others}", lambda: load.account().versions.get(by, 0) > before + 50, 60)

        run(beside)
        assert set(load.account().versions) == {"old"}
        run(there)
        answers(version, "old")
        run(back)
        answers("old", version)
        run(there)
        answers(version, "old")
        assert team.predict(name=OLD)["model_version"] == version
        account = load.finish()
    run(end)
    assert (account.failures, account.lost) == ((), 0)
    assert team.predict(name=OLD)["model_version"] == version


def old_application(team: Team) -> Object:
    labels = {"app": OLD}
    container = {
        "name": "application",
        "image": team.installation.server_image,
        "command": ["python", "-c", OLD_APPLICATION % OLD_PORT],
        "ports": [{"containerPort": OLD_PORT}],
        "readinessProbe": {"tcpSocket": {"port": OLD_PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    metadata = {"name": OLD, "namespace": team.namespace}
    deployment = {"selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": OLD_PORT}]},
            },
        ],
    }


def shell_of(team: Team, folder: Path) -> dict[str, str]:
    """A shell's environment, in which the team's namespace is the current one."""
    config = folder / "kubeconfig"
    config.write_text(team.cluster.kubectl("config", "view", "--raw"))
    binaries = Path(team.cluster.kubectl_binary).parent
    environment = {**os.environ, "KUBECONFIG": str(config), "PATH": f"{binaries}:{os.environ['PATH']}"}
    command = ["kubectl", "config", "set-context", "--current", f"--namespace={team.namespace}"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return environment
