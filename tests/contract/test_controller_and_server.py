"""Controller and server agree by value: what the one writes, the other understands. Only here are both imported."""

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

import server.errors
import server.manifest
import server.metrics
import server.settings
from controller import artifact, manifest, resource_metrics
from controller.api import ModelDeploymentSpec
from controller.catalogue import Catalogue, Runtime
from controller.engines import Engine, engine
from controller.manifest import StoredFile
from controller.pod_faults import EXIT_DISK_FULL, EXIT_MISCONFIGURED, EXIT_MODEL_AT_FAULT, EXIT_STORE_UNAVAILABLE, fault
from controller.policy import Batching, Gates, ServerDefaults, Trust
from controller.readers import Readers
from controller.registry import ModelVersion, RemoteFile
from controller.resources.deployment import (
    HTTP_PORT,
    MANAGEMENT_PORT,
    PRE_STOP_SECONDS,
    STORE_AUDIENCE,
    PodSettings,
    pod_template,
)
from controller.resources.identity import Owner
from controller.resources.rollouts import ROLLOUT
from controller.rollout import PinnedModel, PodGates
from controller.serve_store import create_app
from controller.settings import RegistrySettings
from controller.store import Store
from controller.verifier import Verifier
from tests.unit.controller.factories import rollout
from tests.unit.server import factories

DIGEST = "sha256:" + "a" * 64
MODEL = PinnedModel(name="fraud", version="3", digest=DIGEST, run_id="r", size_bytes=1, registry="main", verified="Answered")


def template(judged: PodGates | None = None, **spec: Any) -> dict[str, Any]:
    pods = PodSettings(
        catalogue=Catalogue((Runtime(name="sklearn-1.9", image="i", scikit_learn="1.9", python="3.11"),)),
        store_url="http://store.system.svc:8082",
        default_resources={},
        default_gates=Gates(),
        default_trust=Trust(),
        default_server=ServerDefaults(),
        compile_memory="1Gi",
    )
    wanted = ModelDeploymentSpec.model_validate({"model": {"name": "fraud", "version": 3}, **spec})
    return pod_template(Owner(namespace="team", name="fraud", uid="u"), wanted, MODEL, 1, pods, judged)


def told(container: dict[str, Any]) -> server.settings.Settings:
    return server.settings.parse({entry["name"]: entry["value"] for entry in container["env"]})


def test_both_containers_understand_what_they_are_told() -> None:
    spec = template()["spec"]
    for container in (*spec["initContainers"], *spec["containers"]):
        settings = told(container)
        assert settings.model.model_dump() == {"name": "fraud", "version": "3", "digest": DIGEST}
        assert settings.resource is not None
        assert (settings.resource.namespace, settings.resource.name) == ("team", "fraud")
        assert [str(url) for url in settings.store_urls] == ["http://store.system.svc:8082/"]


def test_the_server_listens_where_service_and_probes_look() -> None:
    (container,) = template()["spec"]["containers"]
    settings = told(container)
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "http": settings.port,
        "management": settings.management_port,
    }
    assert (settings.port, settings.management_port) == (HTTP_PORT, MANAGEMENT_PORT)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == "management"


def test_the_model_and_what_is_compiled_are_written_where_they_are_read() -> None:
    spec = template()["spec"]
    for container in (*spec["initContainers"], *spec["containers"]):
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {str(directory.parent) for directory in (told(container).model_dir, told(container).compiled)} <= mounts
        assert container["terminationMessagePath"] == str(told(container).termination_message_path)


def test_only_the_init_step_has_a_token_and_it_is_where_it_looks() -> None:
    spec = template()["spec"]
    assert spec["automountServiceAccountToken"] is False
    (volume,) = [volume for volume in spec["volumes"] if "projected" in volume]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == STORE_AUDIENCE
    (fetch,) = spec["initContainers"]
    (mount,) = [mount for mount in fetch["volumeMounts"] if mount["name"] == volume["name"]]
    assert told(fetch).store_token_file == Path(mount["mountPath"]) / source["serviceAccountToken"]["path"]
    (serve,) = spec["containers"]
    assert volume["name"] not in [mount["name"] for mount in serve["volumeMounts"]]


@pytest.mark.parametrize("seconds", [None, 120])
def test_the_grace_period_covers_the_drain_and_the_slowest_request(seconds: int | None) -> None:
    pod = template(server={"requestTimeoutSeconds": seconds})["spec"]
    settings = told(pod["containers"][0])
    assert settings.request_timeout_seconds == (seconds or 30)
    slowest = PRE_STOP_SECONDS + settings.drain_seconds + settings.request_timeout_seconds
    assert slowest < pod["terminationGracePeriodSeconds"]


def test_the_server_does_by_itself_what_a_spec_says_that_says_nothing() -> None:
    settings = told(template()["spec"]["containers"][0])
    alone = server.settings.Settings(model=settings.model)
    for name in ("request_timeout_seconds", "max_body_bytes", "out_of_range", "trust", "gates", "auth"):
        assert getattr(settings, name) == getattr(alone, name), name
    assert settings.served_name == "fraud"
    for name in ServerDefaults.model_fields:
        assert getattr(alone, name) == getattr(ServerDefaults(), name), name


def test_what_is_not_said_of_batching_is_what_the_description_says() -> None:
    batching, fields = server.settings.Batching(), Batching.model_fields
    for name, default in batching.model_dump().items():
        assert f"Default: {default}." in str(fields[name].description), name


def test_the_server_understands_all_that_a_spec_can_say_about_it() -> None:
    pod = template(
        server={
            "engine": "Native",
            "modelName": "Fraud_2.1",
            "ui": "Disabled",
            "logLevel": "Warning",
            "accessLogsPerSecond": 0.5,
            "batching": {"maxSize": 8, "maxWaiting": 16},
            "auth": {"tokenSecretRef": {"name": "fraud-tokens"}},
            "maxBodySize": "4Mi",
            "outOfRange": "Reject",
            "env": [{"name": "OMP_NUM_THREADS", "value": "2"}],
        },
        trust={"pickle": "Deny", "skopsTypes": ["own.Type"]},
    )["spec"]
    (container,) = pod["containers"]
    settings = told(container)
    assert settings.max_body_bytes == 4 * 1024 * 1024
    assert settings.out_of_range == "Reject"
    assert (settings.engine, settings.served_name, settings.ui) == ("Native", "Fraud_2.1", "Disabled")
    assert (settings.log_level, settings.access_logs_per_second) == ("Warning", 0.5)
    assert (settings.batching.max_size, settings.batching.max_waiting) == (8, 16)
    assert settings.auth is not None
    (tokens,) = settings.auth.token_files
    (mount,) = [each for each in container["volumeMounts"] if each["mountPath"] == str(tokens)]
    (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
    assert volume["secret"]["secretName"] == settings.auth.secret == "fraud-tokens"
    assert (settings.trust.pickle, settings.trust.skops_types) == ("Deny", ("own.Type",))
    assert {"name": "OMP_NUM_THREADS", "value": "2"} in container["env"]
    assert all(each["name"] != "OMP_NUM_THREADS" for each in pod["initContainers"][0]["env"])


def test_a_pickle_that_is_let_through_by_name_is_opened_by_the_pods_of_that_version_alone() -> None:
    for version, expected in ((3, "Allow"), (4, "Deny")):
        waivers = [{"version": version, "gate": "Trust", "reason": "reviewed"}]
        pod = template(trust={"pickle": "Deny"}, gates={"waivers": waivers})["spec"]
        assert told(pod["containers"][0]).trust.pickle == expected


def test_the_server_judges_by_what_it_is_told() -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    gates = PodGates(max_load_seconds=2.5, max_latency_p95_milliseconds=None, until=until)
    understood = told(template(gates)["spec"]["containers"][0]).gates
    assert understood is not None
    assert (understood.max_load_seconds, understood.max_latency_p95_milliseconds, understood.until) == (2.5, None, until)
    gates = PodGates(max_load_seconds=None, max_latency_p95_milliseconds=20, until=until)
    understood = told(template(gates)["spec"]["containers"][0]).gates
    assert understood is not None
    assert (understood.max_load_seconds, understood.max_latency_p95_milliseconds) == (None, 20)


def test_a_promised_latency_is_weighed_by_the_buckets_that_the_server_has() -> None:
    assert resource_metrics.LATENCY_BUCKETS == server.metrics.BUCKETS


def test_exit_codes_mean_the_same_on_both_sides() -> None:
    assert server.errors.ModelAtFault.exit_code == EXIT_MODEL_AT_FAULT
    assert server.errors.StoreUnavailable.exit_code == EXIT_STORE_UNAVAILABLE
    assert server.errors.ModelNotWritten.exit_code == EXIT_DISK_FULL
    assert server.errors.SettingsInvalid.exit_code == EXIT_MISCONFIGURED


def test_both_compute_the_same_digest() -> None:
    files = [StoredFile("ünï/model.pkl", "2" * 64, 2), StoredFile("MLmodel", "1" * 64, 1)]
    written = manifest.written(files)
    understood = server.manifest.parse(written)
    assert understood.digest == server.manifest.digest_of(written) == "sha256:" + hashlib.sha256(written).hexdigest()
    assert [file.path for file in understood.files] == ["MLmodel", "ünï/model.pkl"]


class Directory:
    """A registry whose only version is a directory on disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def files(self, version: ModelVersion) -> list[RemoteFile]:
        return [
            RemoteFile(path.relative_to(self._directory).as_posix(), path.stat().st_size)
            for path in self._directory.rglob("*")
            if path.is_file()
        ]

    async def download(self, version: ModelVersion, path: str) -> AsyncIterator[bytes]:
        yield (self._directory / path).read_bytes()


class ApiServer:
    """An API server that knows one pod's token, and one ModelDeployment whose status names a digest."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    async def review_token(self, token: str, audience: str) -> str | None:
        return "system:serviceaccount:team:default" if (token, audience) == ("of-a-pod", STORE_AUDIENCE) else None

    async def each(self, kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[dict[str, Any]]:
        if (kind, namespace) == ("ModelDeployment", "team"):
            yield {"status": {"target": {"digest": self._digest}}}


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "registered"
    (directory / "data").mkdir(parents=True)
    (directory / "MLmodel").write_text("flavors: {sklearn: {pickled_model: data/model.pkl}}")
    (directory / "data" / "model.pkl").write_bytes(b"\x80" * 100_000)
    return directory


@dataclass(frozen=True)
class Fetched:
    """A pod whose fetching step has ended."""

    directory: Path
    digest: str
    code: int
    message: str
    log: str


async def fetched(registered: Path, tmp_path: Path, **more: Any) -> Fetched:
    """The process of the step, which fetches from the controller's store what that has pulled."""
    store = Store(tmp_path / "store", 10**7)
    version = ModelVersion(registry="main", name="fraud", version="3", run_id="", model_id="", created="")
    digest = await store.pull(version, Directory(registered))
    assert artifact.inspect(store, digest).has_model_file
    registries = [RegistrySettings(name="main", uri="http://mlflow:5000", allowed_namespaces=("team",))]
    http = TestServer(create_app(store, Verifier(store), Readers(ApiServer(digest), store, registries, "operator", ())))
    await http.start_server()
    directory, token, message = tmp_path / "model", tmp_path / "token", tmp_path / "message"
    token.write_text("of-a-pod")
    message.touch()
    told = {
        "model": {"name": "fraud", "version": "3", "digest": digest},
        "storeUrls": [str(http.make_url("/")).rstrip("/")],
        "storeTokenFile": str(token),
        "modelDir": str(directory),
        "fetchTimeoutSeconds": 10,
        "terminationMessagePath": str(message),
        **more,
    }
    step = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server", "fetch"),
        env={**os.environ, server.settings.VARIABLE: json.dumps(told)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    log, _ = await step.communicate()
    await http.close()
    assert step.returncode is not None
    return Fetched(directory, digest, step.returncode, message.read_text(), log.decode())


def ended(pod: Fetched) -> dict[str, Any]:
    """That pod, as the kubelet tells of it: with a server that answers, unless the step has failed."""
    status = "True" if pod.code == 0 else "False"
    state = {"terminated": {"exitCode": pod.code, "message": pod.message}}
    return {
        "metadata": {"annotations": {ROLLOUT: "1"}},
        "status": {
            "conditions": [{"type": "Ready", "status": status}],
            "initContainerStatuses": [{**template()["spec"]["initContainers"][0], "state": state}],
        },
    }


async def test_a_pod_fetches_from_the_store_what_the_controller_pulled(tmp_path: Path, model_directory: Path) -> None:
    pod = await fetched(model_directory, tmp_path, engine="Native")
    assert pod.code == 0, pod.log
    assert server.manifest.of_directory(pod.directory).digest == pod.digest
    assert engine(ended(pod)) == Engine(name="Native"), "as it was asked for: no reason"


async def test_what_the_compiling_step_leaves_is_what_status_says(tmp_path: Path) -> None:
    pod = await fetched(factories.forest(tmp_path / "registered"), tmp_path)
    assert engine(ended(pod)) == Engine(name="Compiled"), pod.log


async def test_why_a_model_is_not_compiled_is_told_and_held_against_it_where_nothing_else_will_do(tmp_path: Path) -> None:
    registered, trust = factories.splines(tmp_path / "registered"), {"skopsTypes": factories.SPLINE_TYPES}
    (tmp_path / "auto").mkdir()
    (tmp_path / "compiled").mkdir()
    pod, refused = await asyncio.gather(
        fetched(registered, tmp_path / "auto", trust=trust),
        fetched(registered, tmp_path / "compiled", trust=trust, engine="Compiled"),
    )
    told = engine(ended(pod))
    assert told is not None, pod.log
    assert told.name == "Native"
    assert "SplineTransformer" in told.reason
    found = fault([ended(refused)], rollout(1, 3))
    assert found is not None, refused.log
    assert (found.reason, found.by_model) == ("NotCompiled", True)
    assert told.reason in found.message
