"""From a directory to a model that has proved itself, in order: verify, read, load, replay, warm up."""

import logging
import time
from pathlib import Path

from server import artifact, manifest, model
from server.artifact import Artifact
from server.errors import DigestMismatch, LoadFailed
from server.metrics import Metrics
from server.pod import ENGINE, Serving
from server.predictor import Predictor
from server.replay import replay
from server.settings import Settings
from server.validation import validator

log = logging.getLogger(__name__)


def load(settings: Settings, metrics: Metrics) -> Serving:
    """All that answering needs. Blocks for as long as it takes; raises what is wrong with the model."""
    started = time.perf_counter()
    found = manifest.of_directory(settings.model_dir).digest
    if found != settings.model.digest:
        raise DigestMismatch(
            f"The files in {settings.model_dir} have the digest {found}, and {settings.model.digest} was asked for. "
            "Something changed them after they were registered; register the model again."
        )
    about = _read(settings.model_dir)
    loaded = model.load(about)
    proof = replay(loaded, about)
    predictor = Predictor(
        loaded,
        metrics,
        settings.model.version,
        threads=settings.threads,
        max_waiting=settings.max_waiting,
        timeout=settings.request_timeout_seconds,
    )
    predictor.start()
    seconds = time.perf_counter() - started
    metrics.load_seconds.set(seconds)
    metrics.info.labels(settings.model.name, settings.model.version, settings.model.digest, ENGINE, proof).set(1)
    log.info("model ready", extra={"verified": proof, "seconds": round(seconds, 3), "digest": found})
    return Serving(
        artifact=about,
        model=loaded,
        validator=validator(loaded.inputs, about.record.bounds),
        predictor=predictor,
        verified=proof,
    )


def _read(directory: Path) -> Artifact:
    """What the model says about itself. Whatever is of another shape than MLflow writes it is the model's fault too."""
    try:
        return artifact.read(directory)
    except (TypeError, AttributeError, ValueError, KeyError, RecursionError) as e:
        raise LoadFailed(
            f"What the model says about itself is not what MLflow writes ({type(e).__name__} while reading its MLmodel "
            "or its input example). Log the model again with MLflow."
        ) from e
