"""`python -m server [serve | fetch | compile | healthcheck]`: the serving process, the init step and its second half, the
image's health check."""

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType

from server import logs, settings
from server.errors import Fatal, NotCompiled, Unexpected
from server.report import Report
from server.settings import Settings

MAX_MESSAGE_BYTES = 2000

log = logging.getLogger("server")


def main() -> int:
    """Run one of them; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m server", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("serve", "fetch", "compile", "healthcheck"), default="serve")
    parser.add_argument("--log-format", choices=("json", "text"), default="json", help="text: for a shell")
    arguments = parser.parse_args()
    command: str = arguments.command
    logs.configure(arguments.log_format)
    signal.signal(signal.SIGTERM, _stop)
    told: Settings | None = None
    try:
        told = settings.parse(os.environ)
        logs.configure(arguments.log_format, told.log_level, told.resource)
        if command == "healthcheck":
            return _healthcheck(told)
        _run(command, told)
    except Exception as e:
        return _last_words(e, told.termination_message_path if told else settings.TERMINATION_LOG)
    return 0


def _run(command: str, told: Settings) -> None:
    """The imports stand here because each command needs other ones, and a probe should not wait for scikit-learn."""
    if command == "fetch":
        from server.fetch import fetch

        fetch(told)
        _say(_compile(told), told)
    elif command == "compile":
        from server.compilation import compile_directory

        compile_directory(told)
    else:
        from server.serve import serve

        serve(told)


def _compile(told: Settings) -> Report | None:
    """What came of it; None where nothing is to be compiled."""
    if told.engine == "Native":
        return None
    from server.apart import compile_apart

    return compile_apart(told)


def _say(report: Report | None, told: Settings) -> None:
    """What the pod's server will answer with, where the controller can read it; or why it can't go on."""
    reason = None if report is None else report.reason
    if reason is not None and told.engine == "Compiled":
        raise NotCompiled.because(reason)
    said = {"engine": "sklearn" if report is None or reason is not None else "compiled"}
    if reason is not None:
        said["engineReason"] = reason
    if told.termination_message_path.exists():
        told.termination_message_path.write_text(json.dumps(said))


def _stop(number: int, _: FrameType | None) -> None:
    """The first process of a container ignores every signal that it has no handler for. `serve` brings a better one."""
    sys.exit(128 + number)


def _healthcheck(told: Settings) -> int:
    """A connection without any proxy, whatever the environment says: the port is of this very container."""
    try:
        with contextlib.closing(HTTPConnection("127.0.0.1", told.management_port, timeout=5)) as connection:
            connection.request("GET", "/readyz")
            return 0 if connection.getresponse().status == 200 else 1
    except (OSError, HTTPException):
        return 1


def _last_words(error: Exception, path: Path) -> int:
    """What the controller reads when the process is gone: JSON, cut so that it stays JSON. Returns the exit code."""
    fatal = error if isinstance(error, Fatal) else _unexpected(error)
    message = str(fatal)
    log.error("cannot go on", extra={"reason": fatal.reason, "detail": message}, exc_info=None if fatal is error else error)
    while len(words := json.dumps({"reason": fatal.reason, "message": message}).encode()) > MAX_MESSAGE_BYTES:
        message = message[: len(message) * 9 // 10 - 1] + "…"
    if path.exists():
        path.write_bytes(words)
    return fatal.exit_code


def _unexpected(error: Exception) -> Unexpected:
    """Only the kind: nobody knows what the text has in it."""
    return Unexpected(f"The process ended with an unexpected {type(error).__name__}. Look at its log for where that happened.")


if __name__ == "__main__":
    sys.exit(main())
