"""The options of `run`, and the settings that they make."""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from training import configuration
from training.errors import InputError
from training.settings import (
    BUILT_IN_NAME,
    BUILT_IN_TARGET,
    DEFAULT_TRACKING_URI,
    KIND_NAMES,
    Duplicates,
    Kind,
    Range,
    RunSettings,
    Task,
)


def add(run: argparse.ArgumentParser, *, estimator: bool = True) -> None:
    """To a subcommand that trains on a table and registers what comes of it. `estimator`: whether its size can be said."""
    default = {name: field.default for name, field in RunSettings.model_fields.items()}

    about = run.add_argument_group("what to train on")
    about.add_argument("--data", type=Path, metavar="FILE", help="CSV or Parquet; else scikit-learn's breast cancer table")
    about.add_argument("--target", metavar="COLUMN", help="the column to predict; needed with --data")
    about.add_argument("--task", choices=get_args(Task), help="else told from the values of the target")
    about.add_argument(
        "--positive", metavar="CLASS", help="of two classes the one that figures are about; else a rare one, else the second"
    )
    about.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="leave a column out")
    about.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="COLUMN:TYPE",
        help="a column that must be there, as number, integer, boolean or string",
    )
    add_ranges(about)
    about.add_argument(
        "--duplicates", choices=get_args(Duplicates), default=default["duplicates"],
        help="rows that are there more than once; default: %(default)s",
    )  # fmt: skip

    how = run.add_argument_group("how to train")
    if estimator:
        how.add_argument("--trees", type=int, default=default["trees"], metavar="N", help="default: %(default)s")
        how.add_argument("--max-depth", type=int, default=default["max_depth"], metavar="N", help="default: %(default)s")
        how.add_argument(
            "--min-samples-split", type=int, default=default["min_samples_split"], metavar="N", help="default: %(default)s"
        )
    how.add_argument(
        "--balance", action=argparse.BooleanOptionalAction, default=default["balance"],
        help="give each class the same weight, however rare it is",
    )  # fmt: skip
    how.add_argument("--folds", type=int, default=default["folds"], metavar="N", help="default: %(default)s")
    how.add_argument("--test-size", type=float, default=default["test_size"], metavar="SHARE", help="default: %(default)s")
    how.add_argument("--seed", type=int, default=default["seed"], metavar="N", help="default: %(default)s")

    where = run.add_argument_group("what to register")
    where.add_argument("--name", metavar="MODEL", help=f"the registered model; needed with --data, else {BUILT_IN_NAME}")
    where.add_argument("--alias", help="moved to the new version, which deploys it where a ModelDeployment follows it")
    add_tags(where)
    where.add_argument("--report", type=Path, metavar="FILE", help="write the report with its pictures here too, as HTML")
    add_minimum(where)
    where.add_argument(
        "--max-loss",
        action="append",
        default=[],
        metavar="METRIC=VALUE",
        help="at most so much worse than the version that has the alias now, on the same test part: --max-loss f1=0.01",
    )
    add_tracking_uri(where)
    configuration.add(run)


def add_ranges(command: argparse._ActionsContainer) -> None:
    """To a subcommand that records bounds."""
    command.add_argument(
        "--range",
        action="append",
        default=[],
        metavar="COLUMN=LOW:HIGH",
        help="what is possible, with either side left empty if open; refused outside, here and when served",
    )


def add_tags(command: argparse._ActionsContainer) -> None:
    """To a subcommand that makes a version."""
    command.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="a tag of the version")


def add_tracking_uri(command: argparse._ActionsContainer) -> None:
    """To a subcommand that needs MLflow, which all do."""
    command.add_argument(
        "--tracking-uri", metavar="URI", help=f"where MLflow answers; else MLFLOW_TRACKING_URI, else {DEFAULT_TRACKING_URI}"
    )


def add_minimum(command: argparse._ActionsContainer) -> None:
    """To a subcommand that ends with a version or an alias."""
    command.add_argument(
        "--min",
        action="append",
        default=[],
        metavar="METRIC=VALUE",
        help="what the test part must show, --min f1=0.8, or at most where less is better (rmse, mae, brier); else exit code 3",
    )


def tracking_uri(given: argparse.Namespace, environment: Mapping[str, str]) -> str:
    """Where MLflow answers."""
    return given.tracking_uri or environment.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI


def ranges(given: argparse.Namespace) -> dict[str, Range]:
    """What is possible in a column."""
    return dict(_range(text) for text in given.range)


def tags(given: argparse.Namespace) -> dict[str, str]:
    """Of the version."""
    return dict(_tag(text) for text in given.tag)


def minimum(given: argparse.Namespace) -> dict[str, float]:
    """What figures must be."""
    return dict(_figure("min", text) for text in given.min)


def settings(given: argparse.Namespace, environment: Mapping[str, str]) -> RunSettings:
    """What was asked for, complete. Raises InputError for what no run can do."""
    if given.data is not None:
        for option in ("target", "name"):
            if not getattr(given, option):
                raise InputError(f"--data needs --{option} as well.")
    try:
        return RunSettings(
            data=given.data,
            target=given.target or BUILT_IN_TARGET,
            task=given.task,
            positive=given.positive,
            name=given.name or BUILT_IN_NAME,
            alias=given.alias,
            report=given.report,
            tracking_uri=tracking_uri(given, environment),
            minimum=minimum(given),
            max_loss=dict(_figure("max-loss", text) for text in given.max_loss),
            tags=tags(given),
            drop=tuple(given.drop),
            require=dict(_requirement(text) for text in given.require),
            ranges=ranges(given),
            duplicates=given.duplicates,
            **{name: getattr(given, name) for name in ("trees", "max_depth", "min_samples_split") if hasattr(given, name)},
            balance=given.balance,
            folds=given.folds,
            test_size=given.test_size,
            seed=given.seed,
        )
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise InputError(f"--{option} {first['input']}: {first['msg'].lower()}.") from e


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise InputError(f'--tag "{text}" must be KEY=VALUE.')
    return key, value


def _figure(option: str, text: str) -> tuple[str, float]:
    metric, _, value = text.rpartition("=")
    try:
        limit = float(value)
    except ValueError:
        limit = math.nan
    if not (metric and math.isfinite(limit)):
        raise InputError(f'--{option} "{text}" must be METRIC=NUMBER.')
    return metric, limit


def _requirement(text: str) -> tuple[str, Kind]:
    """A name can have colons in it, a type has none."""
    column, _, kind = text.rpartition(":")
    if not column or kind not in KIND_NAMES:
        raise InputError(f'--require "{text}" must be COLUMN:TYPE, with number, integer, boolean or string as type.')
    return column, KIND_NAMES[kind]


def _range(text: str) -> tuple[str, Range]:
    """A name can have equals signs in it, a range has none."""
    column, _, limits = text.rpartition("=")
    low, colon, high = limits.partition(":")
    if not (column and colon and (low or high)):
        raise InputError(f'--range "{text}" must be COLUMN=LOW:HIGH.')
    return column, (_limit(low, text), _limit(high, text))


def _limit(number: str, text: str) -> float | None:
    if not number:
        return None
    try:
        limit = float(number)
    except ValueError as e:
        raise InputError(f'--range "{text}": "{number}" is no number.') from e
    if not math.isfinite(limit):
        raise InputError(f'--range "{text}": leave a side empty where there is no limit.')
    return limit
