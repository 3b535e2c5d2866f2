"""`python -m training optimize`: progress, a table, and the choice beside the large model."""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from training import arguments, names
from training.command_run import step
from training.errors import InputError
from training.evaluate import Scores
from training.figures import shown
from training.optimize import optimize
from training.search import Choice, Limits, bytes_shown, duration, size, time_shown
from training.summary import summary


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The subcommand with its options."""
    command = commands.add_parser(
        "optimize",
        help="look for a smaller and faster model that is as good, and register it",
        description="Measures a large forest, a grid of smaller ones, a linear model and gradient boosting; registers the "
        "smallest one within the limits.",
        epilog="Interrupt it at any time: the same command goes on where it was.",
    )
    arguments.add(command, estimator=False)
    rule = command.add_argument_group("what to choose")
    rule.add_argument("--metric", default="", help="what is compared; else accuracy (PR AUC where a class is rare), or R²")
    rule.add_argument(
        "--max-drop", type=float, default=Limits.model_fields["max_drop"].default, metavar="DROP",
        help="how much lower than the large model's it may be; default: %(default)s",
    )  # fmt: skip
    rule.add_argument("--max-size", metavar="SIZE", help="of the model's file, such as 100MB")
    rule.add_argument("--max-p95", metavar="TIME", help="of a single prediction where it serves, without HTTP, such as 5ms")
    rule.add_argument("--results", type=Path, metavar="FILE", help="what was measured; default: optimize-MODEL.jsonl")
    command.set_defaults(do=do)


def do(given: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Measure, choose, register."""
    settings = arguments.settings(given, environment)
    if not given.max_drop >= 0:
        raise InputError(f"--max-drop {given.max_drop:g} must not be negative.")
    limits = Limits(
        metric=given.metric,
        max_drop=given.max_drop,
        max_size=None if given.max_size is None else size(given.max_size),
        max_p95=None if given.max_p95 is None else duration(given.max_p95),
    )
    plain = re.sub(r"[^\w.-]+", "-", settings.name)
    results = names.insist_on_place("--results", given.results or Path(f"optimize-{plain}.jsonl"))
    try:
        outcome, choice = optimize(settings, limits, results, step)
    except KeyboardInterrupt:
        print(f"  what was found is in {results}; the same command goes on from there", file=sys.stderr)
        raise
    print(compared(choice, outcome.test))
    print(summary(outcome, settings))


def compared(choice: Choice, test: Scores) -> str:
    """The large model and the chosen one, side by side."""
    large, best, before = choice.large, choice.best, choice.large.test or {}
    lines = ["", f"  {'':<16} {'large':>12} {'chosen':>12}"]
    for metric, value in test.items():
        if metric in before:
            was = before[metric]
            lines.append(f"  {'test ' + metric:<16} {shown(metric, was):>12} {shown(metric, value, was):>12}  {value - was:+.4f}")
    for name, was, now, how in (
        ("file", large.size, best.size, bytes_shown),
        ("memory", large.memory, best.memory, bytes_shown),
        ("load", large.load_seconds, best.load_seconds, time_shown),
        ("row, 95th", large.row_seconds, best.row_seconds, time_shown),
        ("1000 rows", large.batch_seconds, best.batch_seconds, time_shown),
    ):
        ratio = f"{was / now:.3g} times less" if now and now <= was else ""
        lines.append(f"  {name:<16} {how(was):>12} {how(now):>12}  {ratio}".rstrip())
    return "\n".join(lines)
