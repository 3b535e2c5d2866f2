"""The pages in .github: what they name exists."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.crd import custom_resource_definition
from tests.clusters.settings import CHECKOUT

PAGES = sorted((CHECKOUT / ".github").glob("*.md"))


@cache
def code(path: Path) -> str:
    return path.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text())
    assert [path for path, _ in named if not (CHECKOUT / path).is_file()] == []
    assert [name for path, name in named if name and f"def {name}(" not in code(CHECKOUT / path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_target_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    assert [link for link in links if not (page.parent / link).exists()] == []
    targets = set(re.findall(r"^([a-z0-9-]+):.*##", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    called = {word for line in re.findall(r"`make ([a-z][a-z -]*)`", text) for word in line.split()}
    assert called <= targets


def test_what_the_page_on_security_would_have_set_can_be_set() -> None:
    (version,) = custom_resource_definition()["spec"]["versions"]
    spec = {"spec": version["schema"]["openAPIV3Schema"]["properties"]["spec"]}
    chart = yaml.safe_load((CHECKOUT / "charts" / "modeldeployment-operator" / "values.yaml").read_text())

    def paths(properties: dict[str, Any], before: str = "") -> Iterator[str]:
        for name, child in properties.items():
            yield f"{before}{name}"
            yield from paths(child.get("properties", {}), f"{before}{name}.")

    there = {*paths(spec), *(f"spec.{name}" for name in chart)}
    named = re.findall(r"`([a-z]\w*(?:\.\w+)*)(?:: \w+)?`", (CHECKOUT / ".github" / "SECURITY.md").read_text())
    assert {"trust.pickle", "watchNamespaces"} <= set(named)
    assert [name for name in named if f"spec.{name}" not in there and f"spec.model.{name}" not in there] == []


def test_the_page_on_support_says_which_versions_the_tests_have() -> None:
    table = (CHECKOUT / ".github" / "SUPPORT.md").read_text()
    tools = CHECKOUT / "tests" / "clusters" / "tools"
    modules = {"Kubernetes": ("kubernetes", "k8s.io/kubernetes"), "Helm": ("helm", "helm.sh/helm/v4")}
    modules["Prometheus Operator"] = ("prometheus-operator", "github.com/prometheus-operator/prometheus-operator")
    for row, (tool, module) in modules.items():
        found = re.search(rf"{re.escape(module)} v(\d+\.\d+)", (tools / tool / "go.mod").read_text())
        assert found
        assert f"| {row} | {found.group(1)} |" in table
    mlflow = re.search(r"^mlflow==(\d+\.\d+)", (CHECKOUT / "tests" / "requirements.txt").read_text(), re.MULTILINE)
    assert mlflow
    assert f"| MLflow, the server | {mlflow.group(1)} |" in table
    locks = "".join(lock.read_text() for lock in (CHECKOUT / "server").glob("requirements*.txt"))
    minors = sorted(re.findall(r"^scikit-learn==(\d+\.\d+)", locks, re.MULTILINE), reverse=True)
    assert f"| scikit-learn of a model | {', '.join(minors)}: an image for each |" in table
