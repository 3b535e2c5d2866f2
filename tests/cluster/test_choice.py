"""Which cluster is taken, and the one sentence that a person gets where none can be had."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clusters.existing import Existing
from tests.clusters.kind import Kind
from tests.clusters.local.cluster import Local
from tests.clusters.progress import Trouble
from tests.clusters.provider import chosen
from tests.clusters.settings import CHECKOUT, Settings

CHECK = "import os, sys; from tests.clusters.local import machine; exec(sys.argv[1]); machine.check()"


def test_a_given_kubeconfig_is_used_only_with_a_registry() -> None:
    """Somebody's shell may point at production: one variable alone must not be enough to have tests run there."""
    with pytest.raises(Trouble, match="set REGISTRY too"):
        chosen(Settings.read({"KUBECONFIG": "/dev/null"})).start()
    both = chosen(Settings.read({"KUBECONFIG": "/dev/null", "REGISTRY": "registry.example.com/team"}))
    assert isinstance(both, Existing)
    assert both.start() == Path("/dev/null")


def test_the_kubeconfig_of_our_own_cluster_is_no_given_one() -> None:
    own = Settings.read({"KUBECONFIG": str(CHECKOUT / ".cluster" / "kubeconfig")})
    assert own.given_kubeconfig is None


@pytest.mark.parametrize(("wanted", "provider"), [("local", Local), ("kind", Kind), ("existing", Existing)])
def test_what_is_asked_for_is_taken(wanted: str, provider: type) -> None:
    assert isinstance(chosen(Settings.read({"CLUSTER_PROVIDER": wanted})), provider)


def test_a_provider_that_does_not_exist_is_named() -> None:
    with pytest.raises(Trouble, match="minikube is not known; there are existing, kind, local"):
        chosen(Settings.read({"CLUSTER_PROVIDER": "minikube"}))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up being root")
def test_who_is_not_root_is_told_so() -> None:
    assert "The local cluster needs root" in last_words("os.setuid(65534)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up what root may do")
def test_a_missing_kernel_feature_is_named() -> None:
    assert "The local cluster needs namespaces of its own" in last_words("", "setpriv", "--bounding-set=-sys_admin")


def last_words(before: str, *wrapper: str) -> str:
    """What a check of the machine that fails says last."""
    command = [*wrapper, sys.executable, "-c", CHECK, before]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    return result.stderr.strip().splitlines()[-1]
