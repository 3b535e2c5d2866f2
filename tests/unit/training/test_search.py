"""The optimizer's rule: what is within the limits, what nothing else beats, and that nothing is measured twice."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.factories import customers, numbers, settings, table
from training import optimize as optimizer
from training.command_optimize import compared
from training.command_run import step
from training.errors import InputError
from training.frontier import picture
from training.optimize import known
from training.search import (
    Choice,
    Found,
    Limits,
    Spec,
    bytes_shown,
    choose,
    default_metric,
    duration,
    failing,
    frontier,
    key,
    rows,
    size,
    specs,
    time_shown,
)


def found(name: str, quality: float, size: int, row: float = 1e-4, **changes: Any) -> Found:
    given: dict[str, Any] = {
        "key": name, "spec": Spec(kind="forest", trees=50), "folds": {"accuracy": (quality, 0.01)}, "size": size, "dump": size,
        "plain": size, "engine": "compiled", "load_seconds": 0.01, "row_seconds": row, "row_seconds_sklearn": 0.02,
        "batch_seconds": 0.05, "memory": 10 * size, "seconds": 1.0,
    }  # fmt: skip
    return Found(**{**given, **changes})


LARGE = found("large", 0.95, 100_000_000, 0.02, test={"accuracy": 0.94})
GOOD = found("good", 0.946, 5_000_000)
SMALL = found("small", 0.93, 1_000_000)
SLOW = found("slow", 0.96, 4_000_000, 0.03)
ALL = [LARGE, GOOD, SMALL, SLOW]


@pytest.mark.parametrize(
    ("limits", "chosen"),
    [
        ({}, "slow"),
        ({"max_p95": 0.005}, "good"),
        ({"max_p95": 0.005, "max_drop": 0.02}, "small"),
        ({"max_drop": 0.0}, "slow"),
        ({"max_p95": 0.025, "max_drop": 0.0}, "large"),
    ],
)
def test_the_smallest_within_the_limits_is_chosen(limits: dict[str, float], chosen: str) -> None:
    assert choose(ALL, Limits(metric="accuracy", **limits)).best.key == chosen


def test_of_two_of_one_size_the_better_one_is_chosen() -> None:
    assert choose([LARGE, GOOD, found("better", 0.947, GOOD.size)], Limits(metric="accuracy")).best.key == "better"


def test_where_none_is_within_the_limits_the_nearest_is_told() -> None:
    with pytest.raises(InputError) as raised:
        choose(ALL, Limits(metric="accuracy", max_size=500_000, max_p95=0.005))
    assert "None of 4 models is within the limits. Nearest is 50 trees" in str(raised.value)
    assert "5 MB large" in str(raised.value)
    assert failing(SMALL, LARGE, Limits(metric="accuracy", max_size=500_000)) == ["accuracy 0.0200 lower", "1 MB large"]


def test_the_frontier_has_what_nothing_beats_in_size_and_quality() -> None:
    assert [each.key for each in frontier(ALL, "accuracy")] == ["small", "slow"]


def test_the_grid_and_the_models_beside_it() -> None:
    wanted = specs(balance=False)
    assert len(wanted) == len({str(spec.recipe) for spec in wanted}) == 30
    assert (wanted[0].trees, wanted[0].max_depth) == (500, None)
    assert {spec.kind for spec in wanted} == {"forest", "linear", "boosting"}


def test_a_key_knows_the_table_the_recipe_and_the_settings() -> None:
    one, two = specs(balance=False)[:2]
    whole = table(customers())
    keys = [
        key(whole, one, settings()),
        key(whole, two, settings()),
        key(whole, one, settings(seed=7)),
        key(whole, one, settings(folds=3)),
        key(table(customers(seed=1)), one, settings()),
    ]
    assert len(set(keys)) == 5
    assert keys[0] == key(table(customers()), one, settings(alias="champion"))


def test_what_was_found_is_read_again_but_for_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert known(path) == {}
    whole = GOOD.model_dump_json()
    path.write_text(f"{whole}\n{SMALL.model_dump_json()[:40]}")
    assert known(path) == {"good": GOOD}


def test_what_was_found_before_an_interruption_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, tried = tmp_path / "results.jsonl", list[Spec]()

    def interrupted(_table: Any, _parts: Any, spec: Spec, name: str, *_: Any, test: bool) -> Found:
        tried.append(spec)
        if len(tried) % 3 == 0:
            raise KeyboardInterrupt
        return found(name, 0.9, 1000, spec=spec)

    monkeypatch.setattr(optimizer, "_tried", interrupted)
    monkeypatch.setattr(optimizer, "connected", lambda *_: None)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            optimizer.optimize(settings(data=written(tmp_path)), Limits(metric=""), path, step)
        with path.open("a") as file:
            file.write('{"cut": ')
    wanted = specs(balance=False)
    assert tried == [*wanted[:3], *wanted[2:5]]
    assert [each.spec for each in known(path).values()] == wanted[:4]


def written(place: Path) -> Path:
    numbers().to_csv(place / "t.csv", index=False)
    return place / "t.csv"


def test_what_is_compared_where_nobody_says() -> None:
    assert default_metric(table(customers()), rare=False) == "accuracy"
    assert default_metric(table(customers()), rare=True) == "pr_auc"


def test_sizes_and_durations() -> None:
    assert [size(text) for text in ("100MB", "1.5 Ki", "7")] == [100e6, 1536, 7]
    assert [duration(text) for text in ("5ms", "200us", "0.5 s")] == pytest.approx([0.005, 0.0002, 0.5])
    with pytest.raises(InputError, match='--max-size "big" is no size'):
        size("big")
    with pytest.raises(InputError, match='--max-p95 "5" is no duration'):
        duration("5")
    assert [bytes_shown(count) for count in (12, 5990, 1_050_000, 2.5e9)] == ["12 B", "5.99 kB", "1.05 MB", "2.5 GB"]
    assert [time_shown(seconds) for seconds in (36e-6, 0.0023, 1.5)] == ["36 µs", "2.3 ms", "1.5 s"]


def test_the_table_marks_the_choice_and_the_frontier() -> None:
    limits = Limits(metric="accuracy", max_p95=0.005)
    lines = rows(ALL, choose(ALL, limits), limits)
    assert lines[0][1] == "accuracy"
    assert [line[0][:2] for line in lines[1:]] == ["* ", "* ", "→ ", "  "]


def test_the_picture_and_the_figures_beside_the_large_model() -> None:
    choice = Choice(large=LARGE, best=GOOD, drop=0.004)
    assert picture(ALL, choice, Limits(metric="accuracy", max_size=1e7)).startswith(b"\x89PNG")
    text = compared(choice, {"accuracy": 0.937, "f1": 0.9})
    for part in ("0.940", "0.937", "-0.0030", "100 MB", "5 MB", "20 times less", "200 times less"):
        assert part in text
    assert "f1" not in text
