"""`python -m tests.bench.http`: what HTTP costs. One process of ours beside bare ASGI on the same server, interleaved, by wrk.

The model: a forest of 100 trees of depth 10 behind a scaler, 30 features; compiled and native. Figures of one run are compared
with figures of the same run only. On a machine that others use, the processor time of a request is what means something.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from server import compilation, manifest, settings
from server.artifact import METADATA_KEY, Answer, Bounds, Record

BARE = """
import uvicorn
async def app(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
uvicorn.run(app, port=PORT, access_log=False, lifespan="off", log_level="error")
"""
LUA = 'wrk.method = "POST"\nwrk.body = io.open(BODY, "rb"):read("*a")\nwrk.headers["Content-Type"] = "application/json"\n'
CONNECTIONS = (1, 16, 64)
START_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Road:
    """One way to ask one server."""

    name: str
    process: int
    port: int
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Figures:
    """What wrk saw."""

    per_second: float
    cpu: float
    """Microseconds of processor time of the server for a request."""
    p50: str
    p99: str
    failed: int


def model(directory: Path) -> dict[str, Any]:
    """Train and save the model; one row of it."""
    features, target = load_breast_cancer(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(100, max_depth=10, random_state=0)).fit(features, target)
    example = features.head(3)
    probabilities, classes = pipeline.predict_proba(example).tolist(), pipeline.classes_.tolist()
    answer = Answer(predictions=pipeline.predict(example).tolist(), probabilities=probabilities, classes=classes)
    seen = {str(name): (float(features[name].min()), float(features[name].max())) for name in features}
    record = Record(example=answer, bounds=Bounds(seen=seen))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            pipeline,
            directory,
            signature=infer_signature(example, pipeline.predict(example)),
            input_example=example,
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
            metadata={METADATA_KEY: record.model_dump(exclude_none=True)},
        )
    return {str(name): float(value) for name, value in features.iloc[0].items()}


@contextlib.contextmanager
def running(command: list[str], port: int, path: str, environment: dict[str, str]) -> Iterator[int]:
    """The process of a server that answers this path, gone at the end."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while _status(port, path) != 200:
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"{' '.join(command)[:60]} did not start")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _status(port: int, path: str) -> int:
    with contextlib.suppress(OSError), contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status
    return 0


def load(road: Road, connections: int, seconds: int, scratch: Path) -> Figures:
    """Ask in closed loop."""
    body, script = scratch / f"{road.port}{road.path.replace('/', '-')}.json", scratch / "post.lua"
    body.write_bytes(road.body)
    script.write_text(LUA.replace("BODY", json.dumps(str(body))))
    url = f"http://127.0.0.1:{road.port}{road.path}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", str(script), url]
    before = _cpu(road.process)
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (answered,) = re.findall(r"(\d+) requests in", said)
    cpu = (_cpu(road.process) - before) / int(answered) * 1e6
    failed = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", said)))
    failed += sum(int(n) for line in re.findall(r"Socket errors: (.*)", said) for n in re.findall(r"\d+", line))
    (p50,), (p99,) = (re.findall(rf"^\s+{share}%\s+(\S+)", said, re.MULTILINE) for share in (50, 99))
    (rate,) = re.findall(r"Requests/sec:\s+(\S+)", said)
    return Figures(float(rate), cpu, p50, p99, failed)


def _cpu(process: int) -> float:
    """The seconds of processor time that it has had."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="for each figure")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory() as kept, contextlib.ExitStack() as stack:
        scratch = Path(kept)
        row = model(scratch / "model")
        told: dict[str, Any] = {
            "model": {"name": "forest", "version": "1", "digest": manifest.of_directory(scratch / "model").digest},
            "modelDir": str(scratch / "model"),
            "compiledDir": str(scratch / "compiled"),
        }
        report = compilation.compile_directory(settings.parse({settings.VARIABLE: json.dumps(told)}))
        print(f"compiled: {report.reason or 'yes'}", flush=True)
        bare, compiled, native = 18090, 18092, 18094
        floor = stack.enter_context(running([sys.executable, "-c", BARE.replace("PORT", str(bare))], bare, "/", {}))
        processes = []
        for port, engine in ((compiled, "Auto"), (native, "Native")):
            said = json.dumps(told | {"port": port, "managementPort": port + 1, "engine": engine})
            command = [sys.executable, "-m", "server"]
            processes.append(stack.enter_context(running(command, port + 1, "/readyz", {settings.VARIABLE: said})))
        cells = list(row.values())
        flat = json.dumps(row).encode()
        tensor = {"name": "input-0", "shape": [1, len(cells)], "datatype": "FP64", "data": cells}
        split = {"dataframe_split": {"columns": list(row), "data": [cells]}}
        roads = [
            Road("bare ASGI", floor, bare, "/", flat),
            Road("compiled /predict", processes[0], compiled, "/predict", flat),
            Road("compiled V2", processes[0], compiled, "/v2/models/forest/infer", json.dumps({"inputs": [tensor]}).encode()),
            Road("compiled /invocations", processes[0], compiled, "/invocations", json.dumps(split).encode()),
            Road("native /predict", processes[1], native, "/predict", flat),
        ]
        print(
            "| road | connections | per second | of bare ASGI | CPU, µs | p50 | p99 | failed |\n|---|--:|--:|--:|--:|--:|--:|--:|"
        )
        for _ in range(options.rounds):
            for connections in CONNECTIONS:
                fastest = 0.0
                for road in roads:
                    seen = load(road, connections, options.seconds, scratch)
                    fastest = fastest or seen.per_second
                    rate = f"{seen.per_second:,.0f} | {seen.per_second / fastest:.2f} | {seen.cpu:.1f}"
                    print(f"| {road.name} | {connections} | {rate} | {seen.p50} | {seen.p99} | {seen.failed} |", flush=True)


if __name__ == "__main__":
    main()
