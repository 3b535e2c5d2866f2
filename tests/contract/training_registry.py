"""A real MLflow for what training registers, and what came out of its commands."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import mlflow.artifacts
from mlflow import MlflowClient

from server import artifact
from server.artifact import Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One command, finished."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A real MLflow, and a place for its downloads."""

    uri: str
    client: MlflowClient
    directory: Path

    def model(self, name: str, version: str) -> Artifact:
        """A version's files, as a pod has them."""
        directory = self.directory / name / version
        directory.mkdir(parents=True, exist_ok=True)
        mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=str(directory))
        return artifact.read(directory)

    def dump(self, name: str, version: str) -> Path:
        """The joblib dump of the run behind a version."""
        run = self.client.get_model_version(name, version).run_id
        return Path(self.client.download_artifacts(run, "pipeline.joblib", str(self.directory)))


def train(uri: str, *options: str) -> Run:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "training", "run", "--tracking-uri", uri, *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Run(code=done.returncode, out=done.stdout, err=done.stderr, seconds=time.monotonic() - began)
