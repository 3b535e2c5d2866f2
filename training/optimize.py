"""The story of an optimization: many models, each judged over folds and measured as it would serve; one of them is registered."""

import io
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np
from pydantic import ValidationError
from sklearn.pipeline import Pipeline

from training.errors import InputError
from training.evaluate import Spread, evaluate, folds, spread
from training.figures import shown
from training.pipeline import fit
from training.pipeline_run import Outcome, Say, Step, connected, divided, finish, read
from training.search import (
    Choice,
    Found,
    Limits,
    Spec,
    bytes_shown,
    choose,
    default_metric,
    failing,
    key,
    rows,
    specs,
    time_shown,
)
from training.settings import RunSettings
from training.table import Split, Table

if TYPE_CHECKING:
    from training.measure import Measuring

FRONTIER = "plots/frontier.png"
TABLE = "optimize.tsv"


def optimize(settings: RunSettings, limits: Limits, results: Path, step: Step) -> tuple[Outcome, Choice]:
    """Try, choose, register. What is found is written down at once, and never measured twice."""
    table = read(settings, step)
    limits = _with_metric(limits, table, settings)
    registry = connected(settings, step)
    parts = divided(table, settings, step)
    table = table.without_rows()

    found = list(_search(table, parts, settings, limits, results, step))
    choice = choose(found, limits)
    lines = rows(found, choice, limits)

    with step("choice") as say:
        from training.frontier import picture

        files = {FRONTIER: picture(found, choice, limits), TABLE: "".join("\t".join(line) + "\n" for line in lines).encode()}
        say(str(choice.best.spec.recipe))
        for line in _aligned(lines):
            say(line)
        say("→ chosen, * nothing else is both smaller and better; forest: trees x depth / fewest rows that are divided")

    chosen = choice.best.spec.recipe
    with step("fit") as say:
        pipeline = fit(parts.train, table.columns, chosen, table.task, settings)
        say(str(chosen))
    spreads = spread_of(choice.best)
    more = {
        "max_drop": limits.max_drop, "max_size": limits.max_size, "max_p95": limits.max_p95, "metric": limits.metric,
        "size_reduction": round(choice.large.size / choice.best.size, 2), "quality_drop": round(choice.drop, 6),
    }  # fmt: skip
    return finish(registry, table, parts, pipeline, chosen, spreads, settings, step, files=files, parameters=more), choice


def _with_metric(limits: Limits, table: Table, settings: RunSettings) -> Limits:
    known = ("r2",) if table.task == "regression" else ("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc")
    if limits.metric:
        if limits.metric not in known:
            raise InputError(f"--metric {limits.metric} is none to choose by in {table.task}. There are {', '.join(known)}.")
        return limits
    labels = table.all.labels
    rare = table.task == "classification" and np.unique(labels, return_counts=True)[1].min() < settings.rare_share * len(labels)
    return limits.model_copy(update={"metric": default_metric(table, bool(rare))})


def _search(table: Table, parts: Split, settings: RunSettings, limits: Limits, results: Path, step: Step) -> Iterator[Found]:
    from training.measure import Measuring

    before, wanted = known(results), specs(settings.balance)
    keys = [key(table, spec, settings) for spec in wanted]
    large = None
    with Measuring() as measuring:
        for number, (spec, name) in enumerate(zip(wanted, keys, strict=True), start=1):
            with step(f"{number} of {len(wanted)}") as say:
                found = before.get(name)
                if found is None:
                    found = _tried(table, parts, spec, name, settings, measuring, test=large is None)
                    with results.open("a+b") as file:
                        file.seek(max(file.tell() - 1, 0))
                        cut_off = file.read() not in (b"", b"\n")
                        file.write(b"\n" * cut_off + found.model_dump_json().encode() + b"\n")
                large = large or found
                _tell(found, large, limits, say, known=name in before)
            yield found


def known(results: Path) -> dict[str, Found]:
    """What an earlier command has found. A line that it was writing when it was ended is found again."""
    found = {}
    for line in results.read_bytes().splitlines() if results.exists() else ():
        try:
            one = Found.model_validate(json.loads(line))
        except (ValueError, ValidationError):
            continue
        found[one.key] = one
    return found


def _tried(
    table: Table, parts: Split, spec: Spec, name: str, settings: RunSettings, measuring: "Measuring", *, test: bool
) -> Found:
    """Judge it over the folds of the training part, and measure one that is trained on all of it."""
    from training.registration import Candidate, saved

    began, recipe = time.monotonic(), spec.recipe
    scores = [
        evaluate(fit(fold.train, table.columns, recipe, table.task, settings), fold.test, table.positive)
        for fold in folds(parts.train, table.task, settings)
    ]
    spreads = spread(scores)
    pipeline = fit(parts.train, table.columns, recipe, table.task, settings)
    candidate = Candidate(
        table=table, split=parts, pipeline=pipeline, parameters=recipe.parameters(), folds=spreads, test={}, files={}
    )
    with tempfile.TemporaryDirectory() as scratch:
        made = saved(candidate, settings, Path(scratch))
        native = measuring.native(made.directory)
        compiled = None
        if made.compiling.reason is None:
            compiled = measuring.compiled(made.directory, made.directory.with_name(f"{made.directory.name}-compiled"))
        size = made.estimator.stat().st_size
    serving = compiled or native
    return Found(
        key=name,
        spec=spec,
        folds={metric: (each.mean, each.std) for metric, each in spreads.items()},
        test=evaluate(pipeline, parts.test, table.positive) if test else None,
        size=size,
        dump=_dumped(pipeline, 3),
        plain=_dumped(pipeline, 0),
        engine="compiled" if compiled else "sklearn",
        load_seconds=serving.load_seconds,
        row_seconds=serving.row_seconds,
        row_seconds_sklearn=native.row_seconds,
        batch_seconds=serving.batch_seconds,
        memory=serving.memory,
        seconds=round(time.monotonic() - began, 1),
    )


def _dumped(pipeline: Pipeline, compress: int) -> int:
    file = io.BytesIO()
    joblib.dump(pipeline, file, compress=compress)
    return file.getbuffer().nbytes


def _tell(found: Found, large: Found, limits: Limits, say: Say, *, known: bool) -> None:
    mean, std = found.folds[limits.metric]
    say(
        f"{found.spec.recipe}: {limits.metric} {shown(limits.metric, mean)} ± {shown(limits.metric, std, mean)}, "
        f"{bytes_shown(found.size)}, {time_shown(found.row_seconds)} a row ({found.engine})"
        f"{', known already' if known else ''}{'; beyond: ' * bool(failing(found, large, limits))}"
        f"{', '.join(failing(found, large, limits))}"
    )


def _aligned(lines: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def spread_of(found: Found) -> dict[str, Spread]:
    """What the folds said of it."""
    return {metric: Spread(mean=mean, std=std) for metric, (mean, std) in found.folds.items()}
