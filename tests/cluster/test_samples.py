"""Samples for other people's kinds, against the definitions that these people publish, in the real API server."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import gitops
from tests.clusters.settings import CHECKOUT
from tests.kubernetes import Kubernetes

pytestmark = pytest.mark.timeout(300)  # the modules are downloaded once

MANIFESTS = CHECKOUT / "manifests"
DEFINITIONS = {  # by module, as tests/definitions/go.mod pins them
    "sigs.k8s.io/gateway-api": (
        "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    "github.com/fluxcd/source-controller": ("config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",),
    "github.com/fluxcd/kustomize-controller": ("config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",),
    "github.com/argoproj/argo-cd/v3": ("manifests/crds/application-crd.yaml",),
}
SAMPLES = (
    "gitops/argocd/application.yaml",
    "gitops/flux/kustomization.yaml",
    "samples/outside/gateway.yaml",
    "samples/outside/ingress.yaml",
    "migration/route.yaml",
)


@pytest.fixture(scope="module")
def theirs(cluster: Kubernetes) -> Iterator[Kubernetes]:
    """The API server with their definitions; those that were there before stay."""
    command = ["go", "mod", "download", "-json", *DEFINITIONS]
    told = subprocess.run(command, cwd=CHECKOUT / "tests" / "definitions", check=True, capture_output=True, text=True).stdout
    modules = [json.loads(each + "}") for each in told.split("\n}\n") if each.strip()]
    files = [Path(module["Dir"], name) for module in modules for name in DEFINITIONS[module["Path"]]]
    there = cluster.kubectl("get", "crd", "-o", "name").split()
    missing = {name: file for file in files if (name := defined_in(file)) not in there}
    for file in missing.values():
        cluster.kubectl("apply", "--server-side", "-f", str(file))
    if missing:
        cluster.kubectl("wait", "--for=condition=Established", *missing, "--timeout=30s")
    yield cluster
    if missing:
        cluster.kubectl("delete", *missing, "--wait=false")


def defined_in(file: Path) -> str:
    """What kubectl calls the definition in that file. (Not parsed: some have a megabyte.)"""
    names: list[str] = re.findall(r"^  name: (.*)$", file.read_text(), re.MULTILINE)
    return f"customresourcedefinition.apiextensions.k8s.io/{names[0]}"


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_are_accepted(theirs: Kubernetes, sample: str, tmp_path: Path) -> None:
    file = tmp_path / "sample.yaml"
    text = (MANIFESTS / sample).read_text()
    for namespace in ("argocd", "flux-system"):  # which are not here
        text = text.replace(f"namespace: {namespace}", "namespace: default")
    file.write_text(text)
    said = theirs.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(file))
    assert said.count("created (server dry run)") == text.count("\nkind:")


def test_what_argo_cd_is_told_of_other_kinds_stays(cluster: Kubernetes, tmp_path: Path) -> None:
    before = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm"},
        "data": {"url": "https://argocd.example.com"},
    }
    (tmp_path / "cm.json").write_text(json.dumps(before))
    options = ("--local", "-f", str(tmp_path / "cm.json"), "--patch-file", str(gitops.SCRIPTS), "-o", "json")
    after = json.loads(cluster.kubectl("patch", *options))["data"]
    assert after["url"] == "https://argocd.example.com"
    assert len(after) == 3


def test_a_resource_that_nobody_has_looked_at_is_in_progress(defined: Kubernetes) -> None:
    """Flux and Helm would take one without a status for done."""
    sample = str(MANIFESTS / "samples" / "breast-cancer.yaml")
    new = json.loads(defined.kubectl("create", "--dry-run=server", "-o", "json", "-f", sample))
    assert gitops.kstatus(new) == "InProgress"
    assert gitops.health(new)[0] == "Progressing"
