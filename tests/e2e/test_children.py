"""What stands around the Deployment, on the real API server: it comes back, it goes, and what is not ours is left alone."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.team import NAME, Team
from tests.kubernetes import MONITORS, MONITORS_DEFINITION, CommandFailedError, Object, until

pytestmark = pytest.mark.timeout(900)

SCALED = {"minReplicas": 1, "maxReplicas": 4}


@pytest.fixture(scope="module")
def good(team: Team) -> str:
    """A version that serves from one pod, fixed by its number."""
    version = team.train("--trees", "10", "--max-depth", "3")
    team.apply(model={"name": team.model, "version": int(version)}, autoscaling=SCALED)
    team.until_serving(version)
    return version


@pytest.fixture(scope="module", autouse=True)
def defined(team: Team, good: str) -> Iterator[None]:
    """From here on there are ServiceMonitors. The operator looks for that once a minute, while other tests run."""
    if MONITORS in team.cluster.kubectl("get", "crd", "-o", "name"):
        team.cluster.kubectl("delete", "crd", MONITORS)
    team.cluster.apply(MONITORS_DEFINITION.read_text())
    yield
    team.cluster.kubectl("delete", "crd", MONITORS)


def model(team: Team, version: str) -> Object:
    return {"name": team.model, "version": int(version)}


def uid(team: Team, kind: str, name: str = NAME) -> str:
    found = team.cluster.get(kind, name, team.namespace)
    return str(found["metadata"]["uid"]) if found else ""


def replicas(team: Team, name: str = NAME) -> int:
    found = team.cluster.get("deployment", name, team.namespace)
    assert found is not None
    number: int = found["spec"]["replicas"]
    return number


def cpu_request(team: Team) -> str:
    found = team.cluster.get("deployment", NAME, team.namespace)
    assert found is not None
    request: str = found["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
    return request


@contextmanager
def numbers(team: Team, name: str = NAME) -> Iterator[list[int]]:
    """Every spec.replicas that the Deployment has from now on; complete when the block has ended."""
    seen: list[int] = []
    command = [team.cluster.kubectl_binary, "--kubeconfig", str(team.cluster.kubeconfig), "-n", team.namespace]
    command += ["get", f"deployment/{name}", "--watch", "-o", 'jsonpath={.spec.replicas}{"\\n"}']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield seen
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=30)
        seen += [int(line) for line in output.split()]


@pytest.mark.parametrize("kind", ["service", "hpa", "pdb", "networkpolicy", "deployment"])
def test_a_child_that_is_deleted_by_hand_comes_back(team: Team, good: str, kind: str) -> None:
    before = uid(team, kind)
    assert before
    team.kubectl("delete", kind, NAME)
    until(f"{kind} to come back", lambda: uid(team, kind) not in ("", before), 60)
    team.until_serving(good)


def test_what_the_spec_no_longer_wants_goes_and_what_it_says_otherwise_is_changed(team: Team, good: str) -> None:
    peers = [{"podSelector": {"matchLabels": {"app": "shop"}}}]
    team.patch(
        {
            "disruptionBudget": {"enabled": False},
            "networkPolicy": {"ingressFrom": peers},
            "service": {"annotations": {"example.com/owner": "risk"}},
        }
    )
    until("the disruption budget to go", lambda: not uid(team, "pdb"), 60)

    def service_annotations() -> Object:
        found: Object = (team.cluster.get("service", NAME, team.namespace) or {})["metadata"].get("annotations", {})
        return found

    until("the Service's annotation", lambda: service_annotations().get("example.com/owner") == "risk", 60)

    def clients() -> list[Object]:
        found: list[Object] = (team.cluster.get("networkpolicy", NAME, team.namespace) or {})["spec"]["ingress"][0].get("from")
        return found

    until("the policy's clients", lambda: clients() == peers, 60)
    team.patch({"networkPolicy": {"enabled": False, "ingressFrom": None}})
    until("the policy to go", lambda: not uid(team, "networkpolicy"), 60)
    team.kubectl("annotate", "service", NAME, "example.com/theirs=x")
    team.patch({"disruptionBudget": None, "networkPolicy": None, "service": {"annotations": None}})
    until("the disruption budget to come", lambda: uid(team, "pdb"), 60)
    until("the policy to come", lambda: uid(team, "networkpolicy"), 60)
    until("the Service's annotation to go", lambda: "example.com/owner" not in service_annotations(), 60)
    assert service_annotations()["example.com/theirs"] == "x"


def test_a_child_that_is_changed_by_hand_is_as_the_spec_wants_it_again(team: Team, good: str) -> None:
    def budget() -> Object:
        found: Object = (team.cluster.get("pdb", NAME, team.namespace) or {})["spec"]
        return found

    before = budget()
    team.kubectl("patch", "pdb", NAME, "--type=merge", "-p", '{"spec": {"maxUnavailable": "50%"}}')
    until("the disruption budget as it was", lambda: budget() == before, 60)


def test_a_child_of_somebody_else_is_not_touched_and_the_others_are_made(team: Team, good: str) -> None:
    metadata = {"name": "guarded", "namespace": team.namespace}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": {"minAvailable": 7}}
    team.cluster.apply(json.dumps(budget))
    team.apply("guarded", model=model(team, good), replicas=0)
    team.until_ready_is("False", "NameConflict", "guarded")
    assert "PodDisruptionBudget named guarded" in team.condition("Ready", "guarded")["message"]
    theirs = team.cluster.get("pdb", "guarded", team.namespace)
    assert theirs is not None
    assert (theirs["spec"].get("minAvailable"), theirs["metadata"].get("ownerReferences")) == (7, None)
    assert uid(team, "service", "guarded")
    team.kubectl("delete", "pdb", "guarded")
    team.until_ready_is("True", "Stopped", "guarded")
    team.kubectl("delete", "mdep", "guarded")


def test_autoscaling_goes_on_changes_and_goes_off_under_load_and_the_number_never_falls(team: Team, good: str) -> None:
    team.patch({"autoscaling": None})
    until("the autoscaler to go", lambda: not uid(team, "hpa"), 60)
    team.kubectl("scale", "deployment", NAME, "--replicas=2")
    until("two pods", lambda: team.status().get("readyReplicas") == 2, 180)
    with numbers(team) as seen, team.load() as load:
        team.patch({"autoscaling": SCALED})
        until("the autoscaler", lambda: uid(team, "hpa"), 60)
        team.patch({"autoscaling": {"maxReplicas": 3, "behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}})

        def changed() -> bool:
            spec: Object = (team.cluster.get("hpa", NAME, team.namespace) or {}).get("spec", {})
            return bool(spec.get("maxReplicas") == 3 and spec["behavior"].get("scaleDown", {}).get("selectPolicy") == "Disabled")

        until("the autoscaler to change", changed, 60)
        team.patch({"autoscaling": None})
        until("the autoscaler to go", lambda: not uid(team, "hpa"), 60)
        team.until_serving(good)
        account = load.finish()
    assert seen[0] == 2
    assert seen == sorted(seen), "the number never falls"
    assert (account.lost, account.failures) == (0, ())


def test_with_autoscaling_kubectl_scale_is_refused(team: Team, good: str) -> None:
    team.patch({"autoscaling": SCALED})
    with pytest.raises(CommandFailedError, match="set replicas or autoscaling, not both"):
        team.kubectl("scale", f"mdep/{NAME}", "--replicas=3")
    team.patch({"autoscaling": None})
    until("the autoscaler to go", lambda: not uid(team, "hpa"), 60)


def test_zero_is_stopped_and_a_number_starts_it_again(team: Team, good: str) -> None:
    team.kubectl("scale", f"mdep/{NAME}", "--replicas=0")
    team.until_ready_is("True", "Stopped")
    assert (replicas(team), team.health()) == (0, "Healthy")
    team.kubectl("scale", f"mdep/{NAME}", "--replicas=1")
    team.until_serving(good)
    team.kubectl("scale", "deployment", NAME, "--replicas=2")
    until("the spec's number to be put back", lambda: replicas(team) == 1, 60)
    team.patch({"replicas": None})


def test_an_autoscaler_of_somebody_else_works_and_is_not_fought(team: Team, good: str) -> None:
    foreign = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "theirs", "namespace": team.namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
            "minReplicas": 2,
            "maxReplicas": 3,
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 90}}}
            ],
        },
    }
    team.cluster.apply(json.dumps(foreign))
    until("their autoscaler to scale", lambda: replicas(team) >= 2, 120)
    team.patch({"resources": {"requests": {"cpu": "90m", "memory": "200Mi"}}})
    until("the rollout to begin", lambda: cpu_request(team) == "90m", 60)
    team.until_serving(good)
    assert replicas(team) >= 2
    team.patch({"replicas": 1})
    team.until_ready_is("False", "ReplicasContested")
    assert "HorizontalPodAutoscaler theirs" in team.condition("Ready")["message"]
    assert replicas(team) >= 2
    team.kubectl("delete", "hpa", "theirs")
    until("the spec's number", lambda: replicas(team) == 1, 120)


def test_service_monitors_came_with_their_definition_and_come_and_go_with_the_spec(team: Team, good: str) -> None:
    until("the ServiceMonitor", lambda: uid(team, "servicemonitors"), 180)
    team.patch({"monitoring": {"serviceMonitor": {"labels": {"release": "theirs"}}}})

    def labels() -> dict[str, str]:
        found: dict[str, str] = (team.cluster.get("servicemonitors", NAME, team.namespace) or {})["metadata"]["labels"]
        return found

    until("the label that their Prometheus selects by", lambda: labels().get("release") == "theirs", 60)
    team.patch({"monitoring": {"serviceMonitor": {"enabled": False, "labels": None}}})
    until("the ServiceMonitor to go", lambda: not uid(team, "servicemonitors"), 60)
    team.patch({"monitoring": None})
    until("the ServiceMonitor to come", lambda: uid(team, "servicemonitors"), 60)
    team.until_serving(good)
