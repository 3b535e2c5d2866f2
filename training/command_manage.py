"""`python -m training versions|compare|promote|pin`."""

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from training import arguments

if TYPE_CHECKING:
    from training.manage import Comparison, Known

FIRST = ("test_f1", "test_roc_auc", "test_accuracy", "test_rmse", "test_r2")
"""The figures of a list."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The subcommands with their options."""
    listing = commands.add_parser("versions", help="list the versions of a model with their figures")
    listing.add_argument("name", metavar="MODEL")
    listing.set_defaults(do=_versions)

    comparing = commands.add_parser("compare", help="two versions of a model side by side")
    comparing.add_argument("name", metavar="MODEL")
    comparing.add_argument("one", metavar="VERSION", help="a number or an alias")
    comparing.add_argument("other", metavar="VERSION")
    comparing.set_defaults(do=_compare)

    promoting = commands.add_parser(
        "promote",
        help="move an alias to a version, which deploys it where it is followed",
        description="Moves an alias to a version. Where a ModelDeployment follows the alias, that deploys it.",
    )
    promoting.add_argument("name", metavar="MODEL")
    promoting.add_argument("version", metavar="VERSION", help="a number or another alias")
    promoting.add_argument("--alias", required=True)
    arguments.add_minimum(promoting)
    promoting.set_defaults(do=_promote)

    pinning = commands.add_parser(
        "pin",
        help="write a version and its digest into the file of a ModelDeployment",
        description="Writes version and digest into the file of a ModelDeployment, and leaves all else in it as it is.",
    )
    pinning.add_argument("file", metavar="FILE", type=Path)
    pinning.add_argument("--version", help="a number or an alias; else what the file's alias names now")
    pinning.add_argument("--resource", metavar="NAME", help="which ModelDeployment, where the file has several")
    pinning.set_defaults(do=_pin)

    for command in (listing, comparing, promoting, pinning):
        arguments.add_tracking_uri(command)


def _versions(given: argparse.Namespace, environment: Mapping[str, str]) -> None:
    from training.manage import versions

    print(listed(versions(given.name, tracking_uri=arguments.tracking_uri(given, environment))))


def _compare(given: argparse.Namespace, environment: Mapping[str, str]) -> None:
    from training.manage import compare

    print(compared(compare(given.name, given.one, given.other, tracking_uri=arguments.tracking_uri(given, environment))))


def _promote(given: argparse.Namespace, environment: Mapping[str, str]) -> None:
    from training.manage import promote

    done = promote(
        given.name,
        given.version,
        given.alias,
        minimum=arguments.minimum(given),
        tracking_uri=arguments.tracking_uri(given, environment),
    )
    before = f", was version {done.before}" if done.before not in (None, done.version) else ""
    print(f"{done.name}@{done.alias} is version {done.version}{before}")


def _pin(given: argparse.Namespace, environment: Mapping[str, str]) -> None:
    from training.manage import pin

    done = pin(given.file, given.version, resource=given.resource, tracking_uri=arguments.tracking_uri(given, environment))
    name, after = str(done.path), done.path.read_bytes().decode()
    sys.stdout.writelines(difflib.unified_diff(done.before.splitlines(True), after.splitlines(True), name, name))
    print(f"{name} names {done.name} version {done.version}, {done.digest}")


def listed(found: "Sequence[Known]") -> str:
    """A line a version."""
    shown = [metric for metric in FIRST if any(metric in version.metrics for version in found)]
    head = ["version", "alias", "registered (UTC)", *(metric.removeprefix("test_") for metric in shown), "tags"]
    rows = [
        [
            version.version,
            ",".join(version.aliases),
            datetime.fromtimestamp(version.created, UTC).strftime("%Y-%m-%d %H:%M"),
            *(_figure(version.metrics.get(metric)) for metric in shown),
            ",".join(f"{key}={value}" for key, value in sorted(version.tags.items())),
        ]
        for version in found
    ]
    return _aligned([head, *rows])


def compared(found: "Comparison") -> str:
    """Figures with their difference, then what else differs."""
    rows = [["", *(f"version {number}" for number in found.versions), "difference"]]
    for metric, (one, other) in sorted(found.metrics.items()):
        difference = "" if one is None or other is None else f"{other - one:+.4f}"
        rows.append([metric, _figure(one), _figure(other), difference])
    lines = [_aligned(rows)]
    if found.params:
        lines += ["", _aligned([["parameters", "", ""], *([key, *map(str, pair)] for key, pair in sorted(found.params.items()))])]
    lines += ["", *(f"input {change}" for change in found.inputs)] if found.inputs else ["", "the inputs are the same"]
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
