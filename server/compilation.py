"""Compiling: what the init step does with the model that it has fetched, and training with the one that it registers."""

import logging
import shutil
import time
from pathlib import Path

import threadpoolctl

from server import artifact, compiled, manifest, model, parity
from server.artifact import Artifact
from server.compile import Compilation, compile_model
from server.compile_flow import NotPossible
from server.errors import DigestMismatch, ModelAtFault, bounded, text_of
from server.model import Model
from server.replay import replay
from server.report import ENGINE, Report
from server.settings import Settings
from server.signature import Vector

log = logging.getLogger(__name__)


def compile_directory(settings: Settings) -> Report:
    """Compile what lies in the model's directory, and write down what came of it."""
    directory, digest = settings.compiled, settings.model.digest
    if manifest.of_directory(settings.model_dir).digest != digest:
        raise DigestMismatch(f"The files in {settings.model_dir} are not those of {digest}.")
    directory.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    try:
        about = artifact.read(settings.model_dir)
        report = attempt(model.load(about, settings.trust), about, digest, directory, settings.max_tree_nodes)
    except ModelAtFault as e:
        report = Report(model=digest, reason=bounded(f"it does not load: {e}"))
    except MemoryError:
        report = Report(model=digest, reason="compiling it needs more memory than the init step has")
    report = report.model_copy(update={"seconds": round(time.perf_counter() - started, 3)})
    report.write(directory)
    log.info("compiled" if report.reason is None else "not compiled", extra=report.model_dump(exclude={"model"}))
    return report


def attempt(native: Model, about: Artifact, digest: str, directory: Path, max_nodes: int) -> Report:
    """Write the engine of a loaded model to a directory if it answers like the model; say why not, if not."""
    place = directory / ENGINE
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    started = time.perf_counter()
    try:
        made = compile_model(native, digest, max_nodes)
        for name, content in made.files.items():
            (place / name).write_bytes(content)
        engine = compiled.load(place)
        with threadpoolctl.threadpool_limits(limits=1):  # more would only wait for each other, on so few rows
            shown = parity.compare(native, engine, _alone(made, place), about, made)
            if shown.difference is None:
                replay(engine, about)  # as the server will: what is told of this pod has to hold when it starts
    except ModelAtFault as e:
        return Report(model=digest, reason=bounded(f"compiled, it fails its recorded example: {e}"))
    except NotPossible as e:
        return Report(model=digest, reason=bounded(str(e)))
    except MemoryError:
        raise
    except Exception as e:  # scikit-learn's insides are not ours: what they surprise us with costs speed, and nothing else
        return Report(model=digest, reason=f"compiling it fails: {text_of(e)}")
    return Report(
        model=digest,
        engine=None if shown.difference else manifest.of_directory(place).digest,
        reason=shown.difference and bounded(f"compiled, it does not answer like scikit-learn: {shown.difference}"),
        seconds=round(time.perf_counter() - started, 3),
        nodes=made.nodes,
        rows=shown.rows,
        worst=shown.worst,
    )


def _alone(made: Compilation, place: Path) -> compiled.Compiled | None:
    """What became of the final estimator, without what comes before it."""
    if made.width is None:
        return None
    classes = getattr(made.last, "classes_", None)
    program = made.program.model_copy(
        update={
            "pipe": made.alone,
            "classes": None if classes is None else tuple(classes.tolist()),
            "inputs": Vector(width=made.width),
            "cells": False,
            "single": (),
        }
    )
    return compiled.engine(program, place)
