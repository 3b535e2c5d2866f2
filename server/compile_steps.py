"""Preprocessing as steps of a program, in scikit-learn's own precision."""

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from server import program
from server.program import Indices, Numbers, Step
from server.table import Value

UNKNOWN_TEXT = "\x00 no category"
ASKED_AT_ONCE = 200
MAX_CATEGORIES = 20_000
"""Of all columns of one encoder: more would be asked for minutes."""


class NotPossible(Exception):
    """Something in a model has no compiled form. The text says what, as part of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What is known of the columns between two steps."""

    text: tuple[bool, ...]
    """Whether a column has text."""
    single: tuple[bool, ...]
    """Whether it is float32."""

    @staticmethod
    def numbers(width: int) -> "Flow":
        """Columns of float64."""
        return Flow(text=(False,) * width, single=(False,) * width)

    def taken(self, columns: Indices) -> "Flow":
        """Some of the columns."""
        return Flow(text=tuple(self.text[i] for i in columns), single=tuple(self.single[i] for i in columns))


Made: TypeAlias = tuple[list[Step], Flow]


def named(part: object) -> str:
    """The name of scikit-learn's class; of any other, one that is on no list."""
    kind = type(part)
    own = kind.__module__.split(".")[0] == "sklearn"
    return kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}"


def transformer(part: Any, flow: Flow) -> Made:
    """The steps of a fitted transformer, and what comes out of them. Raises NotPossible."""
    if part is None or (isinstance(part, str) and part == "passthrough"):
        return [], flow
    make = _TRANSFORMERS.get(named(part))
    if make is None:
        raise NotPossible(f"{named(part)} is not compiled")
    return make(part, flow)


def quiet() -> None:
    """scikit-learn warns of what is asked here on purpose: unknown categories, columns without names. The filter stays: to put
    filters back is not safe while other threads, such as MLflow's, do the same."""
    warnings.filterwarnings("ignore", module="sklearn")


def _numeric(part: Any, flow: Flow) -> None:
    if any(flow.text):
        raise NotPossible(f"{named(part)} gets columns of text")
    if flow.single and all(flow.single):
        raise NotPossible(f"{named(part)} computes in float32 here, since the signature says float; double would do")


def _floats(values: Any) -> Numbers:
    return tuple(float(value) for value in np.asarray(values, float).ravel())


def _arithmetic(*operations: tuple[Any, Any]) -> list[Step]:
    return [
        program.Arithmetic(operator=operator, operand=_floats(operand)) for operator, operand in operations if operand is not None
    ]


def _out(flow: Flow) -> Flow:
    return Flow.numbers(len(flow.text))


def _standard(part: Any, flow: Flow) -> Made:
    _numeric(part, flow)
    mean = part.mean_ if part.with_mean else None
    return _arithmetic(("subtract", mean), ("divide", part.scale_ if part.with_std else None)), _out(flow)


def _min_max(part: Any, flow: Flow) -> Made:
    _numeric(part, flow)
    steps = _arithmetic(("multiply", part.scale_), ("add", part.min_))
    if part.clip:
        steps.append(program.Clip(low=float(part.feature_range[0]), high=float(part.feature_range[1])))
    return steps, _out(flow)


def _max_abs(part: Any, flow: Flow) -> Made:
    _numeric(part, flow)
    steps = _arithmetic(("divide", part.scale_))
    if getattr(part, "clip", False):
        steps.append(program.Clip(low=-1.0, high=1.0))
    return steps, _out(flow)


def _robust(part: Any, flow: Flow) -> Made:
    _numeric(part, flow)
    center = part.center_ if part.with_centering else None
    return _arithmetic(("subtract", center), ("divide", part.scale_ if part.with_scaling else None)), _out(flow)


def _function(part: Any, flow: Flow) -> Made:
    function = part.func
    if function is None or (isinstance(function, functools.partial) and function.func.__name__ == "check_array"):
        return [], flow
    known = get_args(program.Apply.model_fields["function"].annotation)
    name = {"absolute": "abs"}.get(function.__name__, function.__name__) if isinstance(function, np.ufunc) else None
    if name not in known or part.kw_args:
        raise NotPossible(f"FunctionTransformer of {getattr(function, '__name__', 'a function')} is not compiled")
    _numeric(part, flow)
    return [program.Apply(function=name)], _out(flow)


def _selection(part: Any, flow: Flow) -> Made:
    columns = tuple(part.get_support(indices=True).tolist())
    return [program.Select(columns=columns)], flow.taken(columns)


def _nothing(value: Any) -> bool:
    """Whether it is None, NaN or pandas' NA, which are one and the same in a request."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def _imputer(part: Any, flow: Flow) -> Made:
    if not _nothing(part.missing_values):
        raise NotPossible(f"SimpleImputer of {part.missing_values!r} is not compiled")
    statistics = part.statistics_.tolist()
    if any(flow.text):
        if part.indicator_ is not None or any(not isinstance(value, bool | int | float | str) for value in statistics):
            raise NotPossible("SimpleImputer of text with an indicator or without a value is not compiled")
        if any(value != value for value in statistics):
            raise NotPossible("SimpleImputer of a column of text without any value is not compiled")
        return [program.ImputeCells(fill=tuple(statistics))], flow
    fill = _floats(statistics)
    kept = tuple(index for index, value in enumerate(fill) if value == value or part.keep_empty_features)
    indicated = () if part.indicator_ is None else tuple(part.indicator_.features_.tolist())
    if part.keep_empty_features:
        fill = tuple(0.0 if value != value else value for value in fill)
    out = flow.taken(kept)
    more = (False,) * len(indicated)
    step = program.Impute(columns=kept, fill=tuple(fill[index] for index in kept), indicated=indicated)
    return [step], Flow(text=(*out.text, *more), single=(*out.single, *more))


def _columns(part: Any, flow: Flow) -> Made:
    branches = []
    width = 0
    for name, each, _ in part.transformers_:
        columns = tuple(int(index) for index in part._transformer_to_input_indices[name])
        if not columns or (isinstance(each, str) and each == "drop"):
            continue
        branch, out = _branch(each, columns, flow)
        branches.append(branch)
        width += out
    return [program.Branches(branches=tuple(branches))], Flow.numbers(width)


def _union(part: Any, flow: Flow) -> Made:
    if part.transformer_weights:
        raise NotPossible("FeatureUnion with weights is not compiled")
    branches = []
    width = 0
    for _, each in part.transformer_list:
        if isinstance(each, str) and each == "drop":
            continue
        branch, out = _branch(each, tuple(range(len(flow.text))), flow)
        branches.append(branch)
        width += out
    return [program.Branches(branches=tuple(branches))], Flow.numbers(width)


def _branch(part: Any, columns: Indices, flow: Flow) -> tuple[program.Branch, int]:
    """Some columns on their way: numbers at its end, and how many."""
    taken = flow.taken(columns)
    before: list[Step] = [program.Numeric()] if any(flow.text) and not any(taken.text) else []
    steps, out = transformer(part, taken)
    if any(out.text):
        raise NotPossible(f"a column of text is passed on by {'passthrough' if isinstance(part, str) else named(part)}")
    return program.Branch(columns=columns, steps=(*before, *steps)), len(out.text)


def _pipeline(part: Any, flow: Flow) -> Made:
    steps: list[Step] = []
    for _, each in part.steps:
        made, flow = transformer(each, flow)
        steps += made
    return steps, flow


# --- categories -------------------------------------------------------------------------------------------------------


def _one_hot(part: Any, flow: Flow) -> Made:
    """Which column each category lights up is asked of the encoder itself: it knows of dropped and infrequent ones."""
    asked = _Asked(part)
    columns = []
    for index, categories in enumerate(part.categories_):
        first, last = sum(part._n_features_outs[:index]), sum(part._n_features_outs[: index + 1])

        def position(codes: npt.NDArray[np.float64], first: int = first, last: int = last) -> int:
            lit = np.flatnonzero(codes[first:last])
            return int(lit[0]) if len(lit) else -1

        rows = [position(codes) for codes in asked.about(index, categories)]
        unknown = asked.unknown(index)
        columns.append(
            program.Positions(
                keys=_keys(categories),
                positions=tuple(rows),
                width=last - first,
                unknown=None if unknown is None else position(unknown),
            )
        )
    return [program.OneHot(columns=tuple(columns))], Flow.numbers(int(sum(part._n_features_outs)))


def _codes(part: Any, flow: Flow) -> Made:
    """The same for encoders that give numbers, the same count for each column."""
    asked = _Asked(part)
    columns = []
    each = 0
    for index, categories in enumerate(part.categories_):
        rows = list(asked.about(index, categories))
        each = len(rows[0]) // len(part.categories_)
        here = slice(index * each, (index + 1) * each)
        unknown = asked.unknown(index)
        columns.append(
            program.Codes(
                keys=_keys(categories),
                codes=tuple(_floats(codes[here]) for codes in rows),
                unknown=None if unknown is None else _floats(unknown[here]),
            )
        )
    return [program.Encode(columns=tuple(columns))], Flow.numbers(each * len(columns))


def _keys(categories: npt.NDArray[Any]) -> tuple[Value, ...]:
    keys: list[Value] = [None if value is None or value != value else value for value in categories.tolist()]
    if any(not isinstance(key, bool | int | float | str) for key in keys if key is not None):
        raise NotPossible("categories that are neither text nor numbers are not compiled")
    return tuple(keys)


class _Asked:
    """An encoder, asked about one column at a time; the others have their first category."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        if sum(map(len, encoder.categories_)) > MAX_CATEGORIES:
            raise NotPossible(f"{named(encoder)} has more than {MAX_CATEGORIES} categories")
        self._names = getattr(encoder, "feature_names_in_", None)

    def about(self, index: int, values: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.float64]]:
        """What it says for each of these values in a column."""
        for first in range(0, len(values), ASKED_AT_ONCE):
            yield from self._some(index, values[first : first + ASKED_AT_ONCE])

    def _some(self, index: int, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        import pandas as pd  # only who compiles needs it

        columns = [
            values if number == index else categories[:1].repeat(len(values))
            for number, categories in enumerate(self._encoder.categories_)
        ]
        frame = pd.DataFrame(dict(enumerate(columns)))
        if self._names is not None:
            frame.columns = self._names
        quiet()
        result = self._encoder.transform(frame if self._names is not None else frame.to_numpy())
        return np.asarray(result.toarray() if hasattr(result, "toarray") else result, float)

    def unknown(self, index: int) -> npt.NDArray[np.float64] | None:
        """What it says to a category that it does not know; None: it refuses."""
        categories = self._encoder.categories_[index]
        match categories.dtype.kind:
            case "b":
                value = np.array([np.nan], dtype=object)  # a truth value can only be missing
            case "i" | "u" | "f":
                known = categories[~np.isnan(categories)]
                value = np.array([known.max() + 1 if len(known) else 0], categories.dtype)
            case _:
                value = np.array([UNKNOWN_TEXT], dtype=object)
        try:
            answer: npt.NDArray[np.float64] = self._some(index, value)[0]
        except ValueError:
            return None
        return answer


_TRANSFORMERS: Mapping[str, Callable[[Any, Flow], Made]] = {
    "ColumnTransformer": _columns,
    "FeatureUnion": _union,
    "FunctionTransformer": _function,
    "MaxAbsScaler": _max_abs,
    "MinMaxScaler": _min_max,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _codes,
    "Pipeline": _pipeline,
    "RobustScaler": _robust,
    "SimpleImputer": _imputer,
    "StandardScaler": _standard,
    "TargetEncoder": _codes,
    **dict.fromkeys(
        (
            "GenericUnivariateSelect",
            "RFE",
            "RFECV",
            "SelectFdr",
            "SelectFpr",
            "SelectFromModel",
            "SelectFwe",
            "SelectKBest",
            "SelectPercentile",
            "SequentialFeatureSelector",
            "VarianceThreshold",
        ),
        _selection,
    ),
}
"""What compiles, by scikit-learn's names."""
