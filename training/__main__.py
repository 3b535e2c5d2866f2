"""The command line: a subcommand for each thing to do, and an exit code that says who has to act.

0: it is done. 1: MLflow did not do its part. 2: the table or an option has to change. 3: the model is not good enough.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from training import command_adopt, command_manage, command_optimize, command_run, configuration
from training.errors import TrainingError
from training.settings import MLFLOW_ENVIRONMENT

COMMANDS = (command_run, command_optimize, command_adopt, command_manage)
"""Each has `add`, which makes a subcommand with its options, and what it does as the default of `do`."""


def main(given: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        asked = configuration.parsed(parser(), sys.argv[1:] if given is None else given)
        asked.do(asked, os.environ)
    except TrainingError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Of `python -m training`."""
    whole = argparse.ArgumentParser(
        prog=_called(sys.argv[0]), description="From a table of data to a model version that can be deployed."
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return whole


def _called(path: str) -> str:
    """How a person has called this: by the script that the wheel brings, or as a module."""
    name = Path(path).name
    return name if name.startswith("mdep-train") else f"python -m {__package__}"


if __name__ == "__main__":
    sys.exit(main())
