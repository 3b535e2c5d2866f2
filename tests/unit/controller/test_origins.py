"""A digest is no secret, and whoever may edit a Deployment can have a status name it: that alone opens no model."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import BaseTestServer, TestServer

from controller.api import DISABLED, RECONCILE_ANNOTATION, ModelReference
from controller.errors import Stalling
from controller.mirror import Mirror
from controller.origins import Origin, open_to, parse, written
from controller.ports import Object
from controller.readers import Readers
from controller.registry import ModelVersion
from controller.registry_refusals import forbidden
from controller.resolution import Resolver
from controller.resources.rollouts import MODEL_DIGEST, MODEL_NAME, MODEL_REGISTRY
from controller.serve_store import create_app
from controller.settings import RegistrySettings
from controller.store import Store
from controller.verifier import Verifier
from tests.unit.controller.factories import model, pod_settings
from tests.unit.controller.fake_cluster import FakeCluster
from tests.unit.controller.fake_registry import FakeRegistry, model_files
from tests.unit.controller.test_garbage import HOUR, age, serving, version
from tests.unit.controller.test_readers import FRAUD, OPEN, OWN
from tests.unit.controller.world import KEY, World, deployed

# Of everybody's registry the team may have everything; of the other one only its owner.
CLOSED = RegistrySettings(name="closed", uri="http://closed:5000", allowed_namespaces=("owner",), allowed_models=("secret",))
REGISTRIES = (OPEN, CLOSED)
SECRET = ModelVersion(registry="closed", name="secret", version="7", run_id="r", model_id="m", created="1")


class Guarded(FakeRegistry):
    """A registry with the administrator's rules."""

    def __init__(self) -> None:
        super().__init__(1, 2, 3)
        self.versions["7"] = model_files(7)

    def permit(self, reference: ModelReference, namespace: str) -> None:
        settings = next(each for each in REGISTRIES if each.name == self.name_of(reference))
        if (refused := forbidden(settings, namespace, reference.name)) is not None:
            raise refused


class WithTokens:
    """The API server of a world, where every namespace has a pod whose token is the namespace's name."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    async def review_token(self, token: str, audience: str) -> str | None:
        return OWN if token == "operator" else f"system:serviceaccount:{token}:default"

    def each(self, kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[Object]:
        return self._cluster.each(kind, namespace, selector)


def listening(store: Store, cluster: FakeCluster) -> TestServer:
    return TestServer(create_app(store, Verifier(store), Readers(WithTokens(cluster), store, REGISTRIES, OWN, ())))


async def answer(server: BaseTestServer, token: str, path: str) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(server.make_url("/")) as session, session.get(path, headers=headers) as response:
        return response.status, await response.text()


def historic(digest: str, namespace: str = "team", name: str = "fraud", number: str = "1", registry: str = "main") -> Object:
    """A ModelDeployment whose history says that it served this version."""
    entry = {"name": name, "version": number, "registry": registry, "digest": digest}
    told = {"revision": 1, "image": "i", "cause": "Created", "deployedAt": "2026-01-01T00:00:00Z"}
    body = serving(digest, namespace=namespace)
    body["status"]["history"] = [{**entry, **told}]
    return body


def replica(path: Path, peer: BaseTestServer) -> Store:
    token = path.with_suffix(".token")
    token.write_text("operator")
    return Store(path, 10**6, [str(peer.make_url("/"))], token_file=token)


@pytest.mark.parametrize("forged", [{}, {MODEL_NAME: "secret", MODEL_REGISTRY: "closed"}], ids=["digest", "name and digest"])
async def test_a_digest_in_a_templates_annotations_opens_no_model(world: World, forged: dict[str, str]) -> None:
    world.registry = Guarded()
    world.restart()
    await deployed(world)
    own = world.status.serving
    assert own is not None
    store = Store(world.directory, 10**6)
    stolen = await store.pull(SECRET, world.registry)

    world.cluster.annotate("ModelDeployment", "fraud", **{RECONCILE_ANNOTATION: DISABLED})
    world.deployment["spec"]["template"]["metadata"]["annotations"] |= {MODEL_DIGEST: stolen, **forged}
    world.cluster.roll()
    await world.reconciler.reconcile(KEY)
    assert world.status.serving is not None
    assert world.status.serving.digest == stolen, "the status says what the template says"

    async with listening(store, world.cluster) as server:
        status, sentence = await answer(server, "team", f"/v1/manifests/{stolen}")
        assert status == 403
        assert sentence.startswith(f"{stolen} comes from no registry that is open to namespace team")
        assert "secret" not in sentence
        assert (await answer(server, "team", f"/v1/origins/{stolen}"))[0] == 403
        assert (await answer(server, "team", f"/v1/manifests/{own.digest}"))[0] == 200


async def test_whose_it_is_reads_it(world: World) -> None:
    store = Store(world.directory, 10**6)
    digest = await store.pull(SECRET, Guarded())
    world.cluster.put("ModelDeployment", serving(digest, namespace="owner"))
    async with listening(store, world.cluster) as server:
        assert (await answer(server, "owner", f"/v1/manifests/{digest}"))[0] == 200


@pytest.mark.parametrize(
    ("named", "reason"),
    [({"name": "fraud", "registry": "main"}, "ArtifactLost"), ({"name": "secret", "registry": "closed"}, "RegistryForbidden")],
)
async def test_no_template_is_written_with_a_digest_that_is_not_of_its_model(
    tmp_path: Path, named: dict[str, str], reason: str
) -> None:
    store, registry = Store(tmp_path, 10**6), Guarded()
    stolen = await store.pull(SECRET, registry)
    with pytest.raises(Stalling, match=reason):
        await Resolver(registry, store, pod_settings()).have_in_store(model(1, digest=stolen, **named), "team")


async def test_the_mirror_asks_no_registry_for_what_a_namespace_may_not_have(tmp_path: Path) -> None:
    there = Store(tmp_path / "there", 10**6)
    digest = await there.pull(SECRET, Guarded())
    cluster, registry, store = FakeCluster(), Guarded(), Store(tmp_path / "store", 10**6)
    cluster.put("ModelDeployment", historic(digest, name="secret", number="7", registry="closed"))
    await Mirror(cluster, registry, store, (), HOUR).look()
    assert registry.downloads == 0
    cluster.put("ModelDeployment", historic(digest, "owner", name="secret", number="7", registry="closed"))
    await Mirror(cluster, registry, store, (), HOUR).look()
    assert store.has(digest), "and for who may, it does"


async def test_where_files_come_from_travels_with_them_and_after_them(tmp_path: Path) -> None:
    cluster, registry = FakeCluster(), Guarded()
    first = Store(tmp_path / "first", 10**6)
    twin = ModelVersion(registry="closed", name="secret", version="1", run_id="r", model_id="m", created="1")
    digest = await first.pull(twin, registry)
    cluster.put("ModelDeployment", serving(digest, namespace="team"))
    async with listening(first, cluster) as serving_first:
        second = replica(tmp_path / "second", serving_first)
        assert await second.fetch_from_peers(digest)
        assert second.origins(digest) == first.origins(digest) == {twin.origin}
        async with listening(second, cluster) as serving_second:
            assert (await answer(serving_second, "team", f"/v1/manifests/{digest}"))[0] == 403
            assert await first.pull(version(), registry) == digest, "the same files in a registry that is open to all"
            assert (await answer(serving_second, "team", f"/v1/manifests/{digest}"))[0] == 200


@pytest.mark.parametrize("pulled_here", [True, False])
async def test_a_store_that_never_knew_where_its_files_come_from_learns_it(tmp_path: Path, pulled_here: bool) -> None:
    store, cluster, registry = Store(tmp_path, 10**6), FakeCluster(), Guarded()
    digest = await store.pull(version(), registry)
    for part in ("origins", *([] if pulled_here else ["versions"])):
        for entry in (tmp_path / part).iterdir():
            entry.unlink()
    cluster.put("ModelDeployment", historic(digest))
    async with listening(store, cluster) as server:
        assert (await answer(server, "team", f"/v1/manifests/{digest}"))[0] == 403
        await Mirror(cluster, registry, store, (), HOUR).look()
        assert (await answer(server, "team", f"/v1/manifests/{digest}"))[0] == 200


async def test_where_it_came_from_does_not_get_old_over_a_long_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Store(tmp_path / "first", 10**6)
    digest = await first.pull(version(), Guarded())
    async with listening(first, FakeCluster()) as peer:
        second = replica(tmp_path / "second", peer)
        received = second.keep

        async def slow(*args: Any) -> tuple[str, int]:
            found = await received(*args)
            age(second, 2 * HOUR)
            second.touch([path.name for path in second.file_paths()])
            second.drop((), HOUR)
            return found

        monkeypatch.setattr(second, "keep", slow)
        assert await second.obtain(digest, FRAUD)


async def test_where_it_came_from_goes_with_the_version(tmp_path: Path) -> None:
    store = Store(tmp_path, 10**6)
    digest = await store.pull(version(), Guarded())
    age(store, 2 * HOUR)
    store.drop({digest}, HOUR)
    assert list((tmp_path / "origins").iterdir()) == []


def test_a_registry_that_is_declared_no_more_opens_nothing() -> None:
    assert open_to("team", {FRAUD}, [OPEN])
    assert open_to("team", {Origin("closed", "secret"), FRAUD}, REGISTRIES), "one origin is enough"
    assert not open_to("team", {FRAUD}, [CLOSED])
    assert not open_to("team", (), REGISTRIES)
    assert not open_to("owner", {Origin("closed", "other")}, REGISTRIES)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'[["main"]]', b"null", b"\xff"])
def test_damaged_origins_are_none(content: bytes) -> None:
    assert parse(content) == frozenset()


def test_origins_survive_being_written() -> None:
    found = frozenset({Origin("main", "ünï\n"), FRAUD})
    assert parse(written(found)) == found
