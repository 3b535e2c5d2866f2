"""One JSON object a line, without what was in the request."""

import asyncio
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest

from server import logs
from server.settings import Resource

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """What `configure` changes is of the whole process."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook)
    yield
    root.handlers[:], level, sys.excepthook, threading.excepthook, sys.unraisablehook = before
    root.setLevel(level)
    logging.captureWarnings(False)


def line(record: logging.LogRecord) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(logs.JsonFormatter(Resource(namespace="team", name="fraud")).format(record))
    return parsed


def test_a_line_has_what_was_said_and_for_which_request() -> None:
    before = logs.request.set((b"abc-1", [(b"traceparent", PARENT.encode())]))
    try:
        record = logging.makeLogRecord({"msg": "fetched %s\n", "args": ("x",), "levelname": "INFO", "name": "server", "bytes": 5})
        written = line(record)
    finally:
        logs.request.reset(before)
    assert {key: value for key, value in written.items() if key != "time"} == {
        "level": "info",
        "event": "fetched x",
        "logger": "server",
        "resource": "team/fraud",
        "request_id": "abc-1",
        "trace_id": TRACE,
        "bytes": 5,
    }
    assert len(str(written["time"])) == len("2026-01-01T00:00:00.000Z") and str(written["time"]).endswith("Z")


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ([PARENT], True),
        ([PARENT.replace("00-", "cc-", 1) + "-more"], True),
        ([PARENT.replace("00-", "ff-", 1)], False),
        ([PARENT.replace(TRACE, "0" * 32)], False),
        ([PARENT.upper()], False),
        ([PARENT, PARENT], False),
        (["confidential"], False),
        ([], False),
    ],
    ids=["one", "a later version's", "no version", "no trace", "not as written", "two", "something else", "none"],
)
def test_only_a_trace_parent_names_a_trace(said: list[str], known: bool) -> None:
    headers = [(b"traceparent", each.encode()) for each in said]
    assert logs.of_request(b"1", headers) == {"request_id": "1"} | ({"trace_id": TRACE} if known else {})


def test_an_exception_says_where_and_not_what() -> None:
    try:
        raise ValueError("could not convert 'confidential'")
    except ValueError:
        written = line(logging.makeLogRecord({"msg": "unexpected error", "exc_info": sys.exc_info()}))
    assert written["exception"] == "ValueError" and "test_logs.py" in str(written["stack"])
    assert "confidential" not in json.dumps(written)


def test_what_nobody_caught_and_what_python_warns_of_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("confidential")

    logs.configure("json")
    loading = threading.Thread(target=fail, name="load")
    loading.start()
    loading.join()
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(logs.of_loop)
        runner.get_loop().call_soon(fail)
        runner.run(asyncio.sleep(0))
    try:
        fail()
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("odd", stacklevel=1)
    printed = capsys.readouterr()
    written = [json.loads(each) for each in printed.out.splitlines()]
    assert [each.get("in", each["logger"]) for each in written] == ["load", "event loop", "process", "py.warnings"]
    assert (printed.err, "confidential" in printed.out) == ("", False)


def test_a_shell_gets_text_of_the_level_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "Warning")
    log = logging.getLogger("server")
    log.info("not this")
    log.warning("this", extra={"files": 2})
    time, *rest = capsys.readouterr().out.split(" ", 1)
    assert (time[-1], rest) == ("Z", ["WARNING this logger=server files=2\n"])
