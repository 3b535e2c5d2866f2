"""The real Prometheus Operator finds what the chart and the operator make, two alerts go all the way and come back, and
Prometheus has an answer to whatever the dashboards ask."""

import json
import os
import re
import subprocess
from contextlib import suppress
from urllib.error import HTTPError

import pytest

from tests.chart.dashboards import BOARDS, Query, choices, filled_in, queries
from tests.e2e.team import NAME, Team
from tests.installation import RELEASE, SYSTEM_NAMESPACE, Installation
from tests.kubernetes import Object, until
from tests.monitoring.stack import Monitoring

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def good(team: Team, monitoring: Monitoring) -> str:
    """A version that serves, fixed by its number."""
    version = team.train("--trees", "10", "--max-depth", "3")
    slo = {"availability": 99.9, "latencyMilliseconds": 150}
    team.apply(model={"name": team.model, "version": int(version)}, replicas=1, monitoring={"slo": slo})
    team.until_serving(version)
    return version


def next_command(alert: Object, team: Team) -> str:
    """What the command prints with which the alert's description ends."""
    (command,) = re.findall(r": (kubectl .*)$", alert["annotations"]["description"])
    cluster = team.cluster
    done = subprocess.run(
        ["bash", "-c", command.replace("kubectl", cluster.kubectl_binary, 1)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
    )
    return done.stdout


def test_every_target_is_found_and_up(team: Team, monitoring: Monitoring, good: str) -> None:
    pools = {f"podMonitor/{SYSTEM_NAMESPACE}/{RELEASE}/{port}" for port in (0, 1)}
    pools |= {f"serviceMonitor/{team.namespace}/{NAME}/0", "serviceMonitor/monitoring/kubelet/0"}

    def all_up() -> bool:
        targets = monitoring.targets()
        return {target.split()[0] for target in targets} == pools and set(targets.values()) == {"up"} and len(targets) == 6

    until(f"targets {pools}", all_up, 180)


def test_every_rule_is_loaded_and_evaluates(monitoring: Monitoring, good: str) -> None:
    def healthy() -> bool:
        rules = monitoring.rules()
        return "ModelDeploymentRolledBack" in rules and set(rules.values()) == {"ok"}

    until("the rules", healthy, 180)


def test_what_is_said_of_a_model_carries_its_own_namespace(team: Team, monitoring: Monitoring, good: str) -> None:
    about = f'{{namespace="{team.namespace}", modeldeployment="{NAME}"}}'
    (info,) = until("modeldeployment_info", lambda: monitoring.query(f"modeldeployment_info{about}"))
    assert info["metric"]["version"] == good
    assert monitoring.query('{exported_namespace!=""}') == []
    for name in ("ml_model_info", "modeldeployment_pod_restarts_total", "modeldeployment_status_served"):
        assert monitoring.query(f"{name}{about}"), name
    (weights,) = monitoring.query(f"sum(modeldeployment_slo_latency_bucket_weight{about})")
    assert float(weights["value"][1]) == pytest.approx(1)


def test_requests_are_recorded(team: Team, monitoring: Monitoring, good: str) -> None:
    about = f'{{namespace="{team.namespace}", modeldeployment="{NAME}"}}'

    def recorded() -> bool:
        team.predict()
        found = monitoring.query(f"modeldeployment:ml_requests:rate5m{about} > 0")
        late = monitoring.query(f"modeldeployment:ml_slow_requests:rate5m{about}")
        return bool(found and late)

    until("the rate of requests", recorded, 90)


def test_a_version_that_was_taken_back_is_told_until_another_serves(team: Team, monitoring: Monitoring, good: str) -> None:
    bad = team.register_odd("wrong-answer")
    team.ask_for(bad)
    alert = until("the alert", lambda: monitoring.alert("ModelDeploymentRolledBack", team.namespace), 180)
    assert (alert["labels"]["modeldeployment"], alert["labels"]["severity"]) == (NAME, "warning")
    assert "(ExampleMismatch)" in alert["annotations"]["description"]
    said = next_command(alert, team)
    assert "ExampleMismatch" in said and f"version {bad} was taken back" in said
    team.ask_for(good)
    team.until_serving(good)
    until("its end", lambda: monitoring.alert("ModelDeploymentRolledBack", team.namespace) is None, 240)


def test_an_undo_is_told_until_somebody_goes_on(team: Team, monitoring: Monitoring, good: str) -> None:
    newer = team.train("--trees", "11", "--max-depth", "3")
    team.ask_for(newer)
    team.until_serving(newer)
    team.undo()
    alert = until("the alert", lambda: monitoring.alert("ModelDeploymentHeldByPerson", team.namespace), 180)
    assert (alert["labels"]["modeldeployment"], alert["labels"]["severity"]) == (NAME, "info")
    team.until_ready_is("True", "HeldByPerson")  # held from the first moment, and told so when its pods are back
    assert "a person went back" in next_command(alert, team)
    team.retry()
    team.until_serving(newer)
    until("its end", lambda: monitoring.alert("ModelDeploymentHeldByPerson", team.namespace) is None, 240)


def test_grafanas_sidecar_finds_the_dashboards(installation: Installation) -> None:
    found = installation.cluster.list("configmap", SYSTEM_NAMESPACE, "grafana_dashboard=1")
    assert {name: json.loads(text) for each in found for name, text in each["data"].items()} == BOARDS


def test_every_query_of_the_dashboards_has_an_answer(team: Team, monitoring: Monitoring, good: str) -> None:
    """After all of the above, and what else they show: a request that is refused, a value nobody has seen, an autoscaler."""
    team.patch({"replicas": None, "autoscaling": {"minReplicas": 1, "maxReplicas": 2}})
    with pytest.raises(HTTPError):
        team.predict({"nonsense": 1})
    team.predict({**team.example, "mean radius": 1e6})
    chosen = {
        "modeldeployment.json": {"namespace": team.namespace, "modeldeployment": NAME},
        "modeldeployment-fleet.json": {"namespace": ".*"},
        "modeldeployment-operator.json": {"namespace": SYSTEM_NAMESPACE},
    }
    left = list(queries())

    def answered(query: Query) -> bool:
        """With a series at some moment, and with the labels that its legend shows."""
        series = monitoring.over_time(query.filled_in(chosen[query.board]))
        return bool(series) and query.shown <= {label for one in series for label in one["metric"]}

    def all_answered() -> bool:
        left[:] = [query for query in left if not answered(query)]
        return not left

    with suppress(TimeoutError):
        until("an answer to every query", all_answered, 240)
    assert not left, "\n".join(map(str, left))
    for board in BOARDS:
        for name, (series, label) in choices(board).items():
            values = monitoring.label_values(label, filled_in(series, chosen[board]))
            assert any(re.fullmatch(chosen[board][name], value) for value in values)
