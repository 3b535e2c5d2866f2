"""How fast a model is said to be, where the machine has other things to do."""

from types import SimpleNamespace
from typing import Any

import pytest

from training import measure


@pytest.mark.parametrize(("busy", "seconds"), [(0, 0.001), (150, 0.001), (300, 0.1)])
def test_a_row_is_as_fast_as_in_the_calmest_round(monkeypatch: pytest.MonkeyPatch, busy: int, seconds: float) -> None:
    """`busy`: so many of the rows take a hundred times longer than the model does."""
    clock = SimpleNamespace(now=0.0, asked=0)

    def predict(rows: list[Any]) -> None:
        clock.asked += 1
        clock.now += 0.1 if clock.asked <= busy else 0.001

    monkeypatch.setattr(measure, "SECONDS", 60)
    monkeypatch.setattr("training.measure.time", SimpleNamespace(perf_counter=lambda: clock.now))
    engine: Any = SimpleNamespace(predict=predict)
    assert measure.row_seconds(engine, [[1.0], [2.0]]) == pytest.approx(seconds)
    assert clock.asked == measure.ROUNDS * measure.ROWS
