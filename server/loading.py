"""From a directory to a model that has proved itself, in order: verify, read, load, replay, warm up."""

import logging
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from server import artifact, auth, manifest, report
from server.artifact import Artifact
from server.engine import Engine
from server.errors import DigestMismatch, LatencyTooHigh, LoadFailed, LoadTooSlow, ModelAtFault, NotCompiled, text_of
from server.languages import languages
from server.metrics import Metrics
from server.pod import Serving
from server.predictor import Predictor
from server.protocols import Model
from server.replay import Proof, replay
from server.settings import Gates, Settings
from server.validation import validator

WARM_UP_TIMES = 100
WARM_UP_SECONDS = 1.0
"""A slow model is warm after fewer; its pod should not be late for that."""

log = logging.getLogger(__name__)


def load(settings: Settings, metrics: Metrics) -> Serving:
    """All that answering needs. Blocks for as long as it takes; raises what is wrong with the model."""
    started = time.perf_counter()
    auth.require(settings)
    found = manifest.of_directory(settings.model_dir).digest
    if found != settings.model.digest:
        raise DigestMismatch(
            f"The files in {settings.model_dir} have the digest {found}, and {settings.model.digest} was asked for. "
            "Something changed them after they were registered; register the model again."
        )
    about = _read(settings.model_dir)
    chosen = _choose(settings, about)
    loaded, proof = chosen.engine, chosen.proof
    predictor = Predictor(
        loaded,
        metrics,
        settings.model.version,
        batching=settings.batching,
        timeout=settings.request_timeout_seconds,
    )
    predictor.start()
    seconds = time.perf_counter() - started
    p95 = _percentile_95(predictor.warm_up(about.example[0], WARM_UP_TIMES, WARM_UP_SECONDS)) if about.example else math.nan
    metrics.load_seconds.set(seconds)
    metrics.warm_up_p95_seconds.set(p95)
    if settings.gates is not None and datetime.now(UTC) < settings.gates.until:
        _judge(settings.gates, seconds, p95)
    told = settings.model
    metrics.info.labels(told.name, told.version, told.digest, loaded.name, chosen.reason, proof).set(1)
    model = Model(
        name=settings.served_name,
        version=told.version,
        inputs=loaded.inputs,
        validator=validator(loaded.inputs, about.record.bounds, reject_unseen=settings.out_of_range == "Reject"),
        classes=loaded.classes,
        has_probabilities=loaded.has_probabilities,
        predict_function=about.predict_function,
        answer=loaded.predict(about.example[:1]).predictions[0] if about.example else None,
    )
    serving = Serving(
        artifact=about,
        engine=loaded,
        validator=model.validator,
        predictor=predictor,
        engine_reason=chosen.reason,
        verified=proof,
        model=model,
        languages=languages(settings, model),
    )
    seen = {"engine": loaded.name, "engine_reason": chosen.reason, "verified": proof, "digest": found}
    log.info("model ready", extra=seen | {"seconds": round(seconds, 3), "p95_ms": round(p95 * 1000, 3)})
    return serving


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What will answer, what it has proved, and why it is not a compiled form."""

    engine: Engine
    proof: Proof
    reason: str = ""


def _choose(settings: Settings, about: Artifact) -> _Chosen:
    """The compiled form if there is one that answers the example; scikit-learn, and all that it brings, only if not."""
    if settings.engine == "Native":
        return _native(settings, about, "spec.server.engine is Native")
    found = report.read(settings.compiled, settings.model.digest)
    reason = found.reason
    if reason is None:
        try:
            return _compiled(settings, about)
        except ModelAtFault as e:
            reason = str(e)
        except Exception as e:  # whatever it is, scikit-learn can answer
            reason = f"its compiled form does not load: {text_of(e)}"
        log.warning("compiled form not used", extra={"reason": reason})
    if settings.engine == "Compiled":
        raise NotCompiled.because(reason)
    return _native(settings, about, reason)


def _compiled(settings: Settings, about: Artifact) -> _Chosen:
    from server import compiled  # brings ONNX Runtime

    loaded = compiled.load(settings.compiled / report.ENGINE)
    return _Chosen(loaded, replay(loaded, about))


def _native(settings: Settings, about: Artifact, reason: str) -> _Chosen:
    from server import model  # brings scikit-learn

    loaded = model.load(about, settings.trust)
    return _Chosen(loaded, replay(loaded, about), reason)


def _percentile_95(took: list[float]) -> float:
    """Of some durations, the shortest that at most one in twenty exceeds."""
    return sorted(took)[math.ceil(0.95 * len(took)) - 1]


def _judge(gates: Gates, seconds: float, p95: float) -> None:
    """Whether the model is as fast as the spec wants it. Raises where it is not; a latency that is not known is no reason."""
    if gates.max_load_seconds is not None and seconds > gates.max_load_seconds:
        raise LoadTooSlow(
            f"The model took {seconds:.2f} seconds to load, and spec.gates.maxLoadSeconds is {gates.max_load_seconds:g}. "
            "Make the model smaller, give its pods more CPU (spec.resources), raise the gate or waive Load."
        )
    limit = gates.max_latency_p95_milliseconds
    if limit is not None and p95 * 1000 > limit:
        raise LatencyTooHigh(
            f"95 of 100 predictions of one row took up to {p95 * 1000:.3g} ms, and "
            f"spec.gates.maxLatencyP95Milliseconds is {limit:g}. "
            "Make the model faster, give its pods more CPU (spec.resources), raise the gate or waive Latency."
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
