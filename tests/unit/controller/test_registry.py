"""MLflow's answers, good and bad, over real HTTP. `tests/contract` asks a real MLflow the same."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controller import __main__ as main
from controller import registry_files
from controller.api import ModelReference
from controller.errors import ReconcileError, Stalling, Waiting
from controller.registry import ModelVersion, Registry
from controller.settings import RegistrySettings

CHAMPION = ModelReference(name="fraud", alias="champion")
VERSION = {"name": "fraud", "version": "3", "run_id": "r", "model_id": "m-1", "creation_timestamp": 7, "status": "READY"}
PLAIN = ModelVersion(registry="main", name="fraud", version="3", run_id="", model_id="", created="")

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MlflowDouble:
    """A server whose answers a test sets by path; it counts what it is asked."""

    def __init__(self) -> None:
        self.answers: dict[str, web.Response | Answer] = {}
        self.asked: list[str] = []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self.server = TestServer(app)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        for path, answer in self.answers.items():
            if path in request.path_qs:
                if isinstance(answer, web.Response):
                    return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)
                return await answer(request)
        return web.Response(status=404, text="no such path")

    def registry(self, poll_seconds: float = 30, **settings: Any) -> Registry:
        declared = RegistrySettings(name="main", uri=f"{self.server.make_url('/')}", **settings)
        return Registry([declared], poll_seconds, Path("/nowhere"))


@pytest.fixture
async def mlflow() -> AsyncIterator[MlflowDouble]:
    double = MlflowDouble()
    await double.server.start_server()
    yield double
    await double.server.close()


async def refused(registry: Registry, reference: ModelReference = CHAMPION) -> ReconcileError:
    try:
        with pytest.raises(ReconcileError) as error:
            await registry.resolve(reference)
        return error.value
    finally:
        await registry.close()


async def test_a_proxy_of_the_environment_is_asked_but_for_what_it_excepts(
    mlflow: MlflowDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.answers["registered-models/alias"] = web.json_response({"model_version": VERSION})
    monkeypatch.setenv("http_proxy", str(mlflow.server.make_url("/")))
    monkeypatch.setenv("no_proxy", ".svc,127.0.0.1")
    outside, inside = (RegistrySettings(name="main", uri=f"http://{host}") for host in ("mlflow.example", "127.0.0.1:1"))
    registry = Registry([outside], 30, Path("/nowhere"))
    assert (await registry.resolve(CHAMPION)).version == "3"
    await registry.close()
    assert (await refused(Registry([inside], 30, Path("/nowhere")))).reason == "RegistryUnavailable"


async def test_an_alias_is_resolved_to_a_version(mlflow: MlflowDouble) -> None:
    mlflow.answers["registered-models/alias?name=fraud&alias=champion"] = web.json_response({"model_version": VERSION})
    registry = mlflow.registry()
    found = await registry.resolve(CHAMPION)
    await registry.close()
    assert found == ModelVersion(registry="main", name="fraud", version="3", run_id="r", model_id="m-1", created="7")


async def test_the_logged_model_is_known_by_the_source(mlflow: MlflowDouble) -> None:
    """MLflow 3 has no other word for it in a version."""
    said = {key: value for key, value in VERSION.items() if key != "model_id"}
    mlflow.answers["registered-models/alias"] = web.json_response({"model_version": {**said, "source": "models:/m-9"}})
    registry = mlflow.registry()
    assert (await registry.resolve(CHAMPION)).model_id == "m-9"
    await registry.close()


async def test_followers_of_one_alias_cost_one_request(mlflow: MlflowDouble) -> None:
    mlflow.answers["registered-models/alias"] = web.json_response({"model_version": VERSION})
    registry = mlflow.registry()
    for _ in range(10):
        await registry.resolve(CHAMPION)
    await registry.close()
    assert len(mlflow.asked) == 1


async def test_a_registry_that_hangs_is_not_asked_again_by_each_of_its_followers(mlflow: MlflowDouble) -> None:
    mlflow.answers["registered-models/alias"] = web.Response(status=500)
    registry = mlflow.registry()
    for _ in range(10):
        with pytest.raises(Waiting):
            await registry.resolve(CHAMPION)
    await registry.close()
    assert len(mlflow.asked) == 1


async def test_a_poll_tells_what_has_moved_once(mlflow: MlflowDouble) -> None:
    mlflow.answers["registered-models/alias"] = web.json_response({"model_version": VERSION})
    registry = mlflow.registry()
    await registry.poll("main", [CHAMPION])
    assert await registry.poll("main", [CHAMPION]) == set()
    mlflow.answers["registered-models/alias"] = web.json_response({"model_version": {**VERSION, "version": "4"}})
    assert await registry.poll("main", [CHAMPION]) == {CHAMPION}
    assert await registry.poll("main", [CHAMPION]) == set()
    assert (await registry.resolve(CHAMPION)).version == "4"
    await registry.close()


async def test_a_poll_tells_of_a_move_that_one_follower_saw_already(mlflow: MlflowDouble) -> None:
    mlflow.answers["registered-models/alias"] = web.json_response({"model_version": VERSION})
    registry = mlflow.registry(poll_seconds=1e-9)
    await registry.poll("main", [CHAMPION])
    mlflow.answers["registered-models/alias"] = web.json_response({"model_version": {**VERSION, "version": "4"}})
    assert (await registry.resolve(CHAMPION)).version == "4"
    assert await registry.poll("main", [CHAMPION]) == {CHAMPION}
    await registry.close()


async def test_a_registry_that_hangs_keeps_the_news_of_the_others_from_nobody(mlflow: MlflowDouble) -> None:
    hanging, moved, told = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        hanging.set()
        await asyncio.Event().wait()
        return web.Response()

    async def champion(request: web.Request) -> web.Response:
        return web.json_response({"model_version": {**VERSION, "version": "4" if moved.is_set() else "3"}})

    class Queue:
        def add(self, key: tuple[str, str]) -> None:
            assert key == ("team", "healthy")
            if moved.is_set():
                told.set()

    mlflow.answers["name=slow"], mlflow.answers["name=fraud"] = hang, champion
    declared = [RegistrySettings(name=name, uri=f"{mlflow.server.make_url('/')}") for name in ("slow", "healthy")]
    registry = Registry(declared, 0.001, Path("/nowhere"))
    references = {
        name: ModelReference.model_validate({"name": model, "alias": "champion", "registryRef": {"name": name}})
        for name, model in (("slow", "slow"), ("healthy", "fraud"))
    }
    reconciler = SimpleNamespace(followed={("team", name): reference for name, reference in references.items()})
    settings = SimpleNamespace(poll_seconds=0.001)
    polling = asyncio.create_task(main._poll(cast(Any, settings), cast(Any, reconciler), registry, cast(Any, Queue())))
    await asyncio.wait_for(hanging.wait(), 10)
    moved.set()
    await asyncio.wait_for(told.wait(), 10)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    await registry.close()


async def test_what_nobody_follows_any_more_is_forgotten(mlflow: MlflowDouble) -> None:
    mlflow.answers["registered-models/alias"] = web.json_response({"model_version": VERSION})
    registry = mlflow.registry(poll_seconds=0.0)
    others = [ModelReference(name="fraud", alias=f"pr-{number}") for number in range(20)]
    await registry.poll("main", [*others, CHAMPION])
    await registry.poll("main", [CHAMPION])
    await registry.close()
    assert registry._polled["main"].keys() == registry._answers.keys() == {CHAMPION}


async def test_a_tag_is_told_by_the_poll_and_makes_no_other_version_of_it(mlflow: MlflowDouble) -> None:
    mlflow.answers["registered-models/alias"] = web.json_response({"model_version": VERSION})
    registry = mlflow.registry()
    untagged = await registry.resolve(CHAMPION)
    await registry.poll("main", [CHAMPION])
    tags = [{"key": "validation_status", "value": "approved\n" + "x" * 10_000}]
    mlflow.answers["registered-models/alias"] = web.json_response({"model_version": {**VERSION, "tags": tags}})
    assert await registry.poll("main", [CHAMPION]) == {CHAMPION}
    tagged = await registry.resolve(CHAMPION)
    assert untagged.tags == {}
    assert tagged.tags["validation_status"].startswith("approved x")
    assert len(tagged.tags["validation_status"]) == 500
    assert tagged.identity == untagged.identity
    await registry.close()


async def test_metrics_are_those_of_the_run_then_those_of_the_logged_model(mlflow: MlflowDouble) -> None:
    def measured(key: str, value: float | str, at: int) -> dict[str, object]:
        return {"key": key, "value": value, "timestamp": at, "step": 0}

    run = {"metrics": [measured("test_f1", 0.8, 1), measured("loss", "NaN", 1)]}
    model = {"metrics": [measured("test_f1", 0.1, 9), measured("drift", 2, 2), measured("drift", 1, 1)]}
    mlflow.answers["runs/get?run_id=r"] = web.json_response({"run": {"data": run}})
    mlflow.answers["logged-models/m-1"] = web.json_response({"model": {"data": model}})
    registry = mlflow.registry()
    version = ModelVersion(registry="main", name="fraud", version="3", run_id="r", model_id="m-1", created="7")
    found = await registry.metrics(version)
    assert await registry.metrics(version) == found, "remembered for a poll interval"
    assert len(mlflow.asked) == 2
    assert {name: value for name, value in found.items() if value == value} == {"test_f1": 0.8, "drift": 2}
    assert math.isnan(found["loss"])
    await registry.close()


@pytest.mark.parametrize(("run_id", "asked"), [("", 0), ("gone", 1)])
async def test_a_version_without_a_run_has_no_metrics(mlflow: MlflowDouble, run_id: str, asked: int) -> None:
    mlflow.answers["runs/get"] = web.json_response({"error_code": "RESOURCE_DOES_NOT_EXIST"}, status=404)
    registry = mlflow.registry()
    assert await registry.metrics(replace(PLAIN, run_id=run_id)) == {}
    assert len(mlflow.asked) == asked
    await registry.close()


@pytest.mark.parametrize("metrics", [5, ["x"], [{"key": "f1"}], [{"key": "f1", "value": "high"}]])
async def test_odd_metrics_are_unavailable(mlflow: MlflowDouble, metrics: object) -> None:
    mlflow.answers["runs/get"] = web.json_response({"run": {"data": {"metrics": metrics}}})
    registry = mlflow.registry()
    with pytest.raises(Waiting, match="as no MLflow does"):
        await registry.metrics(replace(PLAIN, run_id="r"))
    await registry.close()


@pytest.mark.parametrize(
    ("status", "code"), [(404, "RESOURCE_DOES_NOT_EXIST"), (400, "INVALID_PARAMETER_VALUE")], ids=["no model", "no alias"]
)
async def test_what_is_not_there_is_named(mlflow: MlflowDouble, status: int, code: str) -> None:
    mlflow.answers["registered-models/alias"] = web.json_response({"error_code": code, "message": "-"}, status=status)
    error = await refused(mlflow.registry())
    assert isinstance(error, Waiting)
    assert error.reason == "ModelNotFound"
    assert "'fraud'" in error.message
    assert "'champion'" in error.message


@pytest.mark.parametrize(
    ("answer", "reason", "says"),
    [
        (web.Response(status=500, text="boom"), "RegistryUnavailable", "answered 500 (boom); what runs goes on"),
        (web.Response(text="<html>a proxy's page</html>", content_type="text/html"), "RegistryUnavailable", "login page"),
        (web.json_response([1]), "RegistryUnavailable", "no JSON"),
        (web.json_response({}), "RegistryUnavailable", "no model version"),
        (web.json_response({"model_version": "x"}), "RegistryUnavailable", "as no MLflow does"),
        (web.json_response({"model_version": {**VERSION, "version": "1/../2"}}), "RegistryUnavailable", "no model version"),
        (web.Response(text="[" * 100_000), "RegistryUnavailable", "no JSON"),
        (web.Response(text=" " * 9_000_000), "RegistryUnavailable", "no JSON"),
        (web.Response(status=403, text="Invalid Host header"), "RegistryRefused", "MLFLOW_SERVER_ALLOWED_HOSTS"),
        (web.Response(status=401, text="who are you"), "RegistryRefused", "registries[].auth"),
        (web.Response(status=403, text="Permission denied"), "RegistryRefused", "READ on the registered model 'fraud'"),
        (web.Response(status=404, text="<html>not here"), "RegistryUnavailable", "its address"),
        (web.json_response({"model_version": {**VERSION, "status": "PENDING_REGISTRATION"}}), "ModelNotReady", "PENDING"),
        (
            web.json_response({"model_version": {**VERSION, "status": "FAILED_REGISTRATION"}}),
            "ModelNotReady",
            "register it again",
        ),
    ],
)
async def test_bad_answers_are_waited_out_with_a_reason(
    mlflow: MlflowDouble, answer: web.Response, reason: str, says: str
) -> None:
    mlflow.answers["registered-models/alias"] = answer
    error = await refused(mlflow.registry())
    assert isinstance(error, Waiting)
    assert error.reason == reason
    assert says in error.message


async def test_nobody_there_is_unavailable() -> None:
    error = await refused(Registry([RegistrySettings(name="main", uri="http://127.0.0.1:1")], 30, Path("/nowhere")))
    assert error.reason == "RegistryUnavailable"
    assert "look at that MLflow server, or correct the registry's uri" in error.message


async def test_a_registry_that_nobody_declared_is_refused(mlflow: MlflowDouble) -> None:
    reference = ModelReference.model_validate({"name": "fraud", "alias": "champion", "registryRef": {"name": "other"}})
    error = await refused(mlflow.registry(), reference)
    assert isinstance(error, Stalling)
    assert "declared: main" in error.message


async def test_a_registrys_cookies_are_not_kept(mlflow: MlflowDouble) -> None:
    cookies = []

    async def answer(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.json_response({"model_version": VERSION}, headers={"Set-Cookie": "session=1; Path=/"})

    mlflow.answers["registered-models/alias"] = answer
    # By a name: no client keeps the cookies of a bare address.
    registry = Registry([RegistrySettings(name="main", uri=f"http://localhost:{mlflow.server.port}")], 30, Path("/nowhere"))
    await registry.poll("main", [CHAMPION])
    await registry.poll("main", [CHAMPION])
    await registry.close()
    assert cookies == [None, None]


async def test_who_may_ask_is_said_each_time_whatever_is_known_already(mlflow: MlflowDouble) -> None:
    mlflow.answers["registered-models/alias"] = web.json_response({"model_version": VERSION})
    registry = mlflow.registry(allowed_namespaces=("team-*", "lab"), allowed_models=("fraud*",))
    registry.permit(CHAMPION, "team-a")
    await registry.resolve(CHAMPION)
    for namespace, reference, said in [
        ("other", CHAMPION, "namespace 'other', only for: team-*, lab"),
        ("Team-a", CHAMPION, "namespace 'Team-a'"),
        ("lab", ModelReference(name="churn", alias="champion"), "model 'churn', only for: fraud*"),
    ]:
        with pytest.raises(Stalling) as error:
            registry.permit(reference, namespace)
        assert error.value.reason == "RegistryForbidden"
        assert said in error.value.message
    await registry.close()


async def test_without_a_list_everybody_may_ask(mlflow: MlflowDouble) -> None:
    registry = mlflow.registry()
    registry.permit(CHAMPION, "anywhere")
    await registry.close()


async def test_files_are_listed_through_the_artifact_proxy(mlflow: MlflowDouble) -> None:
    mlflow.answers["get-download-uri"] = web.json_response({"artifact_uri": "mlflow-artifacts:/1/models/m-1/artifacts"})
    listing = "mlflow-artifacts/artifacts?path=1/models/m-1/artifacts"
    mlflow.answers[f"{listing}/data"] = web.json_response({"files": [{"path": "part", "file_size": 2}]})
    mlflow.answers[listing] = web.json_response(
        {"files": [{"path": "MLmodel", "file_size": 10}, {"path": "data", "is_dir": True}]}
    )
    registry = mlflow.registry()
    files = await registry.files(PLAIN)
    await registry.close()
    assert [(file.path, file.size) for file in files] == [("MLmodel", 10), ("data/part", 2)]


@pytest.mark.parametrize(
    "listing", [{"files": [{}]}, {"files": ["x"]}, {"files": 5}, {"files": [{"path": "a", "file_size": "b"}]}]
)
async def test_an_odd_listing_is_unavailable(mlflow: MlflowDouble, listing: object) -> None:
    mlflow.answers["get-download-uri"] = web.json_response({"artifact_uri": "mlflow-artifacts:/1"})
    mlflow.answers["mlflow-artifacts/artifacts"] = web.json_response(listing)
    registry = mlflow.registry()
    with pytest.raises(Waiting, match="as no MLflow does"):
        await registry.files(PLAIN)
    await registry.close()


async def listed(mlflow: MlflowDouble, version: ModelVersion) -> list[tuple[str, int]]:
    registry = mlflow.registry()
    try:
        return [(file.path, file.size) for file in await registry.files(version)]
    finally:
        await registry.close()


async def test_files_of_a_logged_model_need_no_proxy(mlflow: MlflowDouble) -> None:
    mlflow.answers["get-download-uri"] = web.json_response({"artifact_uri": "s3://bucket/1/models/m-1/artifacts"})
    mlflow.answers["logged-models/m-1/artifacts/directories?artifact_directory_path"] = web.json_response(
        {"files": [{"path": "MLmodel", "file_size": 10}]}
    )
    assert await listed(mlflow, replace(PLAIN, model_id="m-1")) == [("MLmodel", 10)]


async def test_files_of_a_run_need_no_proxy(mlflow: MlflowDouble) -> None:
    """As MLflow 2 has registered them."""
    mlflow.answers["get-download-uri"] = web.json_response({"artifact_uri": "s3://bucket/1/r/artifacts/model"})
    mlflow.answers["runs/get?run_id=r"] = web.json_response({"run": {"info": {"artifact_uri": "s3://bucket/1/r/artifacts"}}})
    mlflow.answers["artifacts/list?run_id=r&path=model/data"] = web.json_response(
        {"files": [{"path": "model/data/part", "file_size": 2}]}
    )
    mlflow.answers["artifacts/list?run_id=r&path=model"] = web.json_response(
        {"files": [{"path": "model/MLmodel", "file_size": 10}, {"path": "model/data", "is_dir": True}]}
    )
    assert await listed(mlflow, replace(PLAIN, run_id="r")) == [("MLmodel", 10), ("data/part", 2)]


DISABLED = web.Response(status=503, text="disabled due to the mlflow server running with `--no-serve-artifacts`.")


@pytest.mark.parametrize(
    ("artifact_uri", "answer", "says"),
    [
        ("mlflow-artifacts:/1", DISABLED, "--serve-artifacts"),
        ("mlflow-artifacts:/1", web.Response(status=500, text="no bucket access"), "no bucket access"),
        ("mlflow-artifacts:/1", web.json_response({}), "MLflow finds none at mlflow-artifacts:/1"),
        ("s3://bucket/model", web.json_response({}), "s3://bucket/model is of neither"),
    ],
)
async def test_files_that_mlflow_does_not_hand_out_say_why(
    mlflow: MlflowDouble, artifact_uri: str, answer: web.Response, says: str
) -> None:
    mlflow.answers["get-download-uri"] = web.json_response({"artifact_uri": artifact_uri})
    mlflow.answers["mlflow-artifacts/artifacts"] = answer
    with pytest.raises(Waiting) as error:
        await listed(mlflow, PLAIN)
    assert error.value.reason == "ArtifactsUnreachable"
    assert says in error.value.message


async def test_an_endless_listing_ends(mlflow: MlflowDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_files, "MAX_FILES", 50)
    mlflow.answers["get-download-uri"] = web.json_response({"artifact_uri": "mlflow-artifacts:/1"})
    mlflow.answers["mlflow-artifacts/artifacts"] = web.json_response({"files": [{"path": "", "is_dir": True}]})
    registry = mlflow.registry()
    with pytest.raises(Stalling, match="TooManyFiles"):
        await registry.files(PLAIN)
    await registry.close()
    assert len(mlflow.asked) < 60


async def test_a_download_that_breaks_off_is_incomplete(mlflow: MlflowDouble) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return response

    mlflow.answers["get-artifact"] = half
    registry = mlflow.registry()
    with pytest.raises(Waiting, match="DownloadIncomplete") as error:
        async for _ in registry.download(PLAIN, "model.pkl"):
            pass
    await registry.close()
    assert "model.pkl of fraud version" in error.value.message
    assert "in the middle of an answer" in error.value.message


async def test_a_download_may_take_as_long_as_bytes_keep_coming(mlflow: MlflowDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    more, chunks = asyncio.Event(), 50

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(chunks)})
        await response.prepare(request)
        for _ in range(chunks):
            await response.write(b"x")
            await more.wait()
            more.clear()
        return response

    loop, late = asyncio.get_running_loop(), 0
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + late)
    mlflow.answers["get-artifact"] = drip
    registry, size = mlflow.registry(), 0
    async for chunk in registry.download(PLAIN, "model.pkl"):
        size += len(chunk)
        late += 50  # seconds; a registry that says nothing for 60 has broken off
        more.set()
    await registry.close()
    assert (size, late) == (50, 2500)
