"""One JSON object a line, about which resource it is, and nothing that lets its holder in."""

import json
import logging
import sys
from typing import Any

import kopf
import pytest
from kopf._core.actions import loggers

from controller import logs
from tests.unit.controller.world import World, deployed


def line(**record: Any) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(logs.JsonFormatter().format(logging.makeLogRecord(record)))
    return parsed


def test_a_line_says_what_about_whom() -> None:
    before = logs.resource.set("team/fraud")
    try:
        written = line(msg="RolledBack", levelname="WARNING", name="controller.cluster", told="version 2 failed", attempts=2)
    finally:
        logs.resource.reset(before)
    time = str(written.pop("time"))
    assert (len(time), time[-1]) == (len("2026-01-01T00:00:00.000Z"), "Z")
    assert written == {
        "level": "warning",
        "event": "RolledBack",
        "logger": "controller.cluster",
        "resource": "team/fraud",
        "told": "version 2 failed",
        "attempts": 2,
    }


def test_a_line_of_kopfs_says_about_whom_and_not_all_that_kopf_was_told(caplog: pytest.LogCaptureFixture) -> None:
    body = kopf.Body({"metadata": {"namespace": "team", "name": "fraud"}})
    loggers.LocalObjectLogger(body=body, settings=kopf.OperatorSettings()).error("Handler failed")
    (record,) = caplog.records
    written = json.loads(logs.JsonFormatter().format(record))
    del written["time"]
    assert written == {"level": "error", "event": "Handler failed", "logger": "kopf.objects", "resource": "team/fraud"}


async def test_every_line_of_a_reconcile_is_about_its_resource(world: World) -> None:
    await deployed(world)
    assert line(msg="anything")["resource"] == "team/fraud"


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("url='https://bucket.example/a/b?X-Amz-Signature=secret'", "url='https://bucket.example/a/b?...'"),
        ("http://me:secret@mlflow:5000/api and http://x/?a=secret#b", "http://mlflow:5000/api and http://x/?..."),
        ("postgresql://me:se@cret@db/mlflow, asked by you@team.example", "postgresql://db/mlflow, asked by you@team.example"),
        ("is version 3 the right one? yes", "is version 3 the right one? yes"),
    ],
    ids=["a signature", "a password", "a password with an @", "a question"],
)
def test_no_address_lets_anybody_in(said: str, written: str) -> None:
    assert line(msg=said)["event"] == written
    assert line(msg="x", error=ValueError(said))["error"] == written
    try:
        raise ValueError(said)
    except ValueError:
        assert str(line(msg="x", exc_info=sys.exc_info())["exception"]).endswith(f"ValueError: {written}")


def test_a_shell_gets_text() -> None:
    record = logging.makeLogRecord({"msg": "Started", "levelname": "INFO", "name": "controller", "part": "store"})
    assert logs.TextFormatter().format(record).split(" ", 1)[1] == "INFO    Started logger=controller part=store"
