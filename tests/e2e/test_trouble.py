"""What goes wrong, and what a person then reads: the old version serves, the condition names the cause."""

import json
import re
import time
import urllib.request

import pytest

from tests.e2e.team import NAME, Team
from tests.installation import RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import Object, until

pytestmark = pytest.mark.timeout(600)

STEADY_SECONDS = 20  # ten polls of the registry


@pytest.fixture(scope="module")
def good(team: Team) -> str:
    """A version that serves, fixed by its number; once more with an autoscaler, which takes a while to see anything."""
    version = team.train("--trees", "10", "--max-depth", "3")
    model = {"name": team.model, "version": int(version)}
    team.apply(model=model, replicas=1)
    team.apply("scaled", model=model, autoscaling={"minReplicas": 1, "maxReplicas": 3})
    team.until_serving(version)
    return version


def test_a_model_that_is_not_there_yet_comes_up_by_itself(team: Team, good: str) -> None:
    team.apply("early", model={"name": team.model, "alias": "challenger"}, replicas=1)
    team.until_ready_is("False", "ModelNotFound", "early")
    assert "'challenger'" in team.condition("Ready", "early")["message"]
    assert team.condition("Reconciling", "early")["status"] == "True"
    assert team.health("early") == "Progressing"
    team.move_alias(good, "challenger")
    team.until_serving(good, name="early")
    team.kubectl("delete", "mdep", "early")


@pytest.mark.parametrize(
    ("kind", "reason", "says"),
    [
        ("wrong-answer", "ExampleMismatch", "recorded"),
        ("unloadable", "LoadFailed", "code that is gone"),
        ("pyfunc", "FlavorUnsupported", "mlflow.sklearn.log_model"),
    ],
)
def test_a_bad_version_never_serves_and_says_why(team: Team, good: str, kind: str, reason: str, says: str) -> None:
    bad = team.register_odd(kind)
    team.ask_for(bad)
    team.until_ready_is("False", reason)
    ready = team.condition("Ready")
    assert says in ready["message"]
    assert f"version {good} goes on serving" in ready["message"]
    assert team.condition("Stalled")["status"] == "True"
    assert team.condition("Available")["status"] == "True"
    assert team.health() == "Degraded"
    assert team.serving() == good
    assert team.predict()["model_version"] == good
    assert ready["message"] in team.kubectl("get", f"mdep/{NAME}", "-o", "jsonpath={.status.conditions[0].message}")
    team.ask_for(good)
    team.until_serving(good)


def test_a_model_that_this_project_did_not_train_is_served_and_status_says_what_was_proved(team: Team, good: str) -> None:
    version = team.register_odd("plain")
    team.apply("plain", model={"name": team.model, "version": int(version)}, replicas=1)
    team.until_serving(version, name="plain")
    assert team.status("plain")["serving"]["verified"] == "Executed"
    assert team.predict(name="plain")["model_version"] == version
    team.kubectl("delete", "mdep", "plain")


def test_a_pinned_digest_is_served_and_another_is_refused(team: Team, good: str) -> None:
    digest = team.status()["serving"]["digest"]
    reference = {"name": team.model, "version": int(good)}
    team.apply("pinned", model={**reference, "digest": digest}, replicas=1)
    team.until_serving(good, name="pinned")
    team.apply("pinned", model={**reference, "digest": "sha256:" + "0" * 64}, replicas=1)
    team.until_ready_is("False", "DigestMismatch", "pinned")
    assert team.serving("pinned") == good
    team.kubectl("delete", "mdep", "pinned")


def test_while_mlflow_is_away_what_runs_keeps_running_and_it_recovers_by_itself(team: Team, good: str) -> None:
    team.move_alias(good)
    team.follow()
    team.until_serving(good)
    with team.mlflow_away():
        assert team.condition("ModelResolved")["status"] == "False"
        assert team.condition("ModelResolved")["lastTransitionTime"]
        assert team.ready() == ("True", "Serving")
        team.kubectl("delete", "deployment", NAME)
        until("the Deployment to come back", lambda: team.cluster.get("deployment", NAME, team.namespace), 60)
        team.until_serving(good)
    until("the registry to be found again", lambda: team.condition("ModelResolved")["status"] == "True", 120)


def test_a_service_of_somebody_else_is_not_touched(team: Team, good: str) -> None:
    team.cluster.apply(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "taken", "namespace": team.namespace},
                "spec": {"ports": [{"port": 9}]},
            }
        )
    )
    team.apply("taken", model={"name": team.model, "version": int(good)}, replicas=0)
    team.until_ready_is("False", "NameConflict", "taken")
    service = team.cluster.get("service", "taken", team.namespace)
    assert service is not None
    assert [port["port"] for port in service["spec"]["ports"]] == [9]
    team.kubectl("delete", "mdep", "taken")


def test_an_autoscaler_is_made_and_reads_cpu(team: Team, good: str) -> None:
    team.until_serving(good, name="scaled")

    def reads_cpu() -> bool:
        autoscaler = team.cluster.get("hpa", "scaled", team.namespace) or {}
        metrics = autoscaler.get("status", {}).get("currentMetrics") or []
        return any("averageUtilization" in metric.get("containerResource", {}).get("current", {}) for metric in metrics)

    until("the autoscaler to read CPU", reads_cpu, 180)
    team.kubectl("delete", "mdep", "scaled")


def test_in_a_steady_state_nothing_is_written(team: Team, good: str) -> None:
    """Over many polls of the registry: no object changes, and the operator sends no write but those of its Lease."""
    team.until_serving(good)
    kinds = ("mdep", "deployment", "service", "replicaset")

    def versions() -> dict[str, str]:
        objects: list[Object] = [each for kind in kinds for each in team.cluster.list(kind, team.namespace)]
        return {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in objects}

    earlier = versions()

    def at_rest() -> bool:
        """Also the children of resources that earlier tests have deleted are gone."""
        nonlocal earlier
        before, earlier = earlier, versions()
        return before == earlier

    until("the namespace to come to rest", at_rest, 60)
    before, writes = earlier, operator_writes(team)
    deadline = time.monotonic() + STEADY_SECONDS
    while time.monotonic() < deadline:
        time.sleep(5)  # what is awaited here is that nothing happens
        assert versions() == before
    assert operator_writes(team) == writes


def test_the_leader_alone_tells_of_each_resource_and_every_process_has_metrics(team: Team, good: str) -> None:
    team.until_serving(good)
    about = f'modeldeployment="{NAME}",namespace="{team.namespace}"'
    one = leader(team)
    (info,) = [line for line in scrape(team, one, 8080) if line.startswith("modeldeployment_info{") and is_about(line, team)]
    assert f'version="{good}"' in info
    assert f'modeldeployment_status_condition{{condition="Ready",{about},status="true"}} 1.0' in scrape(team, one, 8080)
    (other,) = {f"{RELEASE}-0", f"{RELEASE}-1"} - {one}
    assert not [line for line in scrape(team, other, 8080) if is_about(line, team)]
    for pod in (one, other):
        assert "# TYPE modeldeployment_store_refusals_total counter" in scrape(team, pod, 8083)


def is_about(line: str, team: Team) -> bool:
    return f'modeldeployment="{NAME}"' in line and f'namespace="{team.namespace}"' in line


def leader(team: Team) -> str:
    """The pod that leads."""
    lease = team.cluster.get("lease", RELEASE, SYSTEM_NAMESPACE) or {}
    name: str = lease["spec"]["holderIdentity"].partition("_")[0]
    return name


def scrape(team: Team, pod: str, port: int) -> list[str]:
    with (
        team.cluster.forwarded(f"pod/{pod}", port, SYSTEM_NAMESPACE) as address,
        urllib.request.urlopen(f"{address}/metrics", timeout=30) as response,
    ):
        lines: list[str] = response.read().decode().splitlines()
        return lines


def operator_writes(team: Team) -> dict[str, str]:
    """Every write that the leader has counted since it started, by verb and resource, Leases aside."""
    lines = scrape(team, leader(team), 8080)
    counted = [line.rsplit(" ", 1) for line in lines if line.startswith("modeldeployment_api_requests_total{")]
    own = re.compile('verb="(GET|WATCH)"|resource="leases"')
    return {series: count for series, count in counted if not own.search(series)}
