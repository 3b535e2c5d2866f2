"""The story of a training run: from a table of data to a registered version. Reads top to bottom."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sklearn.pipeline import Pipeline

from training import names
from training.data import load
from training.estimators import Recipe, recipe
from training.evaluate import Scores, Spread, evaluate, folds, judge, spread
from training.evaluate import scores as scored
from training.figures import told
from training.gates import insist
from training.pipeline import fit
from training.settings import REPORT, RunSettings
from training.table import Split, Table, checked, split

if TYPE_CHECKING:
    from training.registry import Registry, Version

Say: TypeAlias = Callable[[str], None]
"""Tells a person what a step found."""
Step: TypeAlias = Callable[[str], AbstractContextManager[Say]]
"""Announces a step, and how long it took when it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What there is at the end."""

    version: "Version"
    folds: Mapping[str, Spread]
    test: Scores
    positive: Any
    """The class that precision, recall and F1 are about; None where there are more than two."""


def run(settings: RunSettings, step: Step) -> Outcome:
    """Train, judge and register. Raises before anything is registered where the input is not fit for it."""
    table = read(settings, step)
    registry = connected(settings, step)
    parts = divided(table, settings, step)
    table = table.without_rows()

    chosen, scores = recipe(settings), []
    for number, fold in enumerate(folds(parts.train, table.task, settings), start=1):
        with step(f"fold {number}") as say:
            scores.append(evaluate(fit(fold.train, table.columns, chosen, table.task, settings), fold.test, table.positive))
            say(told(scores[-1]))
        del fold  # before the next one is made

    with step("fit") as say:
        pipeline = fit(parts.train, table.columns, chosen, table.task, settings)
        say(str(chosen))

    return finish(registry, table, parts, pipeline, chosen, spread(scores), settings, step)


def read(settings: RunSettings, step: Step) -> Table:
    """The table, checked."""
    with step("load") as say:
        texts = frozenset(name for name, kind in settings.require.items() if kind == "string")
        table = checked(load(settings.data, texts), settings)
        say(table.summary())
        for note in table.notes:
            say(note)
    return table


def connected(settings: RunSettings, step: Step) -> "Registry":
    """An MLflow that answers, before anybody waits for a model that it would not take."""
    with step("MLflow") as say:
        # Not imported above: it takes seconds, and a mistake in the table should be told at once.
        from training.registry import connect

        registry = connect(settings.tracking_uri)
        say(f"answers at {names.without_secret(settings.tracking_uri)}")
    return registry


def divided(table: Table, settings: RunSettings, step: Step) -> Split:
    """The part to train on, and the one that nothing but the last evaluation sees."""
    with step("split") as say:
        parts = split(table, settings)
        say(f"{len(parts.train.labels)} rows to train on, {len(parts.test.labels)} to test with")
    return parts


def finish(
    registry: "Registry",
    table: Table,
    parts: Split,
    pipeline: Pipeline,
    chosen: Recipe,
    spreads: Mapping[str, Spread],
    settings: RunSettings,
    step: Step,
    *,
    files: Mapping[str, bytes] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Outcome:
    """Test what was chosen, show it and register it. `files` and `parameters`: of how it was found."""
    with step("test") as say:
        judged = judge(pipeline, parts.test, table.positive)
        test = scored(judged)
        say(told(test))

    with step("report") as say:
        from training.report import report  # takes half a second to import, for nothing if the table has a mistake

        shown = report(table, parts.test, pipeline, judged, spreads, test, chosen, settings)
        if settings.report is not None:
            settings.report.write_bytes(shown[REPORT])
        say(f"{settings.report or REPORT}, and {len(shown) - 1} pictures")

    with step("gates") as say:
        from training.incumbent import incumbent

        insist(test, settings.minimum)
        held = incumbent(registry, settings, parts.test, table)
        if held is not None:
            held.insist(test, settings.max_loss)
        say(", ".join([f"{metric} {limit:g}" for metric, limit in settings.minimum.items()]) or "no figure is asked for")
        if held is not None:
            say(f"{settings.alias} is version {held.version}: {held.told()}")
        elif settings.max_loss:
            say(f'no version of {settings.name} has the alias "{settings.alias}" yet, so there was nothing to compare with')

    with step("register") as say:
        from training.registration import Candidate, register

        candidate = Candidate(
            table=table,
            split=parts,
            pipeline=pipeline,
            parameters={**chosen.parameters(), **(parameters or {})},
            folds=spreads,
            test=test,
            files={**shown, **(files or {})},
            incumbent=held,
        )
        version = register(registry, candidate, settings)
        say(f"{version.name} version {version.number}" + (f", alias {settings.alias}" if settings.alias else ""))
        if version.not_compiled:
            say(f"scikit-learn itself will answer, more slowly: {version.not_compiled}")

    return Outcome(version=version, folds=candidate.folds, test=test, positive=judged.positive)
