"""What is installed is pinned and hashed, from wherever a machine gets its packages; and one version is told everywhere."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.clusters.settings import CHECKOUT
from tests.supply import locks


@pytest.mark.parametrize("lock", locks.ALL, ids=lambda lock: str(lock.relative_to(CHECKOUT)))
def test_a_lock_pins_and_hashes_everything_and_names_no_host(lock: Path) -> None:
    pins = list(locks.pins(lock))
    assert pins
    assert [pin.name for pin in pins if pin.version is None] == []
    assert [pin.name for pin in pins if not pin.hashes] == []
    assert [each for pin in pins for each in pin.hashes if not re.fullmatch(r"sha256:[0-9a-f]{64}", each)] == []
    assert "://" not in lock.read_text()


def test_every_lock_that_is_installed_is_looked_at() -> None:
    found = {path for path in CHECKOUT.glob("[!.]*/**/*.txt") if "--hash=" in path.read_text()}
    assert found == set(locks.ALL)


def test_images_and_tests_have_the_same_versions() -> None:
    """Python 3.11 is the images'; what the tests prove is what is shipped."""
    tested = {pin.name: pin.version for pin in locks.pins(CHECKOUT / "tests" / "requirements.txt") if pin.needed("3.11")}
    for room in ("controller", "server", "training"):
        shipped = {pin.name: pin.version for pin in locks.pins(CHECKOUT / room / "requirements.txt") if pin.needed("3.11")}
        assert shipped.items() <= tested.items()


def test_project_and_chart_have_the_same_version() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHECKOUT / "charts" / "modeldeployment-operator" / "Chart.yaml").read_text())
    assert chart["version"] == project["version"]
