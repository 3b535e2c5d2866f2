"""What the spec says about a model's trust and speed holds in the pod."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from server import loading, validation
from server.artifact import Bounds
from server.errors import InvalidFeatures, LatencyTooHigh, LoadTooSlow, OutOfBounds, PickleDenied, TypesUntrusted
from server.metrics import Metrics
from server.pod import Serving
from server.signature import Columns
from server.table import Column
from tests.unit.server import factories
from tests.unit.server.conftest import Model

SOON = (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def load(directory: Path, metrics: Metrics | None = None, **changes: Any) -> Serving:
    serving = loading.load(factories.told(directory, **changes), metrics or Metrics())
    serving.predictor.close()
    return serving


class TestTrust:
    def test_a_pickle_is_not_opened_where_pickles_are_denied(self, model: Model) -> None:
        with pytest.raises(PickleDenied, match=r"written with cloudpickle.*serialization_format='skops'"):
            load(model("forest"), trust={"pickle": "Deny"})

    def test_skops_is_no_pickle(self, model: Model) -> None:
        assert load(model("skops"), trust={"pickle": "Deny"}).verified == "Answered"

    def test_a_refusal_shows_what_to_allow_and_that_is_enough(self, model: Model) -> None:
        with pytest.raises(TypesUntrusted, match="has types that nobody has allowed") as refused:
            load(model("splines"))
        (allow,) = re.findall(r"spec\.trust\.(skopsTypes: \[.*\])", str(refused.value))
        assert load(model("splines"), trust=yaml.safe_load(allow)).engine is not None

    def test_a_refusal_keeps_what_is_allowed_already(self, model: Model) -> None:
        with pytest.raises(TypesUntrusted, match=re.escape(f"[own.Type, {', '.join(factories.SPLINE_TYPES)}]")):
            load(model("splines"), trust={"skopsTypes": ["own.Type", factories.SPLINE_TYPES[1]]})


class TestGates:
    def test_a_load_that_is_too_slow_is_refused_with_both_values(self, model: Model) -> None:
        with pytest.raises(LoadTooSlow, match=r"took \d+\.\d\d seconds to load, and spec.gates.maxLoadSeconds is 1e-06"):
            load(model("forest"), gates={"maxLoadSeconds": 1e-6, "until": SOON})

    def test_a_prediction_that_is_too_slow_is_refused_with_both_values(self, model: Model) -> None:
        with pytest.raises(LatencyTooHigh, match=r"took up to [\d.]+ ms, and spec.gates.maxLatencyP95Milliseconds is 0.001"):
            load(model("forest"), gates={"maxLatencyP95Milliseconds": 0.001, "until": SOON})

    def test_a_model_that_is_fast_enough_passes(self, model: Model) -> None:
        assert load(model("forest"), gates={"maxLoadSeconds": 60, "maxLatencyP95Milliseconds": 5000, "until": SOON})

    def test_a_pod_that_comes_later_is_not_judged(self, model: Model) -> None:
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        assert load(model("forest"), gates={"maxLoadSeconds": 1e-6, "maxLatencyP95Milliseconds": 0.001, "until": past})

    def test_what_was_measured_is_exported_in_any_case(self, model: Model) -> None:
        metrics = Metrics()
        load(model("forest"), metrics)
        text = metrics.exposition()[0].decode()
        (p95,) = [float(line.split()[1]) for line in text.splitlines() if line.startswith("ml_warm_up_p95_seconds ")]
        assert 0 < p95 < 5

    def test_without_an_example_there_is_nothing_to_measure(self, model: Model, tmp_path: Path) -> None:
        silent = factories.altered(model("mixed"), tmp_path / "model", lambda said: said.pop("saved_input_example_info", None))
        metrics = Metrics()
        load(silent, metrics, gates={"maxLatencyP95Milliseconds": 0.001, "until": SOON})
        assert "ml_warm_up_p95_seconds NaN" in metrics.exposition()[0].decode()

    def test_the_95th_percentile_of_twenty_is_the_19th(self) -> None:
        assert loading._percentile_95([float(number) for number in range(20, 0, -1)]) == 19.0
        assert loading._percentile_95([3.0]) == 3.0

    def test_a_slow_model_is_asked_less_often(self, model: Model) -> None:
        serving = loading.load(factories.told(model("forest")), Metrics())
        assert len(serving.predictor.warm_up(serving.artifact.example[0], 100, 0.0)) == 20  # type: ignore[index]  # None would fail the test
        assert len(serving.predictor.warm_up(serving.artifact.example[0], 30, 60.0)) == 30  # type: ignore[index]  # None would fail the test
        serving.predictor.close()


class TestOutOfRange:
    INPUTS = Columns(columns=(Column(name="age", type="double"),))
    BOUNDS = Bounds(seen={"age": (18.0, 90.0)}, declared={"age": (0.0, 120.0)})

    def test_it_is_flagged_unless_the_spec_wants_it_refused(self) -> None:
        assert validation.validator(self.INPUTS, self.BOUNDS).records([{"age": 99}]).out_of_range == {"age": 1}
        rejecting = validation.validator(self.INPUTS, self.BOUNDS, reject_unseen=True)
        with pytest.raises(OutOfBounds, match="row 1: age is 99, 18 to 90 is possible: training has seen no other"):
            rejecting.records([{"age": 99}])
        assert rejecting.records([{"age": 18}]).out_of_range == {}

    def test_a_mistake_is_still_a_mistake(self) -> None:
        rejecting = validation.validator(self.INPUTS, self.BOUNDS, reject_unseen=True)
        with pytest.raises(InvalidFeatures, match="age is missing"):
            rejecting.records([{}])

    def test_the_pod_is_told(self, model: Model) -> None:
        row = {**factories.FOREST_ROW, "mean area": 9000.0}
        assert load(model("forest")).validator.records([row]).out_of_range == {"mean area": 1}
        with pytest.raises(OutOfBounds):
            load(model("forest"), outOfRange="Reject").validator.records([row])
