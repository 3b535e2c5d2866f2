"""Preprocessing as steps of a program, in scikit-learn's own precision."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, get_args

import numpy as np

from server import program
from server.compile_categories import ENCODERS
from server.compile_flow import Flow, Made, NotPossible, floats, named
from server.program import Indices, Step


def transformer(part: Any, flow: Flow) -> Made:
    """The steps of a fitted transformer, and what comes out of them. Raises NotPossible."""
    if part is None or (isinstance(part, str) and part == "passthrough"):
        return [], flow
    make = TRANSFORMERS.get(named(part))
    if make is None:
        raise NotPossible(f"{named(part)} is not compiled")
    return make(part, flow)


def _numeric(part: Any, flow: Flow) -> None:
    if any(flow.text):
        raise NotPossible(f"{named(part)} gets columns of text")
    if flow.single and all(flow.single):
        raise NotPossible(f"{named(part)} computes in float32 here, since the signature says float; double would do")


def _arithmetic(*operations: tuple[Any, Any]) -> list[Step]:
    return [
        program.Arithmetic(operator=operator, operand=floats(operand)) for operator, operand in operations if operand is not None
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
    fill = floats(statistics)
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


TRANSFORMERS: Mapping[str, Callable[[Any, Flow], Made]] = {
    **ENCODERS,
    "ColumnTransformer": _columns,
    "FeatureUnion": _union,
    "FunctionTransformer": _function,
    "MaxAbsScaler": _max_abs,
    "MinMaxScaler": _min_max,
    "Pipeline": _pipeline,
    "RobustScaler": _robust,
    "SimpleImputer": _imputer,
    "StandardScaler": _standard,
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
