"""A store whose disk outlived its pod: what was damaged meanwhile is noticed, dropped, and comes again."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from controller import verifier
from controller.errors import Waiting
from controller.manifest import StoredFile
from controller.mirror import Mirror
from controller.serve_store import create_app
from controller.store import Store
from controller.verifier import Verifier
from tests.unit.controller.fake_cluster import FakeCluster
from tests.unit.controller.fake_registry import FakeRegistry
from tests.unit.controller.test_garbage import serving, version
from tests.unit.controller.world import World, deployed

DAMAGES = [
    pytest.param(lambda path: _flip(path), id="flipped bit"),
    pytest.param(lambda path: os.truncate(path, 3), id="truncated"),
    pytest.param(lambda path: path.write_bytes(b""), id="empty"),
    pytest.param(lambda path: path.unlink(), id="gone"),
]


def _flip(path: Path) -> None:
    """What a disk does: other bytes, and nothing else says so."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


async def pulled(store: Store) -> tuple[str, StoredFile]:
    digest = await store.pull(version(), FakeRegistry(1))
    return digest, next(file for file in store.files(digest) if file.path == "model.pkl")


async def listening(store: Store) -> tuple[TestServer, str]:
    server = TestServer(create_app(store, Verifier(store)))
    await server.start_server()
    return server, str(server.make_url("/"))


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[str]:
    """A replica that has version 1 undamaged."""
    store = Store(tmp_path / "peer", 10**6)
    await pulled(store)
    server, address = await listening(store)
    yield address
    await server.close()


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_file_is_never_served_and_comes_again_from_a_peer(tmp_path: Path, peer: str, damage: object) -> None:
    digest, file = await pulled(Store(tmp_path / "store", 10**6))
    restarted = Store(tmp_path / "store", 10**6, [peer])
    damage(restarted.file_path(file.sha256))  # type: ignore[operator]  # None would fail the test
    server, address = await listening(restarted)
    async with aiohttp.ClientSession(address) as session:
        async with session.get(f"/v1/manifests/{digest}") as response:
            assert response.status == 200
        async with session.get(f"/v1/files/sha256:{file.sha256}") as response:
            assert await response.read() == b"pickle 1"
    await server.close()
    assert restarted.has(digest)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_without_a_peer_it_is_missed_and_the_registry_has_it(tmp_path: Path, damage: object) -> None:
    store = Store(tmp_path / "store", 10**6)
    digest, file = await pulled(store)
    damage(store.file_path(file.sha256))  # type: ignore[operator]  # None would fail the test
    server, address = await listening(store)
    async with aiohttp.ClientSession(address) as session:
        async with session.get(f"/v1/files/sha256:{file.sha256}") as response:
            assert response.status == 404
        async with session.get(f"/v1/manifests/{digest}") as response:
            assert response.status == 404
        cluster = FakeCluster()
        entry = {"name": "fraud", "version": "1", "revision": 1, "image": "i", "cause": "Created", "registry": "main"}
        body = serving(digest)
        body["status"]["history"] = [{**entry, "digest": digest, "deployedAt": "2026-01-01T00:00:00Z"}]
        cluster.put("ModelDeployment", body)
        assert await Mirror(cluster, FakeRegistry(1), store, (), 3600.0).look()
        async with session.get(f"/v1/manifests/{digest}") as response:
            assert response.status == 200
        async with session.get(f"/v1/files/sha256:{file.sha256}") as response:
            assert await response.read() == b"pickle 1"
    await server.close()


async def test_a_damaged_manifest_is_never_served(tmp_path: Path, peer: str) -> None:
    digest, _ = await pulled(Store(tmp_path / "store", 10**6))
    alone, with_peer = Store(tmp_path / "store", 10**6), Store(tmp_path / "store", 10**6, [peer])
    for store, status in ((alone, 404), (with_peer, 200)):
        if store.has(digest):
            _flip(store.manifest_path(digest))
        server, address = await listening(store)
        async with aiohttp.ClientSession(address) as session, session.get(f"/v1/manifests/{digest}") as response:
            assert response.status == status
        await server.close()


async def test_the_background_finds_what_nobody_asks_for(tmp_path: Path, peer: str) -> None:
    digest, file = await pulled(Store(tmp_path / "store", 10**6))
    store = Store(tmp_path / "store", 10**6, [peer])
    _flip(store.file_path(file.sha256))
    await Verifier(store).read_all()
    assert store.has(digest)
    assert store.file_path(file.sha256).read_bytes() == b"pickle 1"


async def test_a_file_is_read_once_and_again_only_when_it_is_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store", 10**6)
    _, file = await pulled(store)
    found = Verifier(store)
    assert all(await asyncio.gather(*(found.intact(file.sha256) for _ in range(20))))
    _flip(store.file_path(file.sha256))
    assert await found.intact(file.sha256), "nobody can see it without reading"
    assert await found.intact(file.sha256, doubted=True), "nor is it read for everybody who says so"
    monkeypatch.setattr(verifier, "AGAIN_SECONDS", 0.0)
    assert not await found.intact(file.sha256, doubted=True)
    assert not store.file_path(file.sha256).exists()


async def test_a_file_that_was_written_to_is_read_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", 10**6)
    _, file = await pulled(store)
    found = Verifier(store)
    assert await found.intact(file.sha256)
    store.file_path(file.sha256).write_bytes(b"pickle 7")
    assert not await found.intact(file.sha256)


async def test_a_reading_goes_on_when_who_asked_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file takes longer to read than a client waits for its first byte: the next attempt finds it done."""
    going_on, readings = asyncio.Event(), []

    async def slow(size: int) -> None:
        readings.append(size)
        await going_on.wait()

    monkeypatch.setattr(verifier, "_at_once", slow)
    store = Store(tmp_path / "store", 10**6)
    _, file = await pulled(store)
    found = Verifier(store)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(found.intact(file.sha256), 0.05)
    going_on.set()
    assert await found.intact(file.sha256)
    assert len(readings) == 1


async def test_a_shared_file_that_is_damaged_takes_every_version_with_it_that_needs_it(tmp_path: Path) -> None:
    store, registry = Store(tmp_path / "store", 10**6), FakeRegistry(1, 2)
    first, second = [await store.pull(version(number), registry) for number in (1, 2)]
    shared = next(file for file in store.files(first) if file.path == "MLmodel")
    _flip(store.file_path(shared.sha256))
    assert not await Verifier(store).intact(shared.sha256)
    assert store.digests() == set()
    assert [await store.pull(version(number), registry) for number in (1, 2)] == [first, second]


@pytest.mark.parametrize("part", ["file", "manifest"])
async def test_what_is_damaged_in_the_store_is_no_fault_of_the_model(tmp_path: Path, part: str) -> None:
    world = await deployed(World(tmp_path / "store"))
    store = Store(tmp_path / "store", 10**6)
    (digest,) = store.digests()
    file = next(file for file in store.files(digest) if file.path == "MLmodel")
    _flip(store.file_path(file.sha256) if part == "file" else store.manifest_path(digest))
    with pytest.raises(Waiting, match="StoreDamaged"):
        store.read(digest, "MLmodel", 10**6)
    assert not store.has(digest)
    world.restart()
    await world.settle()
    assert world.condition("Ready")[0] == "True"
    assert Store(tmp_path / "store", 10**6).has(digest)
