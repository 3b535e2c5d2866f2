"""What nothing names goes, and nothing else does: not what is pulled now, not what could not be ruled out, whatever is killed."""

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from controller import directory, disk, metrics
from controller.cluster import ApiError
from controller.errors import Waiting
from controller.mirror import MERCY_SECONDS, Mirror
from controller.ports import Object
from controller.registry import ModelVersion, RemoteFile
from controller.serve_store import create_app
from controller.store import Store
from controller.verifier import Verifier
from tests.unit.controller.factories import resource
from tests.unit.controller.fake_cluster import FakeCluster
from tests.unit.controller.fake_registry import FakeRegistry
from tests.unit.controller.world import World, deployed

HOUR = 3600.0


def version(number: int = 1) -> ModelVersion:
    return ModelVersion(registry="main", name="fraud", version=str(number), run_id="r", model_id="m", created="1")


def age(store: Store, seconds: float) -> None:
    """Make everything in the store as old as that."""
    then = time.time() - seconds
    for part in ("files", "manifests", "versions", "origins"):
        for entry in os.scandir(store._directory / part):
            os.utime(entry.path, (then, then))


def serving(digest: str, name: str = "fraud", namespace: str = "team", **status: Any) -> Object:
    """A ModelDeployment whose history names a version, as a status that nobody but its writer understands."""
    body = resource(name)
    body["metadata"]["namespace"] = namespace
    body["status"] = {"history": [{"digest": digest}], **status}
    return body


class Around:
    """A store, with a cluster, a registry and a mirror around it."""

    def __init__(self, path: Path, max_bytes: int = 10**9, namespaces: tuple[str, ...] = ()) -> None:
        self.cluster, self.registry = FakeCluster(), FakeRegistry(1, 2, 3)
        self.store = Store(path, 10**6, max_bytes=max_bytes)
        self.mirror = Mirror(self.cluster, self.registry, self.store, namespaces, HOUR)

    async def pull(self, number: int) -> str:
        return await self.store.pull(version(number), self.registry)

    def names(self) -> set[str]:
        return {entry.name for entry in os.scandir(self.store._directory / "files")}


@pytest.fixture
def around(tmp_path: Path) -> Around:
    return Around(tmp_path / "store")


async def test_what_nothing_names_goes_after_its_time_and_shared_files_stay(around: Around) -> None:
    first, second = [await around.pull(number) for number in (1, 2)]
    around.cluster.put("ModelDeployment", serving(second))
    shared = {file.sha256 for file in around.store.files(first)} & {file.sha256 for file in around.store.files(second)}
    assert len(shared) == 2
    age(around.store, 2 * HOUR)
    await around.mirror.look()
    assert around.store.digests() == {second}
    assert around.names() == {file.sha256 for file in around.store.files(second)}
    assert around.store.remembered(version(1).identity) is None
    assert len(list((around.store._directory / "versions").iterdir())) == 1
    assert metrics.store_versions._value.get() == 1
    assert metrics.store_bytes._value.get() == around.store.measure()


@pytest.mark.parametrize("place", ["serving", "target", "hold", "history", "quarantined"])
async def test_every_place_of_a_status_keeps_what_it_names(around: Around, place: str) -> None:
    digest = await around.pull(1)
    value: Any = {"digest": digest, "version": "1"}
    body = resource()
    body["status"] = {place: [value] if place in ("history", "quarantined") else value}
    around.cluster.put("ModelDeployment", body)
    age(around.store, 2 * HOUR)
    await around.mirror.look()
    assert around.store.has(digest)


async def test_what_was_used_within_its_time_stays(around: Around) -> None:
    digest = await around.pull(1)
    await around.mirror.look()
    assert around.store.has(digest), "pulled just now"
    around.mirror._collected = float("-inf")
    age(around.store, 2 * HOUR)
    assert await around.pull(1) == digest
    await around.mirror.look()
    assert around.store.has(digest), "wanted again just now"


async def test_what_a_pod_fetches_stays(around: Around) -> None:
    digest = await around.pull(1)
    age(around.store, 2 * HOUR)
    server = TestServer(create_app(around.store, Verifier(around.store)))
    await server.start_server()
    async with aiohttp.ClientSession(server.make_url("/")) as session:
        async with session.get(f"/v1/manifests/{digest}") as response:
            assert response.status == 200
        await around.mirror.look()
        for file in around.store.files(digest):
            async with session.get(f"/v1/files/sha256:{file.sha256}") as response:
                assert response.status == 200
    await server.close()


async def test_the_time_begins_when_the_last_name_is_gone(around: Around) -> None:
    digest = await around.pull(1)
    around.cluster.put("ModelDeployment", serving(digest))
    age(around.store, 2 * HOUR)
    await around.mirror.look()
    around.cluster.objects.clear()
    around.mirror._collected = float("-inf")
    await around.mirror.look()
    assert around.store.has(digest)


@pytest.mark.parametrize("seconds", [HOUR, 0.0])
async def test_what_only_a_replica_set_names_stays(tmp_path: Path, seconds: float) -> None:
    world = await deployed(World(tmp_path / "world"))
    store = Store(tmp_path / "world", 10**6)
    (digest,) = store.digests()
    del world.cluster.objects["ModelDeployment", "team", "fraud"]["status"]
    age(store, 2 * HOUR)
    await Mirror(world.cluster, world.registry, store, (), seconds).look()
    assert store.has(digest)


@pytest.mark.parametrize("kind", ["ModelDeployment", "ReplicaSet"])
async def test_nothing_goes_after_a_list_that_broke_off(around: Around, kind: str) -> None:
    digests = {await around.pull(number) for number in (1, 2)}

    class Broken(FakeCluster):
        async def each(self, its_kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[Object]:
            async for body in super().each(its_kind, namespace, selector):
                yield body
            if (its_kind, namespace) == (kind, "b"):
                raise ApiError(410, "Expired", "the continue token is too old")

    cluster = Broken()
    cluster.put("ModelDeployment", serving(next(iter(digests)), namespace="a"))
    age(around.store, 2 * HOUR)
    mirror = Mirror(cluster, around.registry, around.store, ("a", "b"), HOUR)
    with pytest.raises(ApiError):
        await mirror.look()
    assert around.store.digests() == digests
    await mirror.make_room()
    assert around.store.digests() == digests


async def test_every_watched_namespace_counts(tmp_path: Path) -> None:
    around = Around(tmp_path / "store", namespaces=("a", "b"))
    first, second, third = [await around.pull(number) for number in (1, 2, 3)]
    for namespace, digest in (("a", first), ("b", second), ("c", third)):
        around.cluster.put("ModelDeployment", serving(digest, namespace=namespace))
    age(around.store, 2 * HOUR)
    await around.mirror.look()
    assert around.store.digests() == {first, second}


class OneForbidden(FakeCluster):
    """The Role in some of the namespaces is gone."""

    forbidden = frozenset({"b"})

    async def each(self, kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[Object]:
        if namespace in self.forbidden:
            raise ApiError(403, "Forbidden", f"modeldeployments is forbidden in the namespace {namespace!r}")
        async for body in super().each(kind, namespace, selector):
            yield body


async def test_a_namespace_that_may_not_be_read_keeps_the_others_from_nothing_and_everything_from_being_dropped(
    around: Around, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = OneForbidden()
    named, unnamed = [await around.pull(number) for number in (1, 2)]
    body = serving(named, namespace="a")
    entry = {"revision": 1, "name": "fraud", "version": "1", "digest": named, "deployedAt": "2026-01-02T03:04:05Z"}
    body["status"] = {"history": [{**entry, "runID": "r", "cause": "Created", "image": "server:1"}]}
    cluster.put("ModelDeployment", body)
    around.store.drop({named}, 0)
    assert not around.store.has(named)
    age(around.store, 2 * HOUR)
    mirror = Mirror(cluster, around.registry, around.store, ("b", "a"), HOUR)
    for _ in range(2):
        assert await mirror.look(), "all that could be brought is here"
        await mirror.make_room()
    assert around.store.mirrored
    assert around.store.digests() == {named, unnamed}
    (told,) = [record for record in caplog.records if record.message == "NamespaceForbidden"]
    assert told.__dict__["namespace"] == "b"
    assert "watchNamespaces" in told.__dict__["hint"]
    cluster.forbidden = frozenset()
    assert await mirror.look()
    assert around.store.digests() == {named}, "and once it may be read, what nothing names goes"


async def test_a_store_is_not_ready_before_any_namespace_could_be_read(around: Around) -> None:
    cluster = OneForbidden()
    assert not await Mirror(cluster, around.registry, around.store, ("b",), HOUR).look()
    assert not around.store.mirrored


async def test_garbage_never_goes_from_under_a_pull(around: Around) -> None:
    collected, going_on = asyncio.Event(), asyncio.Event()

    class Slow(FakeRegistry):
        async def download(self, version: ModelVersion, path: str) -> AsyncIterator[bytes]:
            yield self.versions[version.version][path]
            if path == "input_example.json":
                going_on.set()
                await collected.wait()

    pull = asyncio.create_task(around.store.pull(version(1), Slow(1)))
    await going_on.wait()
    await around.mirror.look()
    await around.mirror.make_room()
    collected.set()
    assert around.store.has(await pull)


async def test_a_pull_whose_files_went_is_made_again_and_never_half_visible(around: Around) -> None:
    class Swept(FakeRegistry):
        async def download(self, version: ModelVersion, path: str) -> AsyncIterator[bytes]:
            yield self.versions[version.version][path]
            if path == "input_example.json":
                age(around.store, 2 * HOUR)
                around.store.drop((), HOUR)

    with pytest.raises(Waiting, match="DownloadIncomplete"):
        await around.store.pull(version(1), Swept(1))
    assert around.store.digests() == set()
    assert around.store.has(await around.pull(1))


async def test_a_file_that_came_early_does_not_get_old_while_the_others_come(
    around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a full store, which is least patient, and also where another process collects the garbage."""
    monkeypatch.setattr(directory, "TOUCH_SECONDS", 0.0)
    elsewhere = Around(around.store._directory)

    class Slow(FakeRegistry):
        async def download(self, version: ModelVersion, path: str) -> AsyncIterator[bytes]:
            content = self.versions[version.version][path]
            if path == "input_example.json":
                age(around.store, MERCY_SECONDS + 1)
                yield content[:1]
                await elsewhere.mirror.make_room()
                yield content[1:]
            else:
                yield content

    assert around.store.has(await around.store.pull(version(1), Slow(1)))


async def test_a_process_that_dies_between_manifest_and_files_leaves_garbage_and_no_half_version(
    around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [await around.pull(number) for number in (1, 2)]
    around.cluster.put("ModelDeployment", serving(second))
    age(around.store, 2 * HOUR)
    unlink = Path.unlink

    def dies(self: Path, missing_ok: bool = False) -> None:
        if self.parent.name == "files":
            raise KeyboardInterrupt
        unlink(self, missing_ok)

    with monkeypatch.context() as dying:
        dying.setattr(Path, "unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            around.store.drop({first}, HOUR)
    assert around.store.digests() == {second}
    assert len(around.names()) == 4
    await around.mirror.look()
    assert around.names() == {file.sha256 for file in around.store.files(second)}


async def test_a_damaged_manifest_is_dropped_like_any_other(around: Around) -> None:
    digest = await around.pull(1)
    around.store.manifest_path(digest).write_bytes(b'{"files":[{')
    age(around.store, 2 * HOUR)
    await around.mirror.look()
    assert around.store.digests() == set() == around.names()


# --- a store that is full -------------------------------------------------------------------------------------------------


async def a_store_for(path: Path, versions: float) -> Around:
    """A store with room for so many versions."""
    size = (await measured(path / "measure")).store.measure()
    return Around(path / "store", max_bytes=int(size * versions))


async def measured(path: Path) -> Around:
    around = Around(path)
    await around.pull(1)
    return around


async def test_a_full_store_takes_no_version_and_says_how_much_is_missing(tmp_path: Path) -> None:
    around = await a_store_for(tmp_path, 1.2)
    digest = await around.pull(1)
    around.cluster.put("ModelDeployment", serving(digest))
    age(around.store, 2 * HOUR)
    before = around.registry.downloads
    with pytest.raises(Waiting) as refused:
        await around.pull(2)
    assert refused.value.reason == "StoreFull"
    assert refused.value.message.startswith("263 bytes more do not fit into the operator's store, which has 691 bytes of")
    assert "store.sizeLimit" in refused.value.message
    assert around.registry.downloads == before, "refused before anything is downloaded"
    assert around.store.digests() == {digest}
    assert around.store.measure() <= around.store._max_bytes


async def test_a_full_store_first_drops_what_nothing_names_before_its_time(tmp_path: Path) -> None:
    around = await a_store_for(tmp_path, 1.2)
    first = await around.pull(1)
    age(around.store, 600)
    second = await around.pull(2)
    assert around.store.digests() == {second} != {first}


async def test_a_full_store_does_not_drop_what_was_pulled_a_moment_ago(tmp_path: Path) -> None:
    around = await a_store_for(tmp_path, 1.2)
    first = await around.pull(1)
    with pytest.raises(Waiting, match="StoreFull"):
        await around.pull(2)
    assert around.store.digests() == {first}


async def test_two_processes_share_one_limit(tmp_path: Path) -> None:
    around = Around(tmp_path)
    stores = [Store(tmp_path, 10**6, max_bytes=1000) for _ in range(2)]
    most = 0

    async def kept(store: Store, kind: bytes) -> int:
        async def chunks() -> AsyncIterator[bytes]:
            nonlocal most
            for _ in range(90):
                most = max(most, around.store.measure())
                yield kind * 10

        try:
            return (await store.keep(chunks(), 10**6))[1]
        except Waiting as refused:
            assert refused.reason == "StoreFull"
            return 0

    assert await kept(stores[0], b"a") == 900
    assert await kept(stores[1], b"b") == 0, "it never asked what the other one has"
    for path in stores[0].file_paths():
        path.unlink()
    await asyncio.gather(*(kept(store, kind) for store, kind in zip(stores, (b"a", b"b"), strict=True)))
    assert 900 <= most <= 1000 + 2 * (1000 // 64), "they see each other's downloads grow"


async def test_what_was_refused_leaves_room_for_what_fits(tmp_path: Path) -> None:
    store = Store(tmp_path, 10**6, max_bytes=1000)

    async def chunks(*sizes: int) -> AsyncIterator[bytes]:
        for size in sizes:
            yield b"x" * size

    with pytest.raises(Waiting, match="StoreFull: 900 bytes more do not fit"):
        await store.keep(chunks(600, 900), 10**6)
    with pytest.raises(Waiting, match="which has 600 bytes of"):
        await store.keep(chunks(600, 900), 10**6)
    assert (await store.keep(chunks(1000), 10**6))[1] == 1000


async def test_a_start_removes_what_a_process_left_behind_and_nothing_that_another_one_downloads(tmp_path: Path) -> None:
    store, unfinished = Store(tmp_path, 10**6), tmp_path / "tmp"
    (unfinished / "left-over").write_bytes(b"half")

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        Store(tmp_path, 10**6).forget_unfinished()  # the other container starts anew
        yield b"second"

    sha256, size = await store.keep(chunks(), 10**6)
    assert store.file_path(sha256).stat().st_size == size == len(b"firstsecond")
    assert list(unfinished.iterdir()) == []


async def test_a_size_that_the_registry_does_not_say_cannot_fill_the_store(tmp_path: Path) -> None:
    class Unsized(FakeRegistry):
        async def files(self, version: ModelVersion) -> list[RemoteFile]:
            return [RemoteFile(file.path, 0) for file in await super().files(version)]

    store = Store(tmp_path, 10**6, max_bytes=200)
    with pytest.raises(Waiting, match="StoreFull"):
        await store.pull(version(), Unsized(1))
    assert store.digests() == set()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert store.measure() <= 200


@pytest.mark.parametrize("number", disk.NO_ROOM)
async def test_a_full_disk_is_a_full_store_and_leaves_no_half_file(
    around: Around, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as faulty:
        faulty.setattr(directory, "write_all", full)
        with pytest.raises(Waiting, match="StoreFull: the disk of the operator's store is full"):
            await around.pull(1)
    assert list((around.store._directory / "tmp").iterdir()) == []
    assert around.names() == set() == around.store.digests()
    assert around.store.has(await around.pull(1)), "and when there is room, it goes on"


async def test_another_fault_of_the_disk_is_not_called_full(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(directory, "write_all", broken)
    with pytest.raises(OSError, match="Input/output"):
        await around.pull(1)
