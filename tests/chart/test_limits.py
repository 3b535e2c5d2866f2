"""Each alert begins at the number that it names, and after the time that it names: a little less, and it does not."""

import json
from dataclasses import dataclass
from pathlib import Path

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
