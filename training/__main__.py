"""The command line: progress and a summary on standard output, and an exit code that says who has to act.

0: a version is registered. 1: MLflow did not do its part. 2: the table or an option has to change.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from training import arguments
from training.errors import TrainingError
from training.pipeline_run import Say, run
from training.settings import MLFLOW_ENVIRONMENT
from training.summary import summary


def main(given: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        settings = arguments.settings(arguments.parser().parse_args(given), os.environ)
        print(summary(run(settings, step), settings))
    except TrainingError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
