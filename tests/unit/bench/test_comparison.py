"""From rounds to what is quoted."""

import json
from typing import Any

import pytest

from tests.bench import comparison
from tests.bench.comparison import Sample, batch, closed, opened

KINDS = {
    "bare ASGI": "bare",
    "bare FastAPI": "bare",
    "ours": "ours",
    "ours, native": "ours",
    "A": "peer",
    "B": "peer that batches",
}
FAILED = {"failed": 0.0}


def rate(number: int, name: str, per_second: float, measure: str = closed(64), **more: float) -> Sample:
    times = {"p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0, "cpu_us": 40.0, "failed": 0.0}
    return Sample(number, name, measure, {"per_second": per_second} | times | more)


ROUNDS = [
    rate(1, "bare ASGI", 30_000),
    rate(1, "ours", 15_000),
    rate(1, "A", 100),
    rate(1, "B", 1_000),
    rate(2, "bare ASGI", 10_000),  # something else used the machine in the second round
    rate(2, "ours", 5_000),
    rate(2, "A", 50),
    rate(2, "B", 400),
    rate(3, "bare ASGI", 32_000),
    rate(3, "ours", 16_000),
    rate(3, "A", 110),
    rate(3, "B", 1_000),
]


def test_one_disturbed_round_changes_no_median() -> None:
    assert comparison.medians(ROUNDS)[closed(64)]["ours"]["per_second"] == 15_000


def test_a_ratio_is_taken_within_a_round() -> None:
    assert comparison.ratio(ROUNDS, closed(64), "per_second", "ours", "bare ASGI") == 0.5
    mixed = [rate(1, "ours", 10), rate(2, "bare ASGI", 20)]
    assert comparison.ratio(mixed, closed(64), "per_second", "ours", "bare ASGI") is None


def test_nothing_is_divided_by_a_server_that_answered_nothing() -> None:
    assert comparison.ratio([rate(1, "ours", 10), rate(1, "A", 0)], closed(64), "per_second", "ours", "A") is None


def test_the_best_peer_is_a_peer() -> None:
    assert comparison.best(ROUNDS, KINDS, closed(64), ["peer", "peer that batches"]) == ("B", 1_000)
    assert comparison.best(ROUNDS, KINDS, closed(64), ["peer"]) == ("A", 100)
    assert comparison.best(ROUNDS, KINDS, closed(16), ["peer"]) is None


def test_the_figures_that_are_quoted() -> None:
    tail = [rate(1, "ours", 500, opened(500), p99_ms=1.5), rate(1, "bare FastAPI", 500, opened(500), p99_ms=1.0)]
    fast = [rate(1, "ours", 5_000, opened(5_000), p99_ms=4.0, answered=9_900.0, sent=10_000.0)]
    rows = [
        rate(1, "ours", 80_000, batch(1024)),
        rate(1, "ours, V2 binary", 100_000, batch(1024)),
        rate(1, comparison.SKLEARN, 40_000, batch(1024)),
    ]
    once = {"ours": {"start_seconds": 1.2, "pss_after_mb": 90.0}}
    told = comparison.headline([*ROUNDS, *tail, *fast, *rows], KINDS, once)
    assert (told["bare_asgi_rps"], told["ours_rps"], told["ratio_to_bare_asgi"]) == (30_000, 15_000, 0.5)
    assert (told["best_peer"], told["best_peer_rps"], told["ratio_to_best_peer"]) == ("B", 1_000, 15.0)
    assert (told["best_peer_without_batching"], told["ratio_to_best_peer_without_batching"]) == ("A", pytest.approx(145.45, 0.01))
    assert (told["p99_ratio_at_500"], told["p99_ms_at_5000"], told["answered_share_at_5000"]) == (1.5, 4.0, 0.99)
    assert (told["cold_start_s"], told["pss_mb"]) == (1.2, 90.0)
    assert told["rows"]["1024"]["ratio_to_sklearn_in_process"] == 2.0
    assert told["rows"]["1024"]["json_share"] == pytest.approx(0.2)
    assert told["rows"]["32"]["json_share"] is None


def test_a_single_failure_is_not_lost_in_a_median() -> None:
    rounds = [{"p99_ms": float(number), "probe_max_ms": float(number), "failed": float(number)} for number in (1, 2, 30)]
    assert comparison.typical(rounds) == {"p99_ms": 2.0, "probe_max_ms": 30.0, "failed": 30.0}


def result(samples: list[Sample], absent: dict[str, str]) -> dict[str, Any]:
    seen = {
        "version": "a 1",
        "environment": "a",
        "start_seconds": 1.0,
        "first_start_seconds": 2.0,
        "pss_idle_mb": 50.0,
        "processes": 1,
    }
    machine = {"processors": 2, "processor": "x", "kernel": "6", "python": "3.11", "busy_before": 0.01, "stolen": 0.0}
    told = {
        "table": comparison.medians(samples),
        "once": {"ours": seen},
        "machine": machine,
        "environments_mb": {"a": 300.0},
        "image_mb": None,
        "overload": {},
        "servers": {"ours": {"settings": "defaults", "source": "us"}, "A": {"settings": "tuned", "source": "its guide"}},
        "absent": absent,
        "date": "today",
        "commit": "abc",
        "rounds": 3,
        "seconds": 3,
    }
    again: dict[str, Any] = json.loads(json.dumps(told))
    return again


def test_the_tables_survive_what_was_not_measured() -> None:
    text = comparison.markdown(result(ROUNDS, {"A": "it could not be installed: no network"}))
    assert "| A | tuned **Not measured: it could not be installed: no network** | its guide |" in text
    assert "| ours |  |  |  |  | 15,000 | 1.00 / 2.00 / 3.00 | 40 | 0 |" in text
    assert "not offered" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)
