"""What is understood of wrk."""

from pathlib import Path

import pytest

from tests.bench import closed_loop
from tests.bench.closed_loop import Asked

SAID = """Running 1s test @ http://127.0.0.1:18403/predict
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
  Socket errors: connect 0, read 2, write 0, timeout 3
  Non-2xx or 3xx responses: 100
Requests/sec:   1000.00
{"requests": 2100, "microseconds": 2000000, "p50": 850, "p95": 1500, "p99": 12000, "status": 100, "socket": 2, "timeout": 3}
"""


def test_only_good_answers_are_speed_and_all_others_are_failures() -> None:
    seen = closed_loop.parsed(SAID)
    assert (seen.answered, seen.per_second, seen.failed) == (2000, 1000.0, 105)
    assert (seen.p50_ms, seen.p95_ms, seen.p99_ms) == (0.85, 1.5, 12.0)


def test_nothing_answered_is_no_error() -> None:
    said = '{"requests": 0, "microseconds": 1000000, "p50": 0, "p95": 0, "p99": 0, "status": 0, "socket": 0, "timeout": 16}'
    assert closed_loop.parsed(said).per_second == 0


def test_the_script_names_headers_and_bodies(tmp_path: Path) -> None:
    prefix = tmp_path / 'a "b" '
    count = closed_loop.write(prefix, [b"{}", b"[]"])
    script = closed_loop.script(Asked(80, "/predict", {"X-Size": "7"}, prefix, count))
    assert 'wrk.headers["X-Size"] = "7"' in script and r"a \"b\" " in script and "number = 0, 2 - 1" in script
    assert [Path(f"{prefix}{number}").read_bytes() for number in range(2)] == [b"{}", b"[]"]


def test_what_is_no_answer_of_the_script_is_not_taken_for_one() -> None:
    with pytest.raises(ValueError):
        closed_loop.parsed("unable to connect to 127.0.0.1:80 Connection refused")
