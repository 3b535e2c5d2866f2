"""Who may read which model: by the token, by the namespace, and what happens while the API server is away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from controller import readers
from controller.cluster import ApiError
from controller.origins import Origin
from controller.ports import Object
from controller.readers import FRESH_SECONDS, LIST_SECONDS, STALE_SECONDS, Readers, Refused
from controller.resources.deployment import STORE_AUDIENCE
from controller.serve_store import create_app
from controller.settings import RegistrySettings
from controller.store import Store
from controller.verifier import Verifier
from tests.unit.controller.factories import digest, resource
from tests.unit.controller.fake_cluster import FakeCluster
from tests.unit.controller.fake_registry import FakeRegistry
from tests.unit.controller.test_garbage import version

OWN = "system:serviceaccount:mlserving-system:operator"


class Tokens(FakeCluster):
    """An API server that knows tokens, counts what it is asked, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.users = {
            "of-team": "system:serviceaccount:team:default",
            "of-other": "system:serviceaccount:other:default",
            "of-operator": OWN,
            "of-person": "admin@example.com",
        }
        self.reviews = self.lists = 0
        self.away = False

    async def review_token(self, token: str, audience: str) -> str | None:
        self._reach()
        assert audience == STORE_AUDIENCE
        self.reviews += 1
        await asyncio.sleep(0)
        return self.users.get(token)

    async def each(self, kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[Object]:
        self._reach()
        self.lists += 1
        await asyncio.sleep(0)
        async for body in super().each(kind, namespace, selector):
            yield body

    def names(self, namespace: str, *versions: str) -> None:
        body = resource()
        body["metadata"]["namespace"] = namespace
        body["status"] = {"history": [{"digest": each} for each in versions]}
        self.objects["ModelDeployment", namespace, "fraud"] = body

    def _reach(self) -> None:
        if self.away:
            raise ApiError(503, "ServiceUnavailable", "away")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(readers, "time", found)
    return found


OPEN = RegistrySettings(name="main", uri="http://mlflow:5000")
FRAUD = Origin("main", "fraud")


@pytest.fixture
def cluster() -> Tokens:
    found = Tokens()
    found.names("team", digest(1))
    found.names("other", digest(2))
    return found


@pytest.fixture
async def store(tmp_path: Path) -> Store:
    """A store that knows where some versions come from; whether it has them is not the readers' business."""
    found = Store(tmp_path / "known", 10**6)
    for number in (1, 2, 3, 7):
        await found.add_origins(digest(number), {FRAUD})
    return found


@pytest.fixture
def everywhere(cluster: Tokens, store: Store) -> Readers:
    return Readers(cluster, store, [OPEN], OWN, ())


async def refusal(found: Readers, authorization: str, wanted: str | None = None) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        await found.admit(authorization, wanted)
    return refused.value.status, refused.value.sentence


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic b2YtdGVhbQ=="])
async def test_without_a_token_the_answer_says_what_to_send(cluster: Tokens, everywhere: Readers, authorization: str) -> None:
    status, sentence = await refusal(everywhere, authorization, digest(1))
    assert status == 401
    assert STORE_AUDIENCE in sentence
    assert cluster.reviews == 0


async def test_a_token_that_nobody_knows_is_refused(cluster: Tokens, everywhere: Readers) -> None:
    assert (await refusal(everywhere, "Bearer forged", digest(1)))[0] == 401


async def test_a_namespace_reads_what_it_names_and_nothing_else(cluster: Tokens, everywhere: Readers) -> None:
    await everywhere.admit("Bearer of-team", digest(1))
    await everywhere.admit("Bearer of-other", digest(2))
    assert await refusal(everywhere, "Bearer of-team", digest(2)) == (
        403,
        f"no ModelDeployment in namespace team names {digest(2)}",
    )


async def test_a_person_is_no_pod_and_the_operator_reads_all(cluster: Tokens, everywhere: Readers) -> None:
    assert (await refusal(everywhere, "Bearer of-person", digest(1)))[0] == 403
    await everywhere.admit("Bearer of-operator", digest(1))
    await everywhere.admit("Bearer of-operator", digest(2))
    assert cluster.lists == 0


async def test_a_namespace_that_is_not_served_is_refused_without_being_read(cluster: Tokens, store: Store) -> None:
    readers = Readers(cluster, store, [OPEN], OWN, ("team",))
    await readers.admit("Bearer of-team", digest(1))
    assert (await refusal(readers, "Bearer of-other", digest(2)))[0] == 403
    assert cluster.lists == 1


async def test_a_file_needs_a_token_and_its_hash(cluster: Tokens, everywhere: Readers) -> None:
    await everywhere.admit("Bearer of-team")
    assert (await refusal(everywhere, "Bearer forged"))[0] == 401


async def test_a_token_is_reviewed_once_a_minute_and_a_namespace_listed_once_for_many(
    cluster: Tokens, everywhere: Readers, clock: Clock
) -> None:
    await asyncio.gather(*(everywhere.admit("Bearer of-team", digest(1)) for _ in range(50)))
    assert cluster.lists == 1
    before = cluster.reviews
    await everywhere.admit("Bearer of-team", digest(1))
    assert cluster.reviews == before
    clock.now += FRESH_SECONDS + 1
    await everywhere.admit("Bearer of-team", digest(1))
    assert (cluster.reviews, cluster.lists) == (before + 1, 2)


async def test_a_version_that_was_named_a_moment_ago_is_found(cluster: Tokens, everywhere: Readers, clock: Clock) -> None:
    await everywhere.admit("Bearer of-team", digest(1))
    cluster.names("team", digest(1), digest(3))
    for _ in range(5):
        await refusal(everywhere, "Bearer of-team", digest(3))
    assert cluster.lists == 1, "who asks for what is not named costs no list each time"
    clock.now += LIST_SECONDS + 0.1
    await everywhere.admit("Bearer of-team", digest(3))


async def test_who_loses_the_name_loses_the_right(cluster: Tokens, everywhere: Readers, clock: Clock) -> None:
    await everywhere.admit("Bearer of-team", digest(1))
    cluster.objects.clear()
    clock.now += FRESH_SECONDS + 1
    assert (await refusal(everywhere, "Bearer of-team", digest(1)))[0] == 403


async def test_while_the_api_server_is_away_who_is_known_goes_on_and_nobody_else_comes_in(
    cluster: Tokens, everywhere: Readers, clock: Clock
) -> None:
    await everywhere.admit("Bearer of-team", digest(1))
    await refusal(everywhere, "Bearer forged", digest(1))
    cluster.away = True
    clock.now += FRESH_SECONDS + 1
    await everywhere.admit("Bearer of-team", digest(1))
    assert (await refusal(everywhere, "Bearer of-other", digest(2)))[0] == 503
    assert (await refusal(everywhere, "Bearer forged", digest(1)))[0] == 503
    assert (await refusal(everywhere, "Bearer of-team", digest(7)))[0] == 503
    clock.now += STALE_SECONDS
    assert (await refusal(everywhere, "Bearer of-team", digest(1)))[0] == 503, "no longer than a token lives"


async def test_many_forged_tokens_cost_no_memory(cluster: Tokens, everywhere: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_KNOWN", 10)
    for number in range(50):
        await refusal(everywhere, f"Bearer forged{number}")
    assert len(everywhere._reviewed) <= 10


async def test_pods_and_replicas_get_in_through_http_with_their_tokens_alone(tmp_path: Path) -> None:
    cluster, store = Tokens(), Store(tmp_path / "store", 10**6)
    wanted = await store.pull(version(), FakeRegistry(1))
    cluster.names("team", wanted)
    server = TestServer(create_app(store, Verifier(store), Readers(cluster, store, [OPEN], OWN, ())))
    await server.start_server()
    address = str(server.make_url("/"))
    file = store.files(wanted)[0]
    async with aiohttp.ClientSession(address) as session:
        for path in (f"/v1/manifests/{wanted}", f"/v1/files/sha256:{file.sha256}"):
            for token, status in (("", 401), ("forged", 401), ("of-person", 403), ("of-team", 200), ("of-operator", 200)):
                async with session.get(path, headers={"Authorization": f"Bearer {token}"}) as response:
                    assert response.status == status, (path, token)
        async with session.get(f"/v1/manifests/{wanted}", headers={"Authorization": "Bearer of-other"}) as response:
            assert response.status == 403
            assert (await response.text()).startswith("no ModelDeployment in namespace other names sha256:")
        async with session.get("/healthz") as response:
            assert response.status == 200, "the kubelet has no token"
    shown = tmp_path / "token"
    shown.write_text("forged\n")
    replica = Store(tmp_path / "replica", 10**6, [address], token_file=shown)
    assert not await replica.fetch_from_peers(wanted)
    shown.write_text("of-operator\n")  # it rotated
    assert await replica.fetch_from_peers(wanted)
    await server.close()
