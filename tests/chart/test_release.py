"""The chart as a release publishes it."""

from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART, NAME, NAMESPACE, REGISTRIES, Helm
from tests.clusters.progress import Trouble
from tests.clusters.settings import CHECKOUT
from tests.supply.chart import package

TAG = f"v{yaml.safe_load((CHART / 'Chart.yaml').read_text())['version']}"
IMAGES = "registry.example/team/repository"
SOURCE = "https://git.example/Team/repository"


def test_a_released_chart_installs_the_images_of_its_release(helm: Helm, tmp_path: Path) -> None:
    archive = package(helm.binary, IMAGES, SOURCE, TAG, tmp_path)
    rendered = helm.run("template", "operator", archive, "--namespace", NAMESPACE, values={"registries": REGISTRIES})
    assert rendered.returncode == 0, rendered.stderr
    (pods,) = [found for found in yaml.safe_load_all(rendered.stdout) if found and found["kind"] == "StatefulSet"]
    images = {container["image"] for container in pods["spec"]["template"]["spec"]["containers"]}
    assert images == {f"{IMAGES}/controller:{TAG}"}
    assert f"{IMAGES}/server:{TAG}" in rendered.stdout
    assert "localhost/modeldeployment" not in rendered.stdout + helm.run("show", "readme", archive).stdout


def test_the_alerts_of_a_released_chart_lead_to_the_runbooks_of_its_release(helm: Helm, tmp_path: Path) -> None:
    archive = package(helm.binary, IMAGES, SOURCE, TAG, tmp_path)
    values = {"registries": REGISTRIES, "monitoring": {"prometheusRule": {"enabled": True}}}
    shown = helm.run("template", "operator", archive, "--show-only", "templates/prometheusrule.yaml", values=values).stdout
    groups = yaml.safe_load(shown)["spec"]["groups"]
    links = {rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert {link.partition("#")[0] for link in links} == {f"{SOURCE}/blob/{TAG}/{(CHART / 'runbooks.md').relative_to(CHECKOUT)}"}
    assert f'`"{SOURCE}/blob/{TAG}/"`' in helm.run("show", "readme", archive).stdout
    assert yaml.safe_load(helm.run("show", "chart", archive).stdout)["sources"] == [SOURCE]


def test_a_released_install_yaml_is_what_its_chart_renders(helm: Helm, tmp_path: Path) -> None:
    archive = package(helm.binary, IMAGES, SOURCE, TAG, tmp_path)
    rendered = helm.run("template", NAME, archive, "--namespace", NAMESPACE, "--skip-tests", values={"registries": REGISTRIES})
    written = yaml.safe_load_all((tmp_path / "install.yaml").read_text())
    pods, expected = (
        next(found["spec"]["template"] for found in documents if found and found["kind"] == "StatefulSet")
        for documents in (written, yaml.safe_load_all(rendered.stdout))
    )
    assert pods["spec"] == expected["spec"]


def test_a_tag_of_another_version_is_refused(helm: Helm, tmp_path: Path) -> None:
    with pytest.raises(Trouble, match=r"The tag v99\.0\.0 is not that of version"):
        package(helm.binary, IMAGES, SOURCE, "v99.0.0", tmp_path)
    assert list(tmp_path.iterdir()) == []
