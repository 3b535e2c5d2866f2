"""From a fitted scikit-learn estimator to a program (server.program) that answers like it, or a sentence on why not.

No code of scikit-learn is called here that computes: what an estimator is called, and the numbers in it, is what is looked at.
What comes out is believed only after server.parity has compared it with the estimator.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from server import compile_steps, program
from server.compile_composed import COMPOSED
from server.compile_flow import Flow, NotPossible, named
from server.compile_linear import LINEAR
from server.compile_trees import TREES, Forest
from server.compiled import PROGRAM
from server.model import Model
from server.program import Final, Pipe, Program, Step
from server.signature import Columns

SUPPORTED = frozenset((*TREES, *LINEAR, *COMPOSED))
"""What compiles, by scikit-learn's names. A subclass has another name, and may answer otherwise."""

WRAPPERS: Mapping[str, str] = {
    "GridSearchCV": "best_estimator_",
    "RandomizedSearchCV": "best_estimator_",
    "HalvingGridSearchCV": "best_estimator_",
    "HalvingRandomSearchCV": "best_estimator_",
    "FrozenEstimator": "estimator",
}
"""What only asks another estimator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """A program, and what parity should look at closely."""

    program: Program
    files: Mapping[str, bytes]
    """The program's own file, and those that its parts name."""
    nodes: int
    last: Any
    """The estimator at the end, behind pipelines and searches."""
    before: tuple[Step, ...]
    """The steps before it."""
    alone: Pipe
    """What was made of it, without those."""
    width: int | None
    """How many numbers it gets; None: it gets text too."""
    thresholds: tuple[tuple[int, float], ...]
    """Column and value: where its trees divide the rows that it gets."""


def compile_model(model: Model, digest: str, max_nodes: int) -> Compilation:
    """The program of a loaded model. Raises NotPossible."""
    work = _Work(forest=Forest(max_nodes=max_nodes))
    names, flow = _columns(model)
    text, single = flow.text, flow.single
    steps: tuple[Step, ...] = ()
    fitted = getattr(model.estimator, "feature_names_in_", None)
    if names is not None and fitted is not None and tuple(fitted) != names:
        if missing := sorted(set(fitted) - set(names)):
            raise NotPossible(f"the signature lacks columns of the estimator: {', '.join(missing)}")
        order = tuple(names.index(name) for name in fitted)
        steps, flow = (program.Select(columns=order),), flow.taken(order)
        if any(text) and not any(flow.text):
            steps = (*steps, program.Numeric())
    pipe = work.pipe(model.estimator, flow, top=True)
    whole = Program(
        model=digest,
        classes=None if model.classes is None else tuple(model.classes),
        inputs=model.inputs,
        cells=any(text),
        single=tuple(number for number, each in enumerate(single) if each),
        trees=work.forest.trees,
        pipe=Pipe(steps=(*steps, *pipe.steps), final=pipe.final),
    )
    files = {**work.forest.files, PROGRAM: whole.model_dump_json().encode()}
    last, alone, columns = work.last
    return Compilation(
        program=whole,
        files=files,
        nodes=work.forest.nodes,
        last=last,
        before=whole.pipe.steps[: len(whole.pipe.steps) - len(alone.steps)],
        alone=alone,
        width=None if any(columns.text) else len(columns.text),
        thresholds=tuple(work.forest.thresholds),
    )


def _columns(model: Model) -> tuple[tuple[str, ...] | None, Flow]:
    """What the columns are called, and what scikit-learn gets of each."""
    if model.form in ("Texts", "Unknown"):
        raise NotPossible("it takes a text" if model.form == "Texts" else "it has no signature that says what its columns are")
    if isinstance(model.inputs, Columns) and model.form == "Columns":
        columns = model.inputs.columns
        if any(column.type == "datetime" for column in columns):
            raise NotPossible("columns of dates are not compiled")
        names = tuple(column.name for column in columns) if model.names else None
        text = tuple(column.type == "string" for column in columns)
        return names, Flow(text=text, single=tuple(column.type == "float" for column in columns))
    width = len(model.inputs.columns) if isinstance(model.inputs, Columns) else model.inputs.width
    if width is None:
        raise NotPossible("nobody knows how many features it has")
    return model.names, Flow(text=(False,) * width, single=(model.inputs.dtype == "float32",) * width)


@dataclass(slots=True, kw_only=True)
class _Work:
    """One compilation while it goes on."""

    forest: Forest
    last: tuple[Any, Pipe, Flow] = field(init=False)
    """The final estimator that was done last, so at the end the whole model's."""

    def pipe(self, estimator: Any, flow: Flow, *, top: bool = False) -> Pipe:
        """An estimator, with the steps before it. `top`: what it gets at last is what the whole model's final estimator gets."""
        while named(estimator) in WRAPPERS:
            estimator = getattr(estimator, WRAPPERS[named(estimator)])
        if named(estimator) == "Pipeline":
            steps: list[Step] = []
            for _, step in estimator.steps[:-1]:
                more, flow = compile_steps.transformer(step, flow)
                steps += more
            end = self.pipe(estimator.steps[-1][1], flow, top=top)
            return Pipe(steps=(*steps, *end.steps), final=end.final)
        if named(estimator) not in SUPPORTED:
            raise NotPossible(f"{named(estimator)} is not compiled")
        if np.ndim(getattr(estimator, "n_outputs_", 1)) or getattr(estimator, "n_outputs_", 1) != 1:
            raise NotPossible(f"{named(estimator)} has several outputs")
        own, encoded = _categories(estimator, flow)
        if named(estimator) not in COMPOSED and any(encoded.text):
            raise NotPossible(f"{named(estimator)} gets columns of text")
        made = Pipe(steps=own, final=self._final(estimator, encoded, top=top))
        self.last = estimator, made, flow
        return made

    def _final(self, estimator: Any, flow: Flow, *, top: bool) -> Final:
        name = named(estimator)
        if name in TREES:
            return TREES[name](self.forest, estimator, flow, top)
        if name in LINEAR:
            return LINEAR[name](estimator)
        return COMPOSED[name](self, estimator, flow, top)

    def member(self, estimator: Any, flow: Flow, *, top: bool) -> Pipe:
        """One of the estimators that another is made of: the rows that it gets are the other's, unless it changes them first."""
        return self.pipe(estimator, flow, top=top and named(estimator) != "Pipeline")


def _categories(estimator: Any, flow: Flow) -> tuple[tuple[Step, ...], Flow]:
    """Histogram gradient boosting encodes its categories itself."""
    preprocessor = getattr(estimator, "_preprocessor", None)
    if not named(estimator).startswith("HistGradientBoosting") or preprocessor is None:
        return (), flow
    steps, flow = compile_steps.transformer(preprocessor, flow)
    return tuple(steps), flow
