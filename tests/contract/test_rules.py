"""What alerts and recorded rules ask Prometheus for is what controller and server tell it."""

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
from tests.unit.controller.fake_cluster import FakeCluster, Watches

RULES = Path(__file__).parents[2] / "charts" / "modeldeployment-operator" / "files" / "rules.yaml"

asked = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def names(families: Iterable[Metric]) -> Iterator[str]:
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    return (f"{family.name}{suffix}" for family in families for suffix in suffixes.get(family.type, [""]))


def test_every_metric_that_a_rule_uses_is_there() -> None:
    of_operator = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    told = {
        *names(family for each in of_operator for family in each.describe()),
        *names(ResourceMetrics(Watches(FakeCluster())).describe()),
        *names(Metrics().registry.collect()),
    }
    # What is recorded has a colon in its name.
    used = {name for expr in asked for name in re.findall(r"(?<![\w:])(?:modeldeployment|ml)_\w+(?![\w:])", expr)}
    assert {"ml_model_info", "modeldeployment_status_hold", "modeldeployment_pod_restarts_total"} <= used
    assert used <= told


def test_the_values_of_labels_that_a_rule_names_are_there() -> None:
    def named(label: str) -> set[str]:
        return {value for expr in asked for found in re.findall(rf'{label}=~?"(.*?)"', expr) for value in found.split("|")}

    assert named("error_type") <= set(REFUSALS)
    assert named("error_type") and named("condition") <= set(CONDITIONS)
    assert named("by") == {"Person", "Operator"}
