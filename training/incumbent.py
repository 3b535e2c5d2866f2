"""The version that has the alias now, asked the same rows as the one that is to take its place."""

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from server import artifact, model
from server.settings import Trust
from training import gates
from training.errors import NotGoodEnough
from training.evaluate import Scores, evaluate
from training.evidence import SPLIT
from training.figures import told
from training.registry import Registry
from training.settings import RunSettings
from training.table import Part, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """How good it is on these rows, or why nobody knows."""

    version: str
    scores: Scores
    why_not: str | None = None
    same_split: bool = False
    """Else it may have been trained on these very rows, which flatters it."""

    def insist(self, scores: Scores, losses: Mapping[str, float]) -> None:
        """On being no worse than this, by more than so much."""
        if losses and self.why_not is not None:
            raise NotGoodEnough(f"Version {self.version} can't be compared with: {self.told()}. Nothing was registered.")
        gates.insist_on_no_loss(scores, self.scores, losses, f"version {self.version}")

    def told(self) -> str:
        """For a person, in one line."""
        if self.why_not is not None:
            return f"it can't be asked the same rows ({self.why_not})"
        return f"{told(self.scores)} on the same rows{'' if self.same_split else ', some of which it may have been trained on'}"


def incumbent(registry: Registry, settings: RunSettings, test: Part, table: Table) -> Incumbent | None:
    """None where nothing has the alias. Its file is loaded, as every pod does: who may register a version runs code here too."""
    found = None if settings.alias is None else registry.at(settings.name, settings.alias)
    if found is None:
        return None
    number = str(found.version)
    with tempfile.TemporaryDirectory() as scratch:
        directory = registry.download(found, Path(scratch))
        try:
            about = artifact.read(directory)
            loaded = model.load(about, Trust())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on versions of scikit-learn: what counts is the answer
                scores = evaluate(loaded.estimator, as_trained(loaded.estimator, test), table.positive)
        except Exception as e:  # another model for other columns, or one that needs what is not here
            return Incumbent(version=number, scores={}, why_not=f"{type(e).__name__}: {' '.join(str(e).split())[:200]}")
    mine = {"fingerprint": table.fingerprint, **settings.model_dump(include=set(SPLIT))}
    return Incumbent(version=number, scores=scores, same_split=mine.items() <= (about.record.data or {}).items())


def as_trained(estimator: Any, test: Part) -> Part:
    """The same rows, with the columns in the order that it knows. Raises ValueError where it knows other classes."""
    known = getattr(estimator, "classes_", None)
    if known is not None and (other := set(np.asarray(known).tolist()) ^ set(test.labels.tolist())):
        raise ValueError(f"its classes are others: {', '.join(sorted(map(str, other)))}")
    names = getattr(estimator, "feature_names_in_", None)
    return test if names is None else Part(features=test.features[list(names)], labels=test.labels)
