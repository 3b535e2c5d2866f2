"""The store: what is visible is complete and is what its name says, also with several pulls and replicas at once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from controller import manifest
from controller.errors import Stalling, Waiting
from controller.manifest import StoredFile, safe_path
from controller.registry import ModelVersion, RemoteFile
from controller.resolution import Resolver
from controller.serve_store import create_app
from controller.store import PULLS_AT_ONCE, Store
from controller.verifier import Verifier
from tests.unit.controller.factories import model, pod_settings
from tests.unit.controller.fake_registry import FakeRegistry

LIMIT = 10**6


def version(number: int = 1) -> ModelVersion:
    return ModelVersion(registry="main", name="fraud", version=str(number), run_id="r", model_id="m", created="1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", LIMIT)


@pytest.fixture
async def served(store: Store) -> AsyncIterator[TestServer]:
    server = TestServer(create_app(store, Verifier(store)))
    await server.start_server()
    yield server
    await server.close()


def test_the_digest_is_of_the_canonical_manifest() -> None:
    files = [StoredFile("b", "2" * 64, 2), StoredFile("a", "1" * 64, 1)]
    entries = (f'{{"path":"{path}","sha256":"{str(number) * 64}","size":{number}}}' for path, number in (("a", 1), ("b", 2)))
    expected = f'{{"files":[{",".join(entries)}]}}'
    assert manifest.written(files) == manifest.written(files[::-1]) == expected.encode()


async def test_a_pull_keeps_every_file_under_its_hash(store: Store) -> None:
    registry = FakeRegistry(1)
    digest = await store.pull(version(), registry)
    assert digest == "sha256:" + hashlib.sha256(store.manifest_path(digest).read_bytes()).hexdigest()
    for file in store.files(digest):
        content = store.file_path(file.sha256).read_bytes()
        assert content == registry.versions["1"][file.path]
        assert hashlib.sha256(content).hexdigest() == file.sha256


async def test_the_digest_survives_a_second_pull_elsewhere(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other", LIMIT)
    assert await store.pull(version(), FakeRegistry(1)) == await other.pull(version(), FakeRegistry(1))


async def test_many_callers_cost_one_pull(store: Store) -> None:
    registry = FakeRegistry(1)
    digests = await asyncio.gather(*(store.pull(version(), registry) for _ in range(20)))
    assert len(set(digests)) == 1
    assert registry.downloads == len(registry.versions["1"])


async def test_why_a_pull_failed_that_nobody_waited_for_is_told_to_who_asks_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then it is tried again: the registry may have mended."""
    monkeypatch.setattr("controller.store.PATIENCE_SECONDS", 0.0)
    away = asyncio.Event()

    class Away(FakeRegistry):
        async def files(self, version: ModelVersion) -> list[RemoteFile]:
            await away.wait()
            raise Waiting("RegistryUnavailable", "no answer")

    with pytest.raises(Waiting, match="Pulling"):
        await store.pull(version(), Away(1))
    away.set()
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()), return_exceptions=True)
    with pytest.raises(Waiting, match="RegistryUnavailable"):
        await store.pull(version(), FakeRegistry(1))
    monkeypatch.undo()
    assert store.has(await store.pull(version(), FakeRegistry(1)))


async def test_a_registry_that_hangs_holds_up_the_pulls_from_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(FakeRegistry):
        async def files(self, version: ModelVersion) -> list[RemoteFile]:
            await asyncio.Event().wait()
            return []

    monkeypatch.setattr("controller.store.PATIENCE_SECONDS", 0.0)
    for number in range(PULLS_AT_ONCE + 1):
        with pytest.raises(Waiting, match="Pulling"):
            await store.pull(replace(version(number), registry="hangs"), Hanging(number))
    monkeypatch.undo()
    assert store.has(await store.pull(version(), FakeRegistry(1)))


async def test_a_failed_pull_leaves_nothing_visible(store: Store, tmp_path: Path) -> None:
    class Short(FakeRegistry):
        async def files(self, version: ModelVersion) -> list[RemoteFile]:
            return [RemoteFile(file.path, file.size + 1) for file in await super().files(version)]

    with pytest.raises(Waiting, match="DownloadIncomplete"):
        await store.pull(version(), Short(1))
    assert list((tmp_path / "store" / "manifests").iterdir()) == []
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//b", "a/", "", ".", "a\\b", "a\0b", "a/./b", "..", "a\nb"])
def test_paths_that_escape_are_refused(path: str) -> None:
    with pytest.raises(Stalling, match="PathEscapes"):
        safe_path(path)


@pytest.mark.parametrize("path", ["MLmodel", "data/model.pkl", "..data", "ünï"])
def test_plain_paths_pass(path: str) -> None:
    assert safe_path(path) == path


async def test_a_lying_size_cannot_fill_the_disk(store: Store) -> None:
    registry = FakeRegistry(1)

    class Endless(FakeRegistry):
        async def download(self, version: ModelVersion, path: str) -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 10**5

    endless = Endless()
    endless.versions, endless.aliases = registry.versions, registry.aliases
    with pytest.raises(Stalling, match=r"ModelTooLarge.*chart value store\.maxModelBytes"):
        await store.pull(version(), endless)


async def test_many_files_cannot_fill_the_disk_either(store: Store) -> None:
    class Unsized(FakeRegistry):
        async def files(self, version: ModelVersion) -> list[RemoteFile]:
            return [RemoteFile(file.path, 0) for file in await super().files(version)]

    registry = Unsized(1)
    registry.versions["1"] = {f"part{number}": b"x" * 10**5 for number in range(20)}
    with pytest.raises(Stalling, match="ModelTooLarge"):
        await store.pull(version(), registry)
    assert registry.downloads == 11


async def test_pods_get_manifest_and_files_byte_for_byte(store: Store, served: TestServer) -> None:
    digest = await store.pull(version(), FakeRegistry(1))
    async with aiohttp.ClientSession(served.make_url("/")) as session:
        async with session.get(f"/v1/manifests/{digest}") as response:
            assert "sha256:" + hashlib.sha256(await response.read()).hexdigest() == digest
        for file in store.files(digest):
            async with session.get(f"/v1/files/sha256:{file.sha256}") as response:
                assert response.headers["Content-Length"] == str(file.size)
                assert response.headers["Cache-Control"].startswith("private,"), "no proxy hands on what needed a token"
                assert hashlib.sha256(await response.read()).hexdigest() == file.sha256


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/manifests/sha256:" + "0" * 64, 404),
        ("/v1/files/sha256:" + "0" * 64, 404),
        ("/v1/files/../../etc/passwd", 404),
        ("/v1/files/sha256:..%2f..%2fetc%2fpasswd", 400),
        ("/v1/manifests/latest", 400),
    ],
)
async def test_anything_else_is_refused(served: TestServer, path: str, status: int) -> None:
    async with aiohttp.ClientSession(served.make_url("/")) as session, session.get(path) as response:
        assert response.status == status


async def test_ready_only_after_the_mirror(store: Store, served: TestServer) -> None:
    async with aiohttp.ClientSession(served.make_url("/")) as session:
        async with session.get("/readyz") as response:
            assert response.status == 503
        store.mark_mirrored()
        async with session.get("/readyz") as response:
            assert response.status == 200


async def test_a_replica_asks_its_peer_for_what_it_has_not(store: Store, served: TestServer, tmp_path: Path) -> None:
    digest = await store.pull(version(), FakeRegistry(1))
    peers = ["http://127.0.0.1:1", str(served.make_url("/"))]
    replica = Store(tmp_path / "replica", LIMIT, peers)
    other = TestServer(create_app(replica, Verifier(replica)))
    await other.start_server()
    async with aiohttp.ClientSession(other.make_url("/")) as session:
        async with session.get(f"/v1/manifests/{digest}") as response:
            assert response.status == 200
        for file in store.files(digest):
            async with session.get(f"/v1/files/sha256:{file.sha256}") as response:
                assert response.status == 200
    await other.close()
    assert replica.has(digest)


@pytest.mark.parametrize("lie", [b"x" * 8, b"short", b"longer than it should be"], ids=["same size", "shorter", "longer"])
async def test_a_peer_that_lies_is_not_believed(store: Store, tmp_path: Path, lie: bytes) -> None:
    digest = await store.pull(version(), FakeRegistry(1))
    victim = next(file for file in store.files(digest) if file.path == "model.pkl")
    assert victim.size == 8

    async def lying(request: web.Request) -> web.StreamResponse:
        wanted = request.match_info["digest"].removeprefix("sha256:")
        if request.match_info["kind"] == "manifests":
            return web.FileResponse(store.manifest_path(f"sha256:{wanted}"))
        return web.Response(body=lie) if wanted == victim.sha256 else web.FileResponse(store.file_path(wanted))

    app = web.Application()
    app.router.add_get("/v1/{kind}/{digest}", lying)
    peer = TestServer(app)
    await peer.start_server()
    replica = Store(tmp_path / "replica", LIMIT, [str(peer.make_url("/"))])
    assert not await replica.fetch_from_peers(digest)
    assert not replica.has(digest)
    await peer.close()


async def test_a_copy_from_a_replica_that_takes_long_goes_on_and_nobody_waits_for_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reconcile has two minutes; a large file on a slow line has as long as it takes."""
    digest = await store.pull(version(), FakeRegistry(1))
    asked, going_on = 0, asyncio.Event()

    @web.middleware
    async def slow(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal asked
        asked += request.path.startswith("/v1/manifests")
        await going_on.wait()
        return await handler(request)

    app = create_app(store, Verifier(store))
    app.middlewares.append(slow)
    async with TestServer(app) as peer:
        replica, registry = Store(tmp_path / "replica", LIMIT, [str(peer.make_url("/"))]), FakeRegistry(1)
        resolver = Resolver(registry, replica, pod_settings())
        with monkeypatch.context() as impatient:
            impatient.setattr("controller.store.PATIENCE_SECONDS", 0.01)
            for _ in range(3):
                with pytest.raises(Waiting, match=r"Pulling.*new pods of fraud.*being copied from another replica"):
                    await resolver.have_in_store(model(1, digest=digest), "team")
        going_on.set()
        await resolver.have_in_store(model(1, digest=digest), "team")
    assert replica.has(digest)
    assert (asked, registry.downloads) == (1, 0)


async def test_a_copy_that_failed_while_nobody_waited_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry is asked next."""
    going_on = asyncio.Event()

    async def broken(_: web.Request) -> web.StreamResponse:
        await going_on.wait()
        raise web.HTTPInternalServerError

    app = web.Application()
    app.router.add_get("/{path:.*}", broken)
    async with TestServer(app) as peer:
        replica, registry = Store(tmp_path / "replica", LIMIT, [str(peer.make_url("/"))]), FakeRegistry(1)
        digest = await Store(tmp_path / "other", LIMIT).pull(version(), registry)
        resolver = Resolver(registry, replica, pod_settings())
        monkeypatch.setattr("controller.store.PATIENCE_SECONDS", 0.0)
        with pytest.raises(Waiting, match="Pulling"):
            await resolver.have_in_store(model(1, digest=digest), "team")
        going_on.set()
        await asyncio.gather(*replica._copies.values())
        with pytest.raises(Waiting, match="being copied from the registry"):
            await resolver.have_in_store(model(1, digest=digest), "team")
