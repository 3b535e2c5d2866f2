"""`python -m server [serve | fetch | healthcheck]`: the serving process, the init step, the image's health check."""

import argparse
import json
import logging
import os
import signal
import sys
import urllib.request
from pathlib import Path
from types import FrameType

from server import logs, settings
from server.errors import Fatal
from server.settings import Settings

MAX_MESSAGE_BYTES = 2000

log = logging.getLogger("server")


def main() -> int:
    """Run one of them; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m server", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("serve", "fetch", "healthcheck"), default="serve")
    command = parser.parse_args().command
    logs.configure()
    signal.signal(signal.SIGTERM, _stop)
    told: Settings | None = None
    try:
        told = settings.parse(os.environ)
        if command == "healthcheck":
            return _healthcheck(told)
        _run(command, told)
    except Fatal as e:
        _last_words(e, told.termination_message_path if told else settings.TERMINATION_LOG)
        return e.exit_code
    return 0


def _run(command: str, told: Settings) -> None:
    """The imports stand here because each command needs other ones, and a probe should not wait for scikit-learn."""
    if command == "fetch":
        from server.fetch import fetch

        fetch(told)
    else:
        from server.serve import serve

        serve(told)


def _stop(number: int, _: FrameType | None) -> None:
    """The first process of a container ignores every signal that it has no handler for. `serve` brings a better one."""
    sys.exit(128 + number)


def _healthcheck(told: Settings) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{told.management_port}/readyz", timeout=5) as answer:
            return 0 if answer.status == 200 else 1
    except OSError:
        return 1


def _last_words(error: Fatal, path: Path) -> None:
    """What the controller reads when the process is gone: JSON, cut so that it stays JSON."""
    log.error("cannot go on", extra={"reason": error.reason, "detail": str(error)})
    message = str(error)
    while len(words := json.dumps({"reason": error.reason, "message": message}).encode()) > MAX_MESSAGE_BYTES:
        message = message[: len(message) * 9 // 10 - 1] + "…"
    if path.exists():
        path.write_bytes(words)


if __name__ == "__main__":
    sys.exit(main())
