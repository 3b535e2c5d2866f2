"""What Argo CD, Flux and Helm say of the statuses that the operator writes, and what Argo CD's actions bring about."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from controller.api import ModelDeploymentSpec, ModelDeploymentStatus
from controller.checks import Refusal
from controller.conditions import Outcome
from controller.decision import Decision, Kind, Pause
from controller.errors import Stalling, Waiting
from controller.pod_faults import Fault
from controller.resources.identity import Owner
from controller.status import next_status
from controller.workload import Workload
from tests import gitops
from tests.kubernetes import Object
from tests.unit.controller.factories import CHAMPION, NOW, resource, rollout
from tests.unit.controller.world import KEY, World, broken, deployed, settled, told, undone

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "controller" / "README.md").read_text()
REASONS = sorted(
    {
        reason
        for row in re.findall(r"^\| (`[A-Z].*?) \|", PAGE[PAGE.index("| reason |") : PAGE.index("Available also says")], re.M)
        for reason in re.findall(r"`(\w+)`", row)
    }
)


def live(world: World) -> Object:
    return world.cluster.objects["ModelDeployment", *KEY]


def seen(world: World) -> tuple[str, str]:
    """What Argo CD says, and what kstatus says."""
    return gitops.health(live(world))[0], gitops.kstatus(live(world))


async def changed_a_moment_ago(world: World) -> None:
    await deployed(world)
    world.cluster.edit("ModelDeployment", "fraud", replicas=3)


async def rolling_out(world: World) -> None:
    await deployed(world)
    world.registry.aliases["champion"] = "2"
    await world.reconciler.reconcile(KEY)


async def waiting_for_a_model(world: World) -> None:
    world.registry.aliases.clear()
    await deployed(world)


async def without_a_registry(world: World) -> None:
    await deployed(world)
    world.registry.away = True
    await world.settle()


async def of_a_spec_from_the_future(world: World) -> None:
    await deployed(world)
    world.cluster.edit("ModelDeployment", "fraud", wings=2)
    await world.settle()


async def taken_back(world: World) -> None:
    await settled(await broken(world))


async def to_be_tried_again(world: World) -> None:
    await rolling_out(world)
    world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
    world.cluster.roll(ready=False, deadline_exceeded=True)
    await settled(world)


async def held(world: World) -> None:
    await undone(world)


async def unapproved(world: World) -> None:
    await deployed(world, rollout={"mode": "Manual"})


async def with_an_unapproved_version(world: World) -> None:
    await deployed(world)
    world.cluster.edit("ModelDeployment", "fraud", rollout={"mode": "Manual"})
    world.registry.aliases["champion"] = "2"
    await world.settle()


async def with_rollouts_paused(world: World) -> None:
    await deployed(world)
    world.cluster.edit("ModelDeployment", "fraud", rollout={"mode": "Paused"})
    world.registry.aliases["champion"] = "2"
    await world.settle()


async def with_its_deployment_paused(world: World) -> None:
    await deployed(world)
    world.cluster.edit("Deployment", "fraud", paused=True)
    world.cluster.roll()
    await world.settle()


async def disabled(world: World) -> None:
    await deployed(world)
    act(world, "pause")
    await world.settle()


async def disabled_with_no_pod_ready(world: World) -> None:
    await disabled(world)
    world.cluster.roll(ready=False)
    await world.reconciler.reconcile(KEY)


async def stopped(world: World) -> None:
    await deployed(world, replicas=0)


async def scaled_to_zero_by_hand(world: World) -> None:
    await deployed(world)
    await world.cluster.scale("Deployment", "team", "fraud", 0)
    world.cluster.roll()
    await world.settle()


async def scaled_to_zero_against_the_autoscaler(world: World) -> None:
    await deployed(world, autoscaling={"minReplicas": 2, "maxReplicas": 5})
    await world.cluster.scale("Deployment", "team", "fraud", 0)
    world.cluster.roll()
    await world.settle()


async def being_deleted(world: World) -> None:
    await deployed(world)
    live(world)["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"


STORIES: list[tuple[Callable[[World], Awaitable[object]], str, str, str]] = [
    (deployed, "Serving", "Healthy", "Current"),
    (changed_a_moment_ago, "Serving", "Progressing", "InProgress"),
    (rolling_out, "RollingOut", "Progressing", "InProgress"),
    (waiting_for_a_model, "ModelNotFound", "Progressing", "InProgress"),
    (without_a_registry, "Serving", "Healthy", "Current"),
    (of_a_spec_from_the_future, "SpecUnsupported", "Degraded", "Failed"),
    (taken_back, "ExampleMismatch", "Degraded", "Failed"),
    (to_be_tried_again, "StoreUnavailable", "Progressing", "InProgress"),
    (held, "HeldByPerson", "Suspended", "Current"),
    (unapproved, "AwaitingApproval", "Suspended", "Failed"),
    (with_an_unapproved_version, "AwaitingApproval", "Suspended", "Current"),
    (with_rollouts_paused, "RolloutsPaused", "Suspended", "Current"),
    (with_its_deployment_paused, "DeploymentPaused", "Suspended", "Current"),
    (disabled, "ReconcileDisabled", "Suspended", "Current"),
    (disabled_with_no_pod_ready, "ReconcileDisabled", "Degraded", "Failed"),
    (stopped, "Stopped", "Healthy", "Current"),
    (scaled_to_zero_by_hand, "ScaledToZero", "Suspended", "Current"),
    (scaled_to_zero_against_the_autoscaler, "ScaledToZero", "Degraded", "Failed"),
    (being_deleted, "Serving", "Progressing", "Terminating"),
]


@pytest.mark.parametrize(("story", "reason", "health", "kstatus"), STORIES, ids=lambda value: getattr(value, "__name__", None))
async def test_a_resource_that_is(
    world: World, story: Callable[[World], Awaitable[object]], reason: str, health: str, kstatus: str
) -> None:
    await story(world)
    assert (world.condition("Ready")[1], *seen(world)) == (reason, health, kstatus)


async def test_argo_cd_shows_reason_and_message_of_ready(world: World) -> None:
    await taken_back(world)
    assert gitops.health(live(world))[1] == f"ExampleMismatch: {told(world)}"


@pytest.mark.parametrize("status", [None, {"observedGeneration": -1}])
def test_what_nobody_has_looked_at_is_on_its_way(status: Object | None) -> None:
    new = {**resource(), "status": status} if status else resource()
    new["metadata"]["generation"] = 1
    assert gitops.health(new)[0] == "Progressing"
    assert gitops.actions(new) == {"pause", "retry"}


def test_whatever_the_reason_what_heals_itself_is_progressing_and_what_needs_a_person_is_degraded() -> None:
    """But for what a person has paused: each way of that is a story above."""
    assert {pause.value for pause in Pause} <= {told for _, told, _, _ in STORIES}
    assert {"Serving", "ModelNotFound", "LatencyTooHigh", "ReplicasContested", "CrashLoop"} <= set(REASONS)
    for reason in sorted(set(REASONS) - {pause.value for pause in Pause}):
        for expected, alike in outcomes(reason).items():
            for each in alike:
                status = next_status(each, ModelDeploymentStatus())
                body = {**resource(), "status": status.model_dump(mode="json", by_alias=True, exclude_none=True)}
                body["metadata"]["generation"] = 1
                ready = status.condition("Ready")
                assert ready is not None
                assert ((gitops.health(body)[0], gitops.kstatus(body)), ready.reason) == (expected, reason)


def outcomes(reason: str) -> dict[tuple[str, str], list[Outcome]]:
    """All ways in which a reason can come into a status, by what is to be said of them."""
    pods = Workload(
        wanted=2, total=2, updated=2, ready=0, available=0, seen=True, deadline_seconds=300, deadline_exceeded=False, failure=""
    )
    rolling = {"live": rollout(1, 1), "workload": pods}
    return {
        ("Progressing", "InProgress"): [
            outcome(unresolved=Waiting(reason, "m")),
            outcome(blocked=Waiting(reason, "m")),
            outcome(**rolling, fault=Fault(reason=reason, message="m", by_model=False)),
        ],
        ("Degraded", "Failed"): [
            outcome(unresolved=Stalling(reason, "m")),
            outcome(blocked=Stalling(reason, "m")),
            outcome(refusal=Refusal(reason, "m")),
            outcome(**rolling, fault=Fault(reason=reason, message="m", by_model=True)),
        ],
    }


def outcome(**more: object) -> Outcome:
    values = {
        "owner": Owner(namespace="team", name="fraud", uid="u"),
        "spec": ModelDeploymentSpec.model_validate(resource()["spec"]),
        "generation": 1,
        "word": CHAMPION,
        "now": NOW,
        "decision": Decision(kind=Kind.WAIT),
    }
    return Outcome(**{**values, **more})  # type: ignore[arg-type]  # each by its name


def act(world: World, action: str) -> None:
    """As Argo CD does it: what it sends touches annotations alone."""
    patch = gitops.acted(live(world), action)
    assert list(patch) == ["metadata"]
    assert list(patch["metadata"]) == ["annotations"]
    world.cluster.annotate("ModelDeployment", "fraud", **patch["metadata"]["annotations"])


class TestActions:
    async def test_while_all_is_well_only_pause_is_offered(self, world: World) -> None:
        await deployed(world)
        assert gitops.actions(live(world)) == {"pause"}

    async def test_approve_rolls_out_what_waits(self, world: World) -> None:
        await with_an_unapproved_version(world)
        assert gitops.actions(live(world)) == {"approve", "pause"}
        act(world, "approve")
        assert gitops.actions(live(world)) == {"pause"}
        await world.settle()
        assert (world.live_version, seen(world)) == ("2", ("Healthy", "Current"))

    async def test_approve_is_not_offered_for_what_a_gate_refuses(self, world: World) -> None:
        await deployed(world)
        world.cluster.edit(
            "ModelDeployment", "fraud", rollout={"mode": "Manual"}, gates={"tags": [{"key": "ok", "value": "yes"}]}
        )
        world.registry.aliases["champion"] = "2"
        await world.settle()
        assert world.condition("Ready")[1] == "TagMissing"
        assert gitops.actions(live(world)) == {"pause", "retry"}

    async def test_during_a_hold_both_words_can_be_said(self, world: World) -> None:
        await undone(world)
        world.registry.aliases["champion"] = "3"
        world.cluster.edit("ModelDeployment", "fraud", rollout={"mode": "Manual"})
        await world.settle()
        assert gitops.actions(live(world)) == {"approve", "pause", "retry"}
        act(world, "approve")
        act(world, "retry")
        await world.settle()
        assert (world.live_version, seen(world)) == ("3", ("Healthy", "Current"))

    async def test_retry_ends_what_a_person_holds(self, world: World) -> None:
        await undone(world)
        assert gitops.actions(live(world)) == {"pause", "retry"}
        act(world, "retry")
        await world.settle()
        assert (world.live_version, seen(world)) == ("2", ("Healthy", "Current"))

    async def test_retry_tries_again_what_failed(self, world: World) -> None:
        await taken_back(world)
        assert gitops.actions(live(world)) == {"pause", "retry"}
        act(world, "retry")
        await world.settle()
        assert (world.live_version, seen(world)) == ("2", ("Healthy", "Current"))

    async def test_pause_keeps_everything_as_it_is_until_resume(self, world: World) -> None:
        await deployed(world)
        act(world, "pause")
        world.registry.aliases["champion"] = "2"
        await world.settle()
        assert (world.live_version, gitops.actions(live(world))) == ("1", {"resume"})
        act(world, "resume")
        await world.settle()
        assert (world.live_version, gitops.actions(live(world))) == ("2", {"pause"})
