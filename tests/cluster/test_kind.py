"""kind, as far as it goes on a machine whose engine may not run its nodes: to the point where it wants a node's image."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.engine import Engine
from tests.clusters.kind import Kind, engine_can_run_nodes
from tests.clusters.progress import Trouble
from tests.clusters.settings import CHECKOUT, Settings


@pytest.mark.timeout(300)
def test_kind_takes_our_configuration(
    engine: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for option in engine.options:
        monkeypatch.setenv("DOCKER_HOST", option.removeprefix("--host="))
    if engine_can_run_nodes():
        pytest.skip("here kind works, and the other tests use it")
    kind = Kind(replace(settings, checkout=tmp_path))
    kind.configuration = CHECKOUT / "manifests" / "kind.yaml"
    with pytest.raises(Trouble, match="Ensuring node image"):
        kind.start()
    kind.configuration = tmp_path / "wrong.yaml"
    kind.configuration.write_text((CHECKOUT / "manifests" / "kind.yaml").read_text().replace("nodes:", "knots:"))
    with pytest.raises(Trouble, match=r'unknown field "knots"|field knots not found'):
        kind.start()
