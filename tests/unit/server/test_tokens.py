"""The tokens of clients in a Secret as the kubelet mounts it: a directory of links that are swapped all at once."""

from pathlib import Path

import pytest

from server import auth
from server.auth import Tokens, require
from server.errors import TokensMissing
from server.loading import load
from server.metrics import Metrics
from tests.unit.server import factories
from tests.unit.server.conftest import Model


class Mount:
    """A mounted Secret."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version = 0
        path.mkdir()
        self.hold()

    def hold(self, **keys: str) -> None:
        """As the kubelet does it: a new directory, a link to it that is replaced, and a link for each key."""
        self._version += 1
        version = self.path / f"..2026_{self._version}"
        version.mkdir()
        for key, value in keys.items():
            (version / key).write_text(value)
        (self.path / "..data_tmp").symlink_to(version.name)
        (self.path / "..data_tmp").replace(self.path / "..data")
        for key in keys:
            if not (self.path / key).is_symlink():
                (self.path / key).symlink_to(Path("..data") / key)
        for link in self.path.iterdir():
            if not link.name.startswith("..") and link.name not in keys:
                link.unlink()


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "tokens")


def test_each_key_is_a_token_and_one_is_replaced_without_a_restart(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "LOOK_AGAIN_SECONDS", 0.0)
    tokens = Tokens([mount.path])
    for keys, valid in (
        ({"shop": "a"}, {b"a"}),
        ({"shop": "a", "billing": "b\n"}, {b"a", b"b"}),
        ({"billing": "b", "shop.2": "c"}, {b"b", b"c"}),
        ({"empty": " \n"}, set()),
        ({}, set()),
        ({"shop": "d"}, {b"d"}),
    ):
        mount.hold(**keys)
        assert {each for each in (b"a", b"b", b"c", b"d", b"") if tokens.allow(b"Bearer " + each)} == valid


@pytest.mark.parametrize("keys", [None, {}, {"token": "\n"}], ids=["no Secret", "no key", "no token"])
def test_a_server_without_any_token_does_not_start_and_says_what_to_create(
    model: Model, mount: Mount, keys: dict[str, str] | None
) -> None:
    path = mount.path if keys is not None else mount.path / "missing"
    mount.hold(**(keys or {}))
    told = {"auth": {"tokenFiles": [str(path)], "secret": "fraud-tokens"}, "resource": {"namespace": "team", "name": "fraud"}}
    with pytest.raises(TokensMissing, match="the Secret fraud-tokens in the namespace team is not there, or has no token in it"):
        load(factories.told(model("regressor"), **told), Metrics())


def test_one_token_is_enough_and_none_is_needed_where_none_is_asked_for(model: Model, mount: Mount) -> None:
    mount.hold(shop="a")
    require(factories.told(model("regressor"), auth={"tokenFiles": [str(mount.path)]}))
    require(factories.told(model("regressor")))
