"""`python -m training run`: progress and a summary on standard output."""

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from training import arguments
from training.pipeline_run import Say, run
from training.summary import summary


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The subcommand with its options."""
    command = commands.add_parser(
        "run",
        help="train on a table and register a version",
        description="Trains a classifier or a regressor on a table and registers it with MLflow as a new version of a model.",
        epilog="--drop, --require, --range and --tag can be given several times.",
    )
    arguments.add(command)
    command.set_defaults(do=do)


def do(given: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Train on a table and register a version."""
    settings = arguments.settings(given, environment)
    print(summary(run(settings, step), settings))


@contextmanager
def step(name: str) -> Iterator[Say]:
    """Shows the name at once, and what came of it with the seconds that it took."""
    began, found = time.monotonic(), list[str]()
    print(f"  {name:<10}", end="", flush=True)
    try:
        yield found.append
    except BaseException:
        print("failed", flush=True)
        raise
    first, *others = found
    print(f"{time.monotonic() - began:6.1f} s  {first}")
    for other in others:
        print(f"{'':22}{other}", flush=True)
