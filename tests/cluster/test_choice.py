"""Which cluster is taken, and the one sentence that a person gets where none can be had."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.clusters.existing import Existing
from tests.clusters.kind import Kind
from tests.clusters.local.cluster import Local
from tests.clusters.progress import Trouble
from tests.clusters.provider import alone, chosen, end, started
from tests.clusters.settings import CHECKOUT, Settings
from tests.kubernetes import until

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


def test_nor_is_it_where_the_checkout_is_reached_through_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(CHECKOUT)
    assert Settings.read({"KUBECONFIG": str(link / ".cluster" / "kubeconfig")}).given_kubeconfig is None


def test_a_given_cluster_is_not_ended_and_that_is_said(given: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    end(given)
    assert f"{given.given_kubeconfig} was not started here" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can end a local cluster")
def test_a_local_cluster_is_ended_also_when_another_is_given_since(given: Settings) -> None:
    (given.state / "node").mkdir(parents=True)
    end(given)
    assert not given.state.exists()


def test_a_start_waits_for_its_turn(given: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    said = ""

    def waits() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "waiting for another start" in said

    start = threading.Thread(target=started, args=[given])
    with alone(given):
        start.start()
        until("a start that waits", waits, 10)
        assert start.is_alive()
    start.join(timeout=10)
    assert not start.is_alive()


def test_who_says_no_at_a_terminal_gets_nothing_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(Trouble, match="Nothing was started"):
        started(Settings(checkout=tmp_path, wanted="local"))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def given(tmp_path: Path) -> Settings:
    """A checkout in which somebody has set KUBECONFIG and REGISTRY."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()
    return Settings(checkout=tmp_path, given_kubeconfig=kubeconfig, registry="registry.example.com/team")


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
