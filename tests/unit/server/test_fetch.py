"""The init step against a real HTTP server that behaves as badly as a test wants."""

import json
import signal
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from server import manifest, settings
from server.errors import ModelNotWritten, PathEscapes, StoreUnavailable
from server.fetch import fetch
from server.settings import Settings
from tests.unit.server.process import started, wait_until

FILES = {"MLmodel": b"flavors: {}", "data/model.pkl": bytes(range(256)) * 5000, "empty": b""}


class Store:
    """What a store holds, by path; `before` may answer instead, once for each request."""

    def __init__(self, files: dict[str, bytes]) -> None:
        entries = [{"path": path, "sha256": _sha(content), "size": len(content)} for path, content in sorted(files.items())]
        travelling = json.dumps({"files": entries}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        self.digest = manifest.digest_of(travelling)
        self.held = {f"/v1/manifests/{self.digest}": travelling}
        self.held |= {f"/v1/files/sha256:{_sha(content)}": content for content in files.values()}
        self.asked: Counter[str] = Counter()
        self.before: Callable[[BaseHTTPRequestHandler, int], bool] = lambda request, attempt: False

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked[request.path] += 1
        if self.before(request, self.asked[request.path]):
            return
        content = self.held.get(request.path)
        request.send_response(404 if content is None else 200)
        request.send_header("Content-Length", str(len(content or b"")))
        request.end_headers()
        request.wfile.write(content or b"")

    def path_of(self, name: str) -> str:
        return f"/v1/files/sha256:{_sha(FILES[name])}"


def _sha(content: bytes) -> str:
    return manifest.digest_of(content).removeprefix("sha256:")


@contextmanager
def serving(store: Store) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            store.answer(self)

        def log_message(self, *_: object) -> None:
            """Tests have output of their own."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.fetch.FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def store() -> Store:
    return Store(FILES)


@pytest.fixture
def url(store: Store) -> Iterator[str]:
    with serving(store) as address:
        yield address


def told(store: Store, directory: Path, *urls: str, **changes: Any) -> Settings:
    model = {"name": "fraud", "version": "3", "digest": store.digest}
    value = {"model": model, "modelDir": str(directory), "storeUrls": urls, "fetchTimeoutSeconds": 20, **changes}
    return settings.parse({settings.VARIABLE: json.dumps(value)})


def contents(directory: Path) -> dict[str, bytes]:
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_every_file_arrives_readable_for_any_user(store: Store, url: str, tmp_path: Path) -> None:
    fetch(told(store, tmp_path, url))
    assert contents(tmp_path) == FILES
    assert manifest.of_directory(tmp_path).digest == store.digest
    assert {stat.S_IMODE(path.stat().st_mode) & 0o444 for path in tmp_path.rglob("*")} == {0o444}


def test_a_step_that_runs_again_fetches_only_what_is_missing_or_wrong(store: Store, url: str, tmp_path: Path) -> None:
    fetch(told(store, tmp_path, url))
    (tmp_path / "MLmodel").write_bytes(b"flavors: []")
    (tmp_path / "data" / ".partial-left").write_bytes(b"half")
    store.asked.clear()
    fetch(told(store, tmp_path, url))
    assert contents(tmp_path) == FILES
    assert store.asked[store.path_of("data/model.pkl")] == 0 and store.asked[store.path_of("MLmodel")] == 1


def test_a_store_that_has_nothing_yet_is_asked_again(store: Store, url: str, tmp_path: Path) -> None:
    def missing_at_first(request: BaseHTTPRequestHandler, attempt: int) -> bool:
        if attempt > 1:
            return False
        request.send_error(404)
        return True

    store.before = missing_at_first
    fetch(told(store, tmp_path, url))
    assert contents(tmp_path) == FILES


def test_a_connection_that_breaks_is_made_again(store: Store, url: str, tmp_path: Path) -> None:
    def half(request: BaseHTTPRequestHandler, attempt: int) -> bool:
        if request.path != store.path_of("data/model.pkl") or attempt > 1:
            return False
        request.send_response(200)
        request.send_header("Content-Length", str(len(FILES["data/model.pkl"])))
        request.end_headers()
        request.wfile.write(FILES["data/model.pkl"][:1000])
        request.close_connection = True
        return True

    store.before = half
    fetch(told(store, tmp_path, url))
    assert contents(tmp_path) == FILES


def test_the_next_store_is_asked_where_the_first_is_gone(store: Store, url: str, tmp_path: Path) -> None:
    fetch(told(store, tmp_path, "http://127.0.0.1:9", url))
    assert contents(tmp_path) == FILES


def test_every_attempt_shows_the_token_as_it_is_now(store: Store, url: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")

    def only_the_second(request: BaseHTTPRequestHandler, _: int) -> bool:
        if request.headers["Authorization"] == "Bearer second":
            return False
        token.write_text("second\n")
        request.send_error(401)
        return True

    store.before = only_the_second
    fetch(told(store, tmp_path / "model", url, storeTokenFile=str(token)))
    assert contents(tmp_path / "model") == FILES


def test_a_refusal_is_told_in_the_words_of_the_store(store: Store, url: str, tmp_path: Path) -> None:
    def refused(request: BaseHTTPRequestHandler, _: int) -> bool:
        said = b"no ModelDeployment in namespace team names it\n"
        request.send_response(403)
        request.send_header("Content-Length", str(len(said)))
        request.end_headers()
        request.wfile.write(said)
        return True

    store.before = refused
    with pytest.raises(StoreUnavailable, match="answered 403: no ModelDeployment in namespace team names it"):
        fetch(told(store, tmp_path / "model", url, fetchTimeoutSeconds=0))
    with pytest.raises(StoreUnavailable, match=r"token .* can't be read: No such file"):
        fetch(told(store, tmp_path / "model", url, fetchTimeoutSeconds=0, storeTokenFile=str(tmp_path / "none")))


def test_no_store_in_time_names_the_last_attempt(store: Store, url: str, tmp_path: Path) -> None:
    store.held.clear()
    with pytest.raises(StoreUnavailable, match="answered 404"):
        fetch(told(store, tmp_path, url, fetchTimeoutSeconds=0))
    with pytest.raises(StoreUnavailable, match="no store"):
        fetch(told(store, tmp_path))


@pytest.mark.parametrize("wrong", [b"flavors: {!", b"flavors: {}" * 1000, b""], ids=["other", "longer", "shorter"])
def test_wrong_bytes_never_get_a_name(store: Store, url: str, tmp_path: Path, wrong: bytes) -> None:
    store.held[store.path_of("MLmodel")] = wrong
    with pytest.raises(StoreUnavailable, match="MLmodel"):
        fetch(told(store, tmp_path, url))
    assert contents(tmp_path) == {}


def test_a_store_that_sent_wrong_bytes_is_told_to_look_at_its_copy(store: Store, url: str, tmp_path: Path) -> None:
    right = store.held[store.path_of("MLmodel")]
    store.held[store.path_of("MLmodel")] = b"flavors: {!"
    doubts = []

    def looks_when_told(request: BaseHTTPRequestHandler, _: int) -> bool:
        if request.path == store.path_of("MLmodel"):
            doubts.append(request.headers["Cache-Control"])
        if request.headers["Cache-Control"] == "no-cache":
            store.held[store.path_of("MLmodel")] = right
        return False

    store.before = looks_when_told
    fetch(told(store, tmp_path, url))
    assert contents(tmp_path) == FILES
    assert doubts == [None, "no-cache"]


def test_a_file_that_never_ends_is_not_waited_for(store: Store, url: str, tmp_path: Path) -> None:
    chunk, most = bytes(1024 * 1024), 200
    sent = Counter[str]()

    def endless(request: BaseHTTPRequestHandler, _: int) -> bool:
        if request.path != store.path_of("MLmodel"):
            return False
        request.send_response(200)
        request.end_headers()
        request.close_connection = True
        with suppress(OSError):
            for _ in range(most):
                request.wfile.write(chunk)
                sent[request.path] += 1
        return True

    store.before = endless
    with pytest.raises(StoreUnavailable, match="more than its 11 bytes"):
        fetch(told(store, tmp_path, url))
    assert sent.total() < most


def test_a_store_that_sends_byte_by_byte_is_not_waited_for(store: Store, url: str, tmp_path: Path) -> None:
    enough = threading.Event()

    def dripping(request: BaseHTTPRequestHandler, _: int) -> bool:
        if request.path != store.path_of("data/model.pkl"):
            return False
        request.send_response(200)
        request.send_header("Content-Length", str(len(FILES["data/model.pkl"])))
        request.end_headers()
        request.close_connection = True
        with suppress(OSError):
            while not enough.wait(0.05):
                request.wfile.write(FILES["data/model.pkl"][:1])
        return True

    store.before = dripping
    try:
        with pytest.raises(StoreUnavailable, match="still sending"):
            fetch(told(store, tmp_path, url, fetchTimeoutSeconds=1))
    finally:
        enough.set()
    assert not (tmp_path / "data" / "model.pkl").exists()


def test_a_disk_that_takes_no_model_is_not_the_fault_of_the_model(store: Store, url: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"a file where the model has a directory")
    with pytest.raises(ModelNotWritten, match=f"can't write the model to {tmp_path}: File exists"):
        fetch(told(store, tmp_path, url))


def test_a_manifest_with_another_digest_is_refused(store: Store, url: str, tmp_path: Path) -> None:
    store.held[f"/v1/manifests/{store.digest}"] += b" "
    with pytest.raises(StoreUnavailable, match="arrived as"):
        fetch(told(store, tmp_path, url))


def test_no_file_leaves_the_directory(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "data").symlink_to(outside)
    store = Store(FILES)
    with serving(store) as url, pytest.raises(PathEscapes):
        fetch(told(store, tmp_path / "model", url))
    evil = Store({"../outside/evil": b"x"})
    with serving(evil) as url, pytest.raises(PathEscapes):
        fetch(told(evil, tmp_path / "model", url))
    assert contents(outside) == {}


def test_the_process_says_why_it_ended(store: Store, url: str, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    (tmp_path / "scratch").mkdir()
    model = {"name": "fraud", "version": "3", "digest": store.digest}
    common = {"modelDir": str(directory), "storeUrls": [url]}
    unknown = {**common, "model": model | {"digest": "sha256:" + "0" * 64}, "fetchTimeoutSeconds": 0}
    with started(directory, tmp_path / "scratch", "fetch", **unknown) as process:
        assert process.ended() == 69
        assert process.last_words()["reason"] == "StoreUnavailable"
        assert process.events()[-1]["event"] == "cannot go on"
    with started(directory, tmp_path / "scratch", "fetch", **common, model=model, engine="Native") as process:
        assert process.ended() == 0
    assert contents(directory) == FILES


def test_a_step_that_must_go_goes_also_as_the_first_process_of_a_container(store: Store, url: str, tmp_path: Path) -> None:
    store.held.clear()
    (tmp_path / "model").mkdir()
    with started(tmp_path / "model", tmp_path, "fetch", storeUrls=[url]) as process:
        wait_until(lambda: store.asked.total() > 0)
        process.popen.terminate()
        assert process.ended() == 128 + signal.SIGTERM  # and not -SIGTERM: nobody but the process itself decided
