"""Each alert begins at the number that it names, and after the time that it names: a little less, and it does not."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.chart import promtool
from tests.chart.rendering import CHART, Object

RULES = CHART / "files" / "rules.yaml"
Series = dict[str, str]
"""What Prometheus has of one case: values by metric, `LABELS` in it standing for those of the case."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Where an alert begins: what is just over it fires, from the minute `begins` on; what is below never does."""

    alert: str
    over: dict[str, Series]
    below: dict[str, Series]
    severity: str = "warning"
    begins: int | None = None
    by: str = "modeldeployment"

    def tests(self) -> list[Object]:
        labels = f'alertname="{self.alert}", severity="{self.severity}", alertstate="firing"'
        query = f'count by ({self.by}) (ALERTS{{{labels}, {self.by}=~"{"|".join([*self.over, *self.below])}"}})'
        firing = [{"labels": f'{{{self.by}="{case}"}}', "value": 1} for case in self.over]
        moments: dict[int, list[Object]] = {100: firing} | (
            {} if self.begins is None else {self.begins - 1: [], self.begins: firing}
        )
        return [{"expr": query, "eval_time": f"{minute}m", "exp_samples": found} for minute, found in moments.items()]

    def series(self) -> list[Object]:
        return [
            {"series": metric.replace("LABELS", f'{self.by}="{case}"'), "values": values}
            for case, found in {**self.over, **self.below}.items()
            for metric, values in found.items()
        ]


def burn(of: str, what: str, severity: str, long: str, short: str, most: float, begins: int) -> Limit:
    def case(*values: float) -> Series:
        metrics = (f"{of}:burnrate{long}", f"{of}:burnrate{short}", f"{what}:increase{long}")
        return {f"modeldeployment:{each}{{LABELS}}": f"{value}x100" for each, value in zip(metrics, values, strict=True)}

    over, name = most * 1.01, f"{of}-{long}"
    below = {f"{name}-long": case(most, over, 10), f"{name}-short": case(over, most, 10), f"{name}-few": case(over, over, 9)}
    alert = {"slo_availability": "ModelDeploymentErrorBudgetBurn", "slo_latency": "ModelDeploymentLatencyBudgetBurn"}[of]
    return Limit(alert, {name: case(over, over, 10)}, below, severity, begins)


def shares(metric: str, label: str, bad: str, good: str, share: int) -> Series:
    """Of a thousand a minute, so many that are bad."""
    return {f'{metric}{{LABELS, {label}="{value}"}}': f"0+{number}x100" for value, number in ((bad, share), (good, 1000 - share))}


def out_of_range(share: float, rows: float) -> Series:
    """So many rows an hour."""
    return {
        'modeldeployment_feature:ml_out_of_range:rate5m{LABELS, feature="age"}': f"{share * rows / 3600}x100",
        "modeldeployment_prediction_class:ml_predictions:rate5m{LABELS}": f"{rows / 3600}x100",
    }


NOT_READY = {
    'modeldeployment_status_condition{LABELS, condition="Ready", status="true"}': "0x100",
    'modeldeployment_status_ready_reason{LABELS, reason="Unschedulable"}': "1x100",
}
RECONCILES = ("modeldeployment_reconciles_total", "result", "error", "ok")
REQUESTS = ("modeldeployment_registry_requests_total", "code", "none", "200")
LIMITS = [
    *(
        burn(of, what, *windows)
        for of, what in (("slo_availability", "ml_request_errors"), ("slo_latency", "ml_slow_requests"))
        for windows in (("critical", "1h", "5m", 14.4, 2), ("critical", "6h", "30m", 6, 2), ("warning", "3d", "6h", 1, 15))
    ),
    Limit(
        "ModelDeploymentRolloutStuck",
        {"stuck": NOT_READY},
        {"taken-back": {**NOT_READY, 'modeldeployment_status_hold{LABELS, by="Operator"}': "1x100"}},
        begins=30,
    ),
    Limit(
        "ModelDeploymentCrashLooping",
        {"three-times": {"modeldeployment_pod_restarts_total{LABELS}": "0x80 1 2 3x20"}},
        {"twice": {"modeldeployment_pod_restarts_total{LABELS}": "0x80 1 2x20"}},
    ),
    Limit("ModelDeploymentOutOfRange", {"odd": out_of_range(0.202, 3600)}, {"as-usual": out_of_range(0.198, 3600)}, begins=16),
    Limit("ModelDeploymentOutOfRange", {"some": out_of_range(0.9, 104)}, {"few": out_of_range(0.9, 97)}),
    Limit(
        "ModelDeploymentReconcileErrors",
        {"failing": shares(*RECONCILES, 102)},
        {"now-and-then": shares(*RECONCILES, 98)},
        begins=16,
        by="namespace",
    ),
    Limit(
        "ModelDeploymentWatchStale",
        {"silent": {"modeldeployment_watch_age_seconds{LABELS}": "151x100"}},
        {"quiet": {"modeldeployment_watch_age_seconds{LABELS}": "150x100"}},
        begins=5,
        by="namespace",
    ),
    Limit(
        "ModelDeploymentRegistryUnreachable",
        {"away": shares(*REQUESTS, 510)},
        {"shaky": shares(*REQUESTS, 490)},
        begins=11,
        by="registry",
    ),
]


def test_an_alert_begins_where_it_says(tmp_path: Path) -> None:
    """From what is recorded, as if it were so for long: three days of requests take promtool too long."""
    test = {
        "interval": "1m",
        "input_series": [series for limit in LIMITS for series in limit.series()],
        "promql_expr_test": [test for limit in LIMITS for test in limit.tests()],
    }
    (tmp_path / "test.yaml").write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    assert "SUCCESS" in promtool.run("test", "rules", tmp_path / "test.yaml")


ABOUT = '{namespace="team", modeldeployment="fraud"}'
RATES = {"ml_requests": "10x400", "ml_request_errors": "0x354 1x46", "ml_slow_requests": "0x354 1x46"}
"""For six hours and more, a second: of ten requests one fails, and one is late, in the last 45 minutes."""
FAILED = {"30m": 1800, "1h": 2700, "6h": 2700}
ASKED = {"30m": 18_000, "1h": 36_000, "6h": 216_000}
FAULTS = {"Internal": 1, "NotReady": 2, "Overloaded": 4, "PredictionTooSlow": 8}
"""Each in a number of its own, so that the sum says which were counted."""


def test_what_is_recorded_is_about_the_time_and_the_failures_that_its_name_says(tmp_path: Path) -> None:
    promised = {"modeldeployment_slo_availability_ratio": "0.999x400", "modeldeployment_slo_latency_seconds": "0.1x400"}
    given = {f"modeldeployment:{name}:rate5m": values for name, values in RATES.items()} | promised
    expected: dict[str, float] = {f"modeldeployment:ml_requests:increase{window}": ASKED[window] for window in ASKED}
    for name, of, budget in (("ml_request_errors", "slo_availability", 0.001), ("ml_slow_requests", "slo_latency", 0.01)):
        expected |= {f"modeldeployment:{name}:increase{window}": FAILED[window] for window in FAILED}
        expected |= {f"modeldeployment:{of}:burnrate{window}": FAILED[window] / ASKED[window] / budget for window in FAILED}
        expected[f"modeldeployment:{of}:burnrate5m"] = 0.1 / budget
    series = [{"series": f"{name}{ABOUT}", "values": values} for name, values in given.items()]

    errors = FAULTS | {"InvalidFeatures": 16}
    counted = {
        f'ml_prediction_errors_total{{modeldeployment="churn", error_type="{kind}"}}': each for kind, each in errors.items()
    }
    counted['ml_prediction_latency_seconds_count{modeldeployment="churn"}'] = 45
    series += [{"series": name, "values": f"0+{each}x400"} for name, each in counted.items()]

    near = {f"{name}{ABOUT}": value for name, value in expected.items()}
    near['modeldeployment:ml_request_errors:rate5m{modeldeployment="churn"}'] = sum(FAULTS.values()) / 60
    near['modeldeployment:ml_requests:rate5m{modeldeployment="churn"}'] = (45 + sum(FAULTS.values())) / 60
    asked = [
        {"expr": f"count(abs({name} / {value} - 1) < 0.04)", "eval_time": "400m", "exp_samples": [{"labels": "{}", "value": 1}]}
        for name, value in near.items()
    ]
    recorded = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "record" in rule]
    rarely = {"groups": [{"name": "recorded", "interval": "5m", "rules": recorded}]}  # what goes in is there every minute
    (tmp_path / "rules.yaml").write_text(json.dumps(rarely))
    test = {"interval": "1m", "input_series": series, "promql_expr_test": asked}
    (tmp_path / "test.yaml").write_text(json.dumps({"rule_files": ["rules.yaml"], "tests": [test]}))
    assert "SUCCESS" in promtool.run("test", "rules", tmp_path / "test.yaml")
