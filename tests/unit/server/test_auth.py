"""Who gets in, and that a token can be replaced without a restart."""

from pathlib import Path

import pytest

from server import auth
from server.auth import Tokens
from tests.unit.server.conftest import Served, sample


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "token").write_text("first-token\n")
    return tmp_path / "token", tmp_path / "next"


def test_only_a_whole_token_opens(files: tuple[Path, Path]) -> None:
    tokens = Tokens(files)
    assert tokens.allow(b"Bearer first-token") and tokens.allow(b"bearer  first-token ")
    for wrong in (None, b"", b"Bearer", b"Bearer ", b"Basic first-token", b"first-token", b"Bearer first-toke", b"Bearer \xff"):
        assert not tokens.allow(wrong)


def test_two_are_valid_while_one_is_replaced(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "LOOK_AGAIN_SECONDS", 0.0)
    tokens = Tokens(files)
    assert not tokens.allow(b"Bearer second")
    files[1].write_text("second")
    assert tokens.allow(b"Bearer second") and tokens.allow(b"Bearer first-token")
    files[0].unlink()
    assert tokens.allow(b"Bearer second") and not tokens.allow(b"Bearer first-token")
    files[1].write_text("\n")
    assert not tokens.allow(b"Bearer second") and not tokens.allow(b"Bearer ")


def test_what_tells_of_the_model_needs_a_token_and_health_does_not(serve: Served, files: tuple[Path, Path]) -> None:
    client, pod = serve("regressor", auth={"tokenFiles": [str(path) for path in files]})
    row = {"mean radius": 14}
    for method, path in (("POST", "/predict"), ("POST", "/invocations"), ("POST", "/v2/models/fraud/infer"), ("GET", "/docs"),
                         ("GET", "/openapi.json"), ("GET", "/v2/models/fraud"), ("GET", "/nothing")):  # fmt: skip
        refused = client.request(method, path, json=row)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "x-request-id" in refused.headers
    assert sample(pod, "ml_prediction_errors_total", error_type="Unauthorized") == 7
    shown = {"authorization": "Bearer first-token"}
    assert client.post("/predict", json=row, headers=shown).status_code == 200
    assert client.get("/openapi.json", headers=shown).json()["security"] == [{"bearer": []}]
    for path in ("/health", "/ping", "/v2/health/live", "/v2/health/ready"):
        assert client.get(path).status_code == 200
