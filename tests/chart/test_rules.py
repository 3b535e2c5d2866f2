"""Alerts: each has a test of its timing, a next command, and a page that leads on; and Helm changes nothing of them."""

import json
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller import pod_faults
from controller.api import NAME_LABEL
from controller.crd import custom_resource_definition
from tests.chart import promtool
from tests.chart.documentation import VALUES, documented
from tests.chart.rendering import CHART, NAME, Helm, Object, Rendered

RULES = CHART / "files" / "rules.yaml"
TIMED = Path(__file__).parent / "rules_test.yaml"
RUNBOOKS = (CHART / "runbooks.md").read_text()
CONTROLLER, GITHUB = (CHART.parents[1] / name for name in ("controller", ".github"))
REASONS = set(re.findall(r"`([A-Z]\w+)`", (CONTROLLER / "README.md").read_text()))

rules: list[Object] = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
alerts = [rule for rule in rules if "alert" in rule]


def key(alert: Object) -> str:
    return f"{alert['alert']}-{alert['labels']['severity']}"


each_alert = pytest.mark.parametrize("alert", alerts, ids=key)


tests_in_time = yaml.load(TIMED.read_text(), Loader=yaml.CSafeLoader)


@pytest.mark.parametrize("name", sorted({alert["alert"] for alert in alerts}))
def test_an_alert_fires_and_ends_when_it_should(name: str, tmp_path: Path) -> None:
    """One alert at a time: all of them take a busy machine longer than a test may."""
    chosen = [test for test in tests_in_time["tests"] if any(moment["alertname"] == name for moment in test["alert_rule_test"])]
    (tmp_path / "test.yaml").write_text(json.dumps({**tests_in_time, "rule_files": [str(RULES)], "tests": chosen}))
    assert "SUCCESS" in promtool.run("test", "rules", tmp_path / "test.yaml")


@cache
def timed() -> dict[str, set[str]]:
    """For each alert, as `key` names it, what the tests show of it."""
    shown: dict[str, set[str]] = defaultdict(set)
    every: dict[str, set[str]] = defaultdict(set)
    for alert in alerts:
        every[alert["alert"]].add(key(alert))
    for test in tests_in_time["tests"]:
        fired: dict[str, set[str]] = defaultdict(set)
        for moment in test["alert_rule_test"]:
            name = moment["alertname"]
            now = {f"{name}-{found['exp_labels']['severity']}" for found in moment["exp_alerts"]}
            for ended in fired[name] - now:
                shown[ended].add("it is over")
            fired[name] |= now
        for name, those in fired.items():
            for one in those:
                shown[one].add("it fires")
            if not those:
                for one in every[name]:
                    shown[one].add("it does not fire")
    return shown


@each_alert
def test_no_alert_is_without_a_test_of_each_kind(alert: Object) -> None:
    assert timed()[key(alert)] == {"it fires", "it does not fire", "it is over"}


@each_alert
def test_every_alert_says_what_to_do_next(alert: Object) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    said = alert["annotations"]
    assert said.keys() == {"summary", "description", "runbook_url"}
    assert said["summary"].endswith(".") and "{{" not in said["summary"], "one sentence for all: alerts are grouped by it"
    assert re.search(r": kubectl \w+", said["description"]), "the next command"
    assert set(re.findall(r"mlserving\.dev/\w+", said["description"])) <= {NAME_LABEL}
    page, _, anchor = said["runbook_url"].partition("#")
    assert CHART.parents[1] / page == CHART / "runbooks.md"
    assert anchor == alert["alert"].lower()


@each_alert
def test_every_alert_has_its_section_in_the_runbooks(alert: Object) -> None:
    (section,) = re.findall(rf"^## {alert['alert']}\n(.*?)(?=^## |\Z)", RUNBOOKS, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^\*\*(.*?)\*\*", section, re.MULTILINE) == ["It means", "Look", "Do", "It ends"]
    assert "    $ kubectl " in section


def to_do(alert: str) -> str:
    """What its section says is to be done."""
    said: list[str] = re.findall(rf"^## {alert}\n.*?^\*\*Do\*\*(.*?)^\*\*It ends\*\*", RUNBOOKS, re.MULTILINE | re.DOTALL)
    return "".join(said)


@pytest.mark.parametrize(
    ("alert", "rule", "label"),
    [
        ("ModelDeploymentRolloutStuck", "ModelDeploymentRolloutStuck", "reason"),
        ("ModelDeploymentRegistryUnreachable", "ModelDeploymentRegistryUnreachable", "code"),
        ("ModelDeploymentErrorBudgetBurn", "modeldeployment:ml_request_errors:rate5m", "error_type"),
    ],
)
def test_whatever_an_alert_goes_by_the_runbook_says_what_to_do(alert: str, rule: str, label: str) -> None:
    (expr,) = [each["expr"] for each in rules if rule in (each.get("alert"), each.get("record"))]
    (listed,) = re.findall(rf'{label}=~"(.*?)"', expr)
    assert [value for value in listed.replace("..", "xx").split("|") if f"`{value}`" not in to_do(alert)] == []


def test_the_runbook_of_a_crash_has_every_exit_code() -> None:
    codes = {str(code) for name, code in vars(pod_faults).items() if name.startswith("EXIT_")}
    assert {"65", "78"} <= codes <= set(re.findall(r"\d+", to_do("ModelDeploymentCrashLooping")))


def test_the_logs_of_several_pods_are_shown_also_where_one_has_none() -> None:
    """kubectl asks one after the other, in any order, and stops at the first that has none, unless it is told otherwise."""
    pages = [RUNBOOKS, *(path.read_text() for path in (RULES, GITHUB / "SUPPORT.md"))]
    commands = [found for page in pages for found in re.findall(r"kubectl logs .*? -l .*", page)]
    assert len(commands) > 8
    assert [command for command in commands if "--ignore-errors" not in command or "--tail=" not in command] == []


def test_what_is_searched_for_in_the_logs_is_written_there() -> None:
    events = {found for path in CONTROLLER.glob("*.py") for found in re.findall(r'log\.\w+\(\s*"(\w+)"', path.read_text())}
    searched = re.findall(r'grep (?:-E "(.*?)"|(\w+))', RUNBOOKS + RULES.read_text())
    words = {word for several, one in searched for word in (several or one).split("|")}
    assert words == {"ReconcileFailed", "ApiServerUnavailable", "Watch"}
    assert [word for word in words if not any(event.startswith(word) for event in events)] == []
    assert set(re.findall(r"`([A-Z]\w+(?:Failed|Unavailable))`", RUNBOOKS)) <= events | REASONS


def test_the_fields_and_values_that_the_runbooks_name_exist() -> None:
    (version,) = custom_resource_definition()["spec"]["versions"]
    resource = version["schema"]["openAPIV3Schema"]

    def there(path: str) -> bool:
        schema = resource
        for name in path.split("."):
            schema = schema.get("items", schema)
            if "additionalProperties" in schema:
                return True
            if name not in schema.get("properties", {}):
                return False
            schema = schema["properties"][name]
        return True

    values = documented(VALUES.read_text())
    named = set(re.findall(r"[`{.]((?:spec|status|gates|autoscaling|rollout|monitoring)\.[\w.]+)", RUNBOOKS))
    assert {"spec.server.maxBodySize", "status.quarantined", "monitoring.podMonitor.enabled"} <= named
    assert [path for path in named if not (there(path) or there(f"spec.{path}") or path in values)] == []


def test_the_runbooks_and_the_readme_have_no_alert_that_is_gone() -> None:
    names = {alert["alert"] for alert in alerts}
    assert set(re.findall(r"^## (\w+)$", RUNBOOKS, re.MULTILINE)) == names
    assert set(re.findall(r"\]\(#(\w+)\)", RUNBOOKS)) <= {name.lower() for name in names}
    rows = re.findall(r"^\| `(critical|warning|info)` \| .*? \| (.*) \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    in_readme = {severity: set(re.findall(r"`(\w+)`", listed)) for severity, listed in rows}
    paged = {alert["alert"] for alert in alerts if alert["labels"]["severity"] == "critical"}
    assert in_readme["critical"] == paged
    assert in_readme["warning"] | in_readme["info"] == names - paged


def test_the_reasons_that_alerts_go_by_are_those_of_the_controller() -> None:
    listed = [found for rule in rules for found in re.findall(r'reason=~"(.*?)"', rule["expr"])]
    named = {reason for reasons in listed for reason in reasons.split("|")}
    assert len(named) > 10
    assert named <= REASONS


def test_what_is_used_of_recorded_rules_is_recorded() -> None:
    used = {name for rule in rules for name in re.findall(r"\b\w+:\w+:\w+\b", rule["expr"])}
    assert used <= {rule["record"] for rule in rules if "record" in rule}


def test_helm_delivers_the_rules_as_they_stand(helm: Helm, rendered: Rendered, tmp_path: Path) -> None:
    assert not rendered.all("PrometheusRule")
    labels = {"release": "stack", "app.kubernetes.io/name": "mine"}
    made = helm.render(monitoring={"prometheusRule": {"enabled": True, "labels": labels}}).one("PrometheusRule")
    assert made["metadata"]["labels"]["release"] == "stack"
    assert made["metadata"]["labels"]["app.kubernetes.io/name"] == NAME
    assert made["spec"] == yaml.safe_load(RULES.read_text())
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(made["spec"]))
    assert f"{len(rules)} rules found" in promtool.run("check", "rules", tmp_path / "rules.yaml")


def test_runbooks_are_found_where_people_read_the_repository(helm: Helm) -> None:
    values: dict[str, Any] = {"enabled": True, "runbookPrefix": "https://git.example/operator/blob/main/"}
    spec = helm.render(monitoring={"prometheusRule": values}).one("PrometheusRule")["spec"]
    urls = {rule["annotations"]["runbook_url"] for group in spec["groups"] for rule in group["rules"] if "alert" in rule}
    assert urls == {f"{values['runbookPrefix']}{alert['annotations']['runbook_url']}" for alert in alerts}
    assert "/monitoring/prometheusRule/runbookPrefix" in helm.refusal(
        monitoring={"prometheusRule": {"runbookPrefix": "git.example"}}
    )
