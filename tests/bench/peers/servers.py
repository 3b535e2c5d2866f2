"""Every server of the comparison: how it is started, how it is asked, and where its settings are from."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from server import manifest
from server.settings import VARIABLE
from tests.bench.forest import Forest
from tests.bench.peers import environments, roads
from tests.bench.peers.roads import Road
from tests.clusters.settings import CHECKOUT

Kind = Literal["bare", "ours", "peer", "peer that batches"]

PROGRAMS = Path(__file__).parent / "programs"
UVICORN = "--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools", "--port"


@dataclass(frozen=True, slots=True)
class World:
    """What a server is started with."""

    forest: Forest
    scratch: Path
    """A directory of its own."""
    port: int
    """The first of its three ports: for clients; whatever else it opens comes after."""
    bin: Path
    """Of its environment."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to be."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    directory: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    name: str
    kind: Kind
    environment: str
    package: str
    """Whose version is told."""
    launch: Callable[[World], Launch]
    single: Road
    """For one row."""
    many: Road | None
    """For many; None: it takes none."""
    others: dict[str, Road] = field(default_factory=dict)
    """More ways to ask for one row."""
    other_many: dict[str, Road] = field(default_factory=dict)
    settings: str
    source: str
    """Who says that these are right for production."""


def _uvicorn(app: str, **variables: str) -> Callable[[World], Launch]:
    def launch(world: World) -> Launch:
        told = {"MODEL": str(world.forest.file), "FEATURES": str(world.forest.features), **variables}
        command = [str(world.bin / "uvicorn"), "--app-dir", str(PROGRAMS), *UVICORN, str(world.port), f"{app}:app"]
        return Launch(command, told)

    return launch


def _mlserver(**batching: float) -> Callable[[World], Launch]:
    def launch(world: World) -> Launch:
        told = {"debug": False, "parallel_workers": 0, "gzip_enabled": False, "host": "127.0.0.1"}
        ports = {"http_port": world.port, "grpc_port": world.port + 1, "metrics_port": world.port + 2}
        (world.scratch / "settings.json").write_text(json.dumps(told | ports))
        model = {
            "name": "forest",
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(world.forest.file)},
        }
        (world.scratch / "model-settings.json").write_text(json.dumps(model | batching))
        return Launch([str(world.bin / "mlserver"), "start", str(world.scratch)])

    return launch


def _kserve(world: World) -> Launch:
    told = {"MODEL": str(world.forest.file), "PORT": str(world.port)}
    return Launch([str(world.bin / "python"), str(PROGRAMS / "kserve_model.py")], told)


def _mlflow(world: World) -> Launch:
    served = [
        "-m",
        str(world.forest.mlflow),
        "-h",
        "127.0.0.1",
        "-p",
        str(world.port),
        "--workers",
        "1",
        "--env-manager",
        "local",
    ]
    return Launch([str(world.bin / "mlflow"), "models", "serve", *served], {"MLFLOW_DISABLE_TELEMETRY": "true"})


def _bentoml(**variables: str) -> Callable[[World], Launch]:
    def launch(world: World) -> Launch:
        told = {"MODEL": str(world.forest.file), "BENTOML_HOME": str(world.scratch), "BENTOML_DO_NOT_TRACK": "True", **variables}
        served = [
            "serve",
            "bentoml_service:Forest",
            "--working-dir",
            str(PROGRAMS),
            "--host",
            "127.0.0.1",
            "--port",
            str(world.port),
        ]
        return Launch([str(world.bin / "bentoml"), *served], told)

    return launch


OF_OUR_IMAGE = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""What Dockerfile.server sets."""


def told_ours(world: World, engine: str) -> str:
    """Our settings: the defaults, but for where things are."""
    model = {"name": "forest", "version": "1", "digest": manifest.of_directory(world.forest.mlflow).digest}
    where = {"modelDir": str(world.forest.mlflow), "port": world.port, "managementPort": world.port + 1}
    return json.dumps({"model": model, "engine": engine, **where})


def _ours(engine: str) -> Callable[[World], Launch]:
    def launch(world: World) -> Launch:
        told = {VARIABLE: told_ours(world, engine)} | OF_OUR_IMAGE
        return Launch([str(world.bin / "python"), "-m", "server"], told, CHECKOUT)

    return launch


FLAT = Road("/predict", roads.objects, roads.of_objects)
V1 = Road("/v1/models/forest:predict", roads.v1, roads.of_predictions)
V2 = Road("/v2/models/forest/infer", roads.v2, roads.of_outputs)
V2_BINARY = Road("/v2/models/forest/infer", roads.v2_binary, roads.of_outputs, roads.v2_binary_headers)
INVOCATIONS = Road("/invocations", roads.split, roads.of_predictions)
LISTED = Road("/predict", roads.listed, roads.of_list)
NUMBERED = Road("/predict", roads.numbered, roads.of_objects)
NUMBERED_MANY = Road("/predict_many", roads.numbered_list, roads.of_objects)

_CONSTANT: dict[str, Any] = {"single": FLAT, "many": None, "environment": "fastapi", "kind": "bare"}

SERVERS = (
    Server(
        name="bare ASGI",
        package="uvicorn",
        launch=_uvicorn("bare_asgi"),
        settings="uvicorn with uvloop and httptools, no access log; reads the body, answers a constant",
        source="the floor, not a server of models",
        **_CONSTANT,
    ),
    Server(
        name="bare FastAPI",
        package="fastapi",
        launch=_uvicorn("bare_fastapi"),
        settings="the same uvicorn; `async def`, answers a constant",
        source="the floor, not a server of models",
        **_CONSTANT,
    ),
    Server(
        name="ours",
        kind="ours",
        environment=environments.OURS,
        package="uvicorn",
        launch=_ours("Auto"),
        single=FLAT,
        many=V2,
        others={"ours, V2": V2, "ours, /invocations": INVOCATIONS},
        other_many={"ours, V2 binary": V2_BINARY, "ours, /predict": FLAT},
        settings="the defaults",
        source="server/README.md",
    ),
    Server(
        name="ours, native",
        kind="ours",
        environment=environments.OURS,
        package="scikit-learn",
        launch=_ours("Native"),
        single=FLAT,
        many=V2,
        settings="`engine: Native`: as a model is served that can't be compiled",
        source="server/README.md",
    ),
    Server(
        name="MLServer",
        kind="peer",
        environment="mlserver",
        package="mlserver",
        launch=_mlserver(),
        single=V2,
        many=V2,
        settings="`debug: false`, `parallel_workers: 0` (faster here than 1), `gzip_enabled: false`",
        source="MLServer's reference of settings.json; parallel inference can be switched off there",
    ),
    Server(
        name="MLServer, batches of 32",
        kind="peer that batches",
        environment="mlserver",
        package="mlserver",
        launch=_mlserver(max_batch_size=32, max_batch_time=0.005),
        single=V2,
        many=V2,
        settings="the same, `max_batch_size: 32`, `max_batch_time: 0.005`",
        source="MLServer's user guide, Adaptive Batching: values are to be found by experiment; 2, 5 and 10 ms were tried",
    ),
    Server(
        name="MLServer, batches of 64",
        kind="peer that batches",
        environment="mlserver",
        package="mlserver",
        launch=_mlserver(max_batch_size=64, max_batch_time=0.005),
        single=V2,
        many=V2,
        settings="the same, `max_batch_size: 64`, `max_batch_time: 0.005`",
        source="the same",
    ),
    Server(
        name="KServe",
        kind="peer",
        environment="kserve",
        package="kserve",
        launch=_kserve,
        single=V1,
        many=V1,
        settings="`kserve.Model` written as its sklearnserver is, `workers=1`, no gRPC, no latency log",
        source="KServe's guide to custom predictors; sklearnserver/model.py",
    ),
    Server(
        name="MLflow",
        kind="peer",
        environment="mlflow",
        package="mlflow",
        launch=_mlflow,
        single=INVOCATIONS,
        many=INVOCATIONS,
        settings="`mlflow models serve --workers 1 --env-manager local`",
        source="MLflow's documentation, Deploy MLflow Model as a Local Inference Server; its container runs the same",
    ),
    Server(
        name="BentoML",
        kind="peer",
        environment="bentoml",
        package="bentoml",
        launch=_bentoml(),
        single=LISTED,
        many=LISTED,
        settings="`bentoml serve`, `workers=1`, no access log",
        source="BentoML's guide to services, Workers and Configurations",
    ),
    Server(
        name="BentoML, batching",
        kind="peer that batches",
        environment="bentoml",
        package="bentoml",
        launch=_bentoml(BATCHES="1"),
        single=LISTED,
        many=LISTED,
        settings="the same, `batchable=True`, `max_batch_size=64`",
        source="BentoML's guide, Adaptive Batching",
    ),
    Server(
        name="hand-written FastAPI",
        kind="peer",
        environment="fastapi",
        package="fastapi",
        launch=_uvicorn("fastapi_app"),
        single=NUMBERED,
        many=NUMBERED_MANY,
        settings="uvicorn with uvloop and httptools, one worker, no access log; a plain `def`: predict, then predict_proba",
        source="FastAPI's documentation, Deployment: one process a container",
    ),
    Server(
        name="hand-written FastAPI, one evaluation",
        kind="peer",
        environment="fastapi",
        package="fastapi",
        launch=_uvicorn("fastapi_app", EVALUATIONS="1"),
        single=NUMBERED,
        many=NUMBERED_MANY,
        settings="the same, predict_proba only: as many evaluations of the forest as the others make",
        source="the same",
    ),
)
