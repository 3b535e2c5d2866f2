"""The access log: little of what goes well, mistakes within a limit, and nothing that was asked."""

import logging
from typing import Any

import pytest

from server import access
from server.access import ERRORS_PER_SECOND, Access


class Clock:
    now = 1000.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(access, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    wanted = ("levelname", "method", "path", "status", "seconds", "error", "errors_left_out")
    return [{key: vars(record)[key] for key in wanted if key in vars(record)} for record in caplog.records]


def ask(log: Access, times: int, status: int = 200, error: str | None = None) -> None:
    for _ in range(times):
        log.answered("POST", "/predict", status, 999.5, b"1", (), error)


@pytest.mark.parametrize(("per_second", "expected"), [(1, 3), (2, 6), (0.5, 2), (0, 0)])
def test_of_what_goes_well_there_are_so_many_lines_a_second(
    clock: Clock, caplog: pytest.LogCaptureFixture, per_second: float, expected: int
) -> None:
    log = Access(per_second)
    for _ in range(30):
        ask(log, 1000)
        clock.now += 0.1
    assert len(caplog.records) == expected
    assert all(record.levelname == "INFO" for record in caplog.records)


def test_mistakes_are_always_written_and_told_from_faults(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = Access(0)
    ask(log, 1, 422, "InvalidFeatures")
    ask(log, 1, 500, "Internal")
    said = {"method": "POST", "path": "/predict", "seconds": 0.5}
    assert lines(caplog) == [
        {"levelname": "INFO", "status": 422, "error": "InvalidFeatures"} | said,
        {"levelname": "WARNING", "status": 500, "error": "Internal"} | said,
    ]


def test_more_of_them_than_a_log_can_take_are_counted(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = Access(0)
    ask(log, ERRORS_PER_SECOND + 7, 503)
    assert len(caplog.records) == ERRORS_PER_SECOND
    clock.now += 1
    ask(log, 2, 503)
    assert [line.get("errors_left_out") for line in lines(caplog)[-2:]] == [7, None]


def test_a_path_is_cut(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    Access(1).answered("GET", "/" * 100_000, 404, 999.5, b"1", ())
    assert len(lines(caplog)[0]["path"]) == access.MAX_PATH
