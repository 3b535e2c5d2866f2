"""`python -m training adopt`: what a version lacks that plain MLflow has logged."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from training import arguments


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The subcommand with its options."""
    command = commands.add_parser(
        "adopt",
        help="add signature, example, answer and bounds to a version that plain MLflow has logged",
        description="Adds what a version lacks (signature, input example, its answer, bounds) as a new version of the same "
        "model. Loads the model's file, as a server does.",
    )
    command.add_argument("uri", metavar="models:/NAME/VERSION", help="or models:/NAME@ALIAS")
    command.add_argument("--data", type=Path, metavar="FILE", help="CSV or Parquet with rows that it was trained on")
    command.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="a column of the file that is no input")
    arguments.add_ranges(command)
    command.add_argument("--alias", help="moved to the new version, which deploys it where a ModelDeployment follows it")
    arguments.add_tags(command)
    arguments.add_tracking_uri(command)
    command.set_defaults(do=do)


def do(given: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Adopt, and say what was added."""
    from training.adoption import adopt

    print(
        adopt(
            given.uri,
            data=given.data,
            drop=tuple(given.drop),
            alias=given.alias,
            ranges=arguments.ranges(given),
            tags=arguments.tags(given),
            tracking_uri=arguments.tracking_uri(given, environment),
        )
    )
