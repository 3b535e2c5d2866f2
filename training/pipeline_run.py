"""The story of a training run: from a table of data to a registered version. Reads top to bottom."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from training.data import load
from training.evaluate import Scores, Spread, evaluate, folds, positive_class, spread
from training.pipeline import fit
from training.settings import RunSettings
from training.table import checked, split

if TYPE_CHECKING:
    from training.registration import Version

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
    with step("load") as say:
        texts = frozenset(name for name, kind in settings.require.items() if kind == "string")
        table = checked(load(settings.data, texts), settings)
        say(table.summary())
        for note in table.notes:
            say(f"note: {note}")

    with step("MLflow") as say:
        # Not imported above: it takes seconds, and a mistake in the table should be told at once.
        from training.registration import Candidate, connect

        registry = connect(settings)
        say(f"answers at {settings.tracking_uri}")

    with step("split") as say:
        parts = split(table, settings)
        say(f"{len(parts.train.labels)} rows to train on, {len(parts.test.labels)} to test with")

    scores = []
    for number, fold in enumerate(folds(parts.train, settings), start=1):
        with step(f"fold {number}") as say:
            scores.append(evaluate(fit(fold.train, table.columns, settings), fold.test))
            say(told(scores[-1]))

    with step("fit") as say:
        pipeline = fit(parts.train, table.columns, settings)
        say(f"{settings.trees} trees, at most {settings.max_depth} deep")

    with step("test") as say:
        test = evaluate(pipeline, parts.test)
        say(told(test))

    with step("register") as say:
        candidate = Candidate(table=table, split=parts, pipeline=pipeline, folds=spread(scores), test=test)
        version = registry.register(candidate)
        say(f"{version.name} version {version.number}" + (f", alias {settings.alias}" if settings.alias else ""))
        if version.not_compiled:
            say(f"scikit-learn itself will answer, more slowly: {version.not_compiled}")

    return Outcome(version=version, folds=candidate.folds, test=test, positive=positive_class(pipeline))


def told(scores: Scores) -> str:
    """The figures that are looked at first."""
    return f"accuracy {scores['accuracy']:.3f}, F1 {scores['f1']:.3f}, ROC AUC {scores['roc_auc']:.3f}"
