"""What is asked of a machine and done to it before a cluster starts, as far as it shows without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clusters import binaries
from tests.clusters.local.machine import undelegated
from tests.clusters.packages import services_left_alone
from tests.clusters.settings import CHECKOUT, Settings


@pytest.mark.parametrize(
    ("available", "delegated", "missing"),
    [
        ("cpuset cpu io memory pids", "cpuset cpu memory pids", []),
        ("cpuset cpu io memory hugetlb pids", "cpuset cpu memory pids", ["hugetlb"]),
        ("cpuset cpu io memory hugetlb pids", "cpuset cpu memory hugetlb pids", []),
        ("cpuset cpu io memory pids", "memory pids", ["cpu", "cpuset"]),
        ("cpuset cpu io memory pids", "", ["cpu", "cpuset", "memory", "pids"]),
    ],
)
def test_controllers_that_are_not_delegated_are_named(tmp_path: Path, available: str, delegated: str, missing: list[str]) -> None:
    (tmp_path / "cgroup.controllers").write_text(f"{available}\n")
    (tmp_path / "cgroup.subtree_control").write_text(f"{delegated}\n")
    assert undelegated(tmp_path) == missing


def test_version_1_of_cgroups_delegates_nothing(tmp_path: Path) -> None:
    assert undelegated(tmp_path) == []


def test_services_are_left_alone_while_packages_are_installed(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with pytest.raises(KeyboardInterrupt), services_left_alone(policy):
        assert subprocess.run([policy], check=False).returncode == 101
        raise KeyboardInterrupt
    assert not policy.exists()


def test_a_policy_of_the_machine_stays(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    with services_left_alone(policy):
        pass
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is asked what the machine offers")
def test_a_path_without_the_system_folders_is_no_missing_feature() -> None:
    check = [sys.executable, "-c", "from tests.clusters.local import machine; machine.check()"]
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(check, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tools_for_people_are_linked_also_over_an_older_link(settings: Settings, tmp_path: Path) -> None:
    here = Settings(checkout=tmp_path, cache=settings.cache)
    folder = tmp_path / ".cluster" / "bin"
    folder.mkdir(parents=True)
    (folder / "helm").symlink_to("/nowhere")
    binaries.link(here)
    assert {path.name: path.resolve() for path in folder.iterdir()} == {
        name: binaries.binary(settings, name).resolve() for name in ("kubectl", "helm")
    }
