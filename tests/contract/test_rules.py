"""What alerts, recorded rules and dashboards ask Prometheus for is what controller and server tell it."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from controller import metrics
from controller.resource_metrics import CONDITIONS, ResourceMetrics
from server.errors import REFUSALS
from server.metrics import Metrics
from tests.chart.dashboards import BOARDS, choices, queries
from tests.unit.controller.fake_cluster import FakeCluster, Watches

CHART = Path(__file__).parents[2] / "charts" / "modeldeployment-operator"
RULES = CHART / "files" / "rules.yaml"

rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
asked = [rule["expr"] for rule in rules]

OF_KUBELET = {
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_spec_cpu_period",
    "container_spec_cpu_quota",
    "container_spec_memory_limit_bytes",
}
"""Of its cAdvisor: what no process in a pod tells of itself."""
OF_TARGETS = {"namespace", "pod", "container"}
"""Labels that the Prometheus Operator adds to whatever a pod tells."""
OF_MODELS = {"modeldeployment"}
"""What a ModelDeployment's ServiceMonitor adds."""


def labeled(families: Iterable[Metric]) -> Iterator[tuple[str, set[str]]]:
    """Names and labels as they are exported."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    for family in families:
        labels = {*getattr(family, "_labelnames", ()), *(label for sample in family.samples for label in sample.labels)}
        for suffix in suffixes.get(family.type, [""]):
            yield f"{family.name}{suffix}", labels | ({"le"} if suffix == "_bucket" else set())


def exported() -> dict[str, set[str]]:
    """Every metric, with its labels."""
    told = dict(labeled(ResourceMetrics(Watches(FakeCluster())).describe()))
    for each in vars(metrics).values():
        if isinstance(each, MetricWrapperBase):
            told |= {name: {*labels, *each._labelnames} for name, labels in labeled(each.describe())}
    server = Metrics()
    told |= {name: labels | OF_MODELS for name, labels in labeled(server.registry.collect())}
    for each in vars(server).values():
        if isinstance(each, MetricWrapperBase):
            told |= {name: {*labels, *each._labelnames, *OF_MODELS} for name, labels in labeled(each.describe())}
    return {name: labels | OF_TARGETS for name, labels in told.items()}


def recorded() -> dict[str, set[str]]:
    return {
        rule["record"]: {*labels_in(rule["expr"], "by"), *rule.get("labels", {}), "namespace", "modeldeployment"}
        for rule in rules
        if "record" in rule
    }


def labels_in(expr: str, clause: str) -> set[str]:
    """Labels that an expression groups by, or joins on."""
    return {label for found in re.findall(rf"\b(?:{clause}) \((.*?)\)", expr) for label in re.findall(r"\w+", found)}


def test_every_metric_that_a_rule_uses_is_there() -> None:
    # What is recorded has a colon in its name.
    used = {name for expr in asked for name in re.findall(r"(?<![\w:])(?:modeldeployment|ml)_\w+(?![\w:])", expr)}
    assert {"ml_model_info", "modeldeployment_status_hold", "modeldeployment_pod_restarts_total"} <= used
    assert used <= exported().keys()


def test_every_metric_and_label_that_a_runbook_asks_for_is_there() -> None:
    known = {**exported(), **recorded()}
    asked_for = re.findall(r"\b((?:modeldeployment[_:]|ml_)[\w:]+)\{(.*?)\}", (CHART / "runbooks.md").read_text())
    assert len(asked_for) > 5
    for name, selected in asked_for:
        assert set(re.findall(r'(\w+)="', selected)) <= known[name], name


def test_every_metric_and_label_that_a_dashboard_uses_is_there() -> None:
    known = {**exported(), **recorded(), **dict.fromkeys(OF_KUBELET, OF_TARGETS)}
    used = set()
    for query in queries():
        selectors = re.findall(r"\b((?:modeldeployment[_:]|ml_|process_|container_)[\w:]*)(?:\{(.*?)\})?", query.expr)
        used |= {name for name, _ in selectors}
        assert {name for name, _ in selectors} <= known.keys(), query
        for name, selected in selectors:
            assert set(re.findall(r'(\w+)(?:=|!=|=~|!~)"', selected)) <= known[name], query
        labels = set().union(*(known[name] for name, _ in selectors))
        assert labels_in(query.expr, "by|on|ignoring|group_left|group_right") <= labels, query
        assert query.shown <= labels, query
    for board in BOARDS:
        for series, label in choices(board).values():
            assert label in known[series.partition("{")[0]]
    assert {"modeldeployment_info", "ml_predictions_in_progress", "modeldeployment:ml_requests:rate5m"} <= used
    assert used >= OF_KUBELET


def test_the_values_of_labels_that_a_rule_names_are_there() -> None:
    def named(label: str) -> set[str]:
        return {value for expr in asked for found in re.findall(rf'{label}=~?"(.*?)"', expr) for value in found.split("|")}

    assert named("error_type") <= set(REFUSALS)
    assert named("error_type") and named("condition") <= set(CONDITIONS)
    assert named("by") == {"Person", "Operator"}
