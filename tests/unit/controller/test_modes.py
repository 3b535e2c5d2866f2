"""Who may start a rollout, and what becomes of a template that somebody else changes."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from controller.api import APPROVE_ANNOTATION, RECONCILE_ANNOTATION, RETRY_ANNOTATION
from controller.cluster import ApiError
from controller.ports import Key
from controller.settings import ServerUpdate
from tests.unit.controller.factories import pod_settings, resource
from tests.unit.controller.world import KEY, World, broken, deployed, image, settled, told, undone


class TestManual:
    async def test_another_version_waits_for_its_approval(self, world: World) -> None:
        await deployed(world)
        world.cluster.edit("ModelDeployment", "fraud", rollout={"mode": "Manual"})
        world.registry.aliases["champion"] = "2"
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "AwaitingApproval"))
        ready, target = world.status.condition("Ready"), world.status.target
        assert ready is not None
        assert 'mlserving.dev/approve="fraud/2"' in ready.message
        assert target is not None
        assert target.version == "2"
        world.cluster.annotate("ModelDeployment", "fraud", **{APPROVE_ANNOTATION: "fraud/3"})
        await world.settle()
        assert world.live_version == "1"
        world.cluster.annotate("ModelDeployment", "fraud", **{APPROVE_ANNOTATION: "fraud/2"})
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("2", ("True", "Serving"))

    async def test_so_does_the_first(self, world: World) -> None:
        await deployed(world, rollout={"mode": "Manual"})
        assert ("Deployment", *KEY) not in world.cluster.objects
        assert world.condition("Ready") == ("False", "AwaitingApproval")
        assert world.condition("Stalled")[0] == "True"
        world.cluster.annotate("ModelDeployment", "fraud", **{APPROVE_ANNOTATION: "fraud/1"})
        await world.settle()
        assert world.condition("Ready") == ("True", "Serving")

    async def test_during_a_hold_what_waits_and_both_words_that_it_takes_are_told(self, world: World) -> None:
        await undone(world)
        world.registry.aliases["champion"] = "3"
        world.cluster.edit("ModelDeployment", "fraud", rollout={"mode": "Manual"})
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))
        assert "fraud version 3 also waits for approval: kubectl annotate" in told(world)
        assert 'mlserving.dev/approve="fraud/3"' in told(world)
        world.cluster.annotate("ModelDeployment", "fraud", **{APPROVE_ANNOTATION: "fraud/3"})
        await world.settle()
        assert (world.live_version, "approve" in told(world)) == ("1", False)
        world.cluster.annotate("ModelDeployment", "fraud", **{RETRY_ANNOTATION: "now"})
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("3", ("True", "Serving"))

    async def test_an_approval_is_of_one_model(self, world: World) -> None:
        await deployed(world, rollout={"mode": "Manual"})
        world.cluster.annotate("ModelDeployment", "fraud", **{APPROVE_ANNOTATION: "churn/1"})
        await world.settle()
        assert ("Deployment", *KEY) not in world.cluster.objects

    async def test_other_settings_do_not_wait_while_a_version_does(self, world: World) -> None:
        await deployed(world)
        world.cluster.edit("ModelDeployment", "fraud", rollout={"mode": "Manual"})
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "2Gi"}})
        await world.settle()
        assert world.deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {"memory": "2Gi"}
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "AwaitingApproval"))

    async def test_other_settings_do_not_wait(self, world: World) -> None:
        await deployed(world)
        world.cluster.edit("ModelDeployment", "fraud", rollout={"mode": "Manual"}, resources={"limits": {"cpu": "1"}})
        await world.settle()
        assert world.status.history[0].cause == "SpecChanged"


class TestPaused:
    async def test_nothing_is_rolled_out(self, world: World) -> None:
        await deployed(world)
        before = world.deployment["spec"]["template"]
        world.cluster.edit("ModelDeployment", "fraud", rollout={"mode": "Paused"}, resources={"limits": {"cpu": "1"}})
        world.registry.aliases["champion"] = "2"
        world.cluster.annotate("ModelDeployment", "fraud", **{APPROVE_ANNOTATION: "fraud/2"})
        await world.settle()
        assert world.deployment["spec"]["template"] == before
        assert world.condition("Ready") == ("True", "RolloutsPaused")

    async def test_a_paused_deployment_is_left_alone_until_it_is_resumed(self, world: World) -> None:
        await deployed(world)
        world.cluster.edit("Deployment", "fraud", paused=True)
        world.cluster.roll()
        world.registry.aliases["champion"] = "2"
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "DeploymentPaused"))
        world.cluster.edit("Deployment", "fraud", paused=False)
        await world.settle()
        assert world.live_version == "2"


class TestDisabled:
    async def test_nothing_is_touched_and_status_says_so(self, world: World) -> None:
        await deployed(world)
        world.cluster.annotate("ModelDeployment", "fraud", **{RECONCILE_ANNOTATION: "disabled"})
        await world.settle()
        world.registry.aliases["champion"] = "2"
        del world.cluster.objects["Service", *KEY]
        await world.settle()
        assert world.live_version == "1"
        assert ("Service", *KEY) not in world.cluster.objects
        assert world.condition("Ready") == ("True", "ReconcileDisabled")
        assert world.condition("Available")[0] == "True"
        world.cluster.annotate("ModelDeployment", "fraud", **{RECONCILE_ANNOTATION: "enabled"})
        await world.settle()
        assert world.live_version == "2"
        assert ("Service", *KEY) in world.cluster.objects


class TestEdit:
    def set_image(self, world: World, image: str = "evil:1") -> None:
        world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image
        world.cluster.edit("Deployment", "fraud")
        world.cluster.roll()

    async def test_of_what_the_operator_wrote_is_put_back(self, world: World) -> None:
        await deployed(world)
        written = world.cluster.replica_sets("fraud")[0]["spec"]["template"]["spec"]
        self.set_image(world)
        await world.settle()
        assert world.deployment["spec"]["template"]["spec"] == written
        assert "EditReverted" in [reason for _, reason, _ in world.cluster.events]
        assert world.condition("Ready") == ("True", "Serving")

    async def test_of_what_a_person_went_back_to_is_put_back_and_the_hold_stays(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        self.set_image(world)
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))
        assert world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "server:1"

    async def test_what_others_add_is_theirs(self, world: World) -> None:
        await deployed(world)
        pod = world.deployment["spec"]["template"]["spec"]
        pod["containers"].append({"name": "mesh-proxy", "image": "proxy:1"})
        pod["containers"][0]["env"].append({"name": "INJECTED", "value": "yes"})
        world.cluster.edit("Deployment", "fraud")
        world.cluster.roll()
        before = list(world.cluster.writes)
        await world.settle()
        assert [each["name"] for each in world.deployment["spec"]["template"]["spec"]["containers"]] == ["server", "mesh-proxy"]
        assert ("patch", "Deployment", "fraud") not in world.cluster.writes[len(before) :]

    async def test_that_was_put_back_is_nothing_that_an_undo_would_choose(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
        world.cluster.edit("Deployment", "fraud")
        world.cluster.roll()
        await world.settle()
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_within_the_second_of_the_rollout_is_still_told_from_it(self, world: World) -> None:
        """Times of creation have whole seconds."""
        await deployed(world)
        world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
        world.cluster.edit("Deployment", "fraud")
        world.cluster.roll()
        for each in world.cluster.replica_sets("fraud"):
            each["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        for _ in range(4):
            await world.reconciler.reconcile(KEY)
            world.cluster.roll()
            assert image(world) == "server:1"
        assert world.condition("Ready") == ("True", "Serving")

    async def test_keeps_what_others_had_added(self, world: World) -> None:
        await deployed(world)
        containers = world.deployment["spec"]["template"]["spec"]["containers"]
        containers.append({"name": "mesh", "image": "proxy:1"})
        world.cluster.edit("Deployment", "fraud")
        world.cluster.roll()
        await world.settle()
        world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
        world.cluster.edit("Deployment", "fraud")
        world.cluster.roll()
        await world.settle()
        found = world.deployment["spec"]["template"]["spec"]["containers"]
        assert [(each["name"], each["image"]) for each in found] == [("server", "server:1"), ("mesh", "proxy:1")]

    async def test_whoever_keeps_writing_is_told_of_and_not_fought(self, world: World) -> None:
        await deployed(world)
        for number in range(6):
            self.set_image(world, f"evil:{number}")
            await world.reconciler.reconcile(KEY)
        assert world.condition("Ready") == ("False", "TemplateContested")
        reverted = [reason for _, reason, _ in world.cluster.events if reason == "EditReverted"]
        assert len(reverted) == 3


class TestServerUpdate:
    async def test_on_the_next_rollout_is_the_rule(self, world: World) -> None:
        await deployed(world)
        world.pods = pod_settings(image="server:2")
        world.restart()
        before = list(world.cluster.writes)
        await world.settle()
        assert world.cluster.writes == before

    async def test_rolling_moves_what_runs(self, world: World) -> None:
        await deployed(world)
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling")
        world.restart()
        await world.settle()
        assert world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "server:2"
        assert (world.live_version, world.status.history[0].cause) == ("1", "ServerUpdate")

    async def test_meanwhile_the_earlier_pods_serve_and_status_says_so(self, world: World) -> None:
        await deployed(world)
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling")
        world.restart()
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        await world.reconciler.reconcile(KEY)
        ready = world.status.condition("Ready")
        assert ready is not None
        told = "fraud version 1: 2 of 2 new pods started; 2 ready, new and earlier ones together; its earlier pods go on serving"
        assert (ready.reason, ready.message) == ("RollingOut", told)

    async def test_rolling_waits_for_its_turn(self, world: World) -> None:
        (other,) = await with_others(world, "other")
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling", max_concurrent=1)
        world.restart()

        def images() -> list[str]:
            return [image_of(world, key) for key in (KEY, other)]

        await world.reconciler.reconcile(KEY)
        await world.reconciler.reconcile(other)
        assert images() == ["server:2", "server:1"]
        world.cluster.roll()
        await world.settle()
        await world.reconciler.reconcile(other)
        assert images() == ["server:2", "server:2"]

    async def test_who_waits_for_a_turn_is_called_when_it_comes(self, world: World) -> None:
        others = await with_others(world, "one", "two")
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling", max_concurrent=1)
        world.restart()
        called: list[Key] = []
        world.reconciler.turns.call = called.append
        for key in (KEY, *others):
            await world.reconciler.reconcile(key)
        assert called == []
        for arriving, following in pairwise((KEY, *others)):
            world.cluster.roll(arriving[1])
            await world.reconciler.reconcile(arriving)
            assert called.pop() == following
            await world.reconciler.reconcile(following)
        assert [image_of(world, key) for key in (KEY, *others)] == ["server:2"] * 3
        assert called == []

    async def test_who_is_called_and_may_not_go_lets_the_next_one_go(self, world: World) -> None:
        one, two = await with_others(world, "one", "two")
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling", max_concurrent=1)
        world.restart()
        called: list[Key] = []
        world.reconciler.turns.call = called.append
        for key in (KEY, one, two):
            await world.reconciler.reconcile(key)
        world.cluster.edit("ModelDeployment", "one", rollout={"mode": "Paused"})
        world.cluster.roll()
        await world.reconciler.reconcile(KEY)
        await world.reconciler.reconcile(called.pop())
        assert (image_of(world, one), called) == ("server:1", [two])

    async def test_who_may_not_be_written_lets_the_next_one_go(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        (other,) = await with_others(world, "other")
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling", max_concurrent=1)
        world.restart()

        async def refused(*_: Any) -> Any:
            raise ApiError(403, "Forbidden", "an admission policy")

        with monkeypatch.context() as patch:
            patch.setattr(world.cluster, "patch", refused)
            await world.reconciler.reconcile(KEY)
        assert world.condition("Ready")[1] == "WriteRefused"
        await world.reconciler.reconcile(other)
        assert image_of(world, other) == "server:2"

    async def test_two_at_the_same_moment_are_not_both_the_last_one(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        (other,) = await with_others(world, "other")
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling", max_concurrent=1)
        world.restart()
        patch = world.cluster.patch

        async def slow(*arguments: Any) -> Any:
            await asyncio.sleep(0.01)
            return await patch(*arguments)

        monkeypatch.setattr(world.cluster, "patch", slow)
        await asyncio.gather(world.reconciler.reconcile(KEY), world.reconciler.reconcile(other))
        assert sorted(image_of(world, key) for key in (KEY, other)) == ["server:1", "server:2"]

    async def test_who_is_deleted_on_its_way_lets_the_next_one_go(self, world: World) -> None:
        (other,) = await with_others(world, "other")
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling", max_concurrent=1)
        world.restart()
        called: list[Key] = []
        world.reconciler.turns.call = called.append
        for key in (KEY, other):
            await world.reconciler.reconcile(key)
        del world.cluster.objects["ModelDeployment", *KEY]
        await world.reconciler.reconcile(KEY)
        assert called == [other]

    async def test_an_image_that_a_model_fails_with_is_taken_back_once(self, world: World) -> None:
        await deployed(world)
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling")
        world.restart()
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(code=65, message='{"reason": "LoadFailed", "message": "m"}')
        await settled(world)
        assert world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "server:1"
        assert world.condition("Available")[0] == "True"

    async def test_a_model_that_fails_with_the_new_image_does_not_keep_the_others_waiting(self, world: World) -> None:
        (other,) = await with_others(world, "other")
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling", max_concurrent=1)
        world.restart()
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(code=65, message='{"reason": "LoadFailed", "message": "m"}')
        await settled(world)
        await world.reconciler.reconcile(other)
        assert image_of(world, other) == "server:2"

    async def test_what_the_cluster_let_fail_is_tried_again(self, world: World) -> None:
        await deployed(world)
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling")
        world.restart()
        await world.reconciler.reconcile(KEY)
        world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
        world.cluster.roll(ready=False, deadline_exceeded=True)
        await settled(world)
        assert image(world) == "server:1"
        assert await world.reconciler.reconcile(KEY) == 60
        world.now += timedelta(seconds=61)
        await world.settle()
        assert (image(world), world.condition("Ready")) == ("server:2", ("True", "Serving"))

    async def test_settings_that_failed_do_not_come_back_with_another_image(self, world: World) -> None:
        await deployed(world)
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "1Mi"}})
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(reason="OOMKilled", code=137)
        await settled(world)
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling")
        world.restart()
        await world.settle()
        assert (image(world), world.condition("Ready")) == ("server:1", ("False", "OutOfMemory"))

    async def test_an_image_that_a_model_fails_with_does_not_condemn_the_version(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling")
        world.restart()
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(code=65, message='{"reason": "LoadFailed", "message": "m"}')
        await settled(world)
        assert (image(world), world.status.quarantined) == ("server:1", [])
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 2})
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(code=65, message='{"reason": "LoadFailed", "message": "m"}')
        await settled(world)
        assert (image(world), world.status.quarantined) == ("server:1", [])
        for version in (1, 2):
            world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": version})
            await world.settle()
            assert (world.live_version, world.condition("Ready")) == (str(version), ("True", "Serving"))


class TestWhatIsTold:
    """Reasons under which Ready stays true are told too."""

    async def test_each_version_that_waits_for_approval_is_an_event(self, world: World) -> None:
        await deployed(world, rollout={"mode": "Manual"}, model={"name": "fraud", "alias": "champion"})
        for version in ("2", "3"):
            world.registry.aliases["champion"] = version
            await world.settle()
        waiting = [message for _, reason, message in world.cluster.events if reason == "AwaitingApproval"]
        assert [message.split(" passed")[0] for message in waiting] == ["fraud version 1", "fraud version 2", "fraud version 3"]

    async def test_an_approval_of_another_version_is_not_passed_over_in_silence(self, world: World) -> None:
        await deployed(world, rollout={"mode": "Manual"})
        world.cluster.annotate("ModelDeployment", "fraud", **{APPROVE_ANNOTATION: "fraud/7"})
        await world.settle()
        assert "the annotation approves 'fraud/7', which is another one: kubectl annotate" in told(world)

    async def test_a_version_that_failed_says_so_in_the_history_that_kubectl_shows(self, world: World) -> None:
        await settled(await broken(world))
        causes = [each["metadata"]["annotations"]["kubernetes.io/change-cause"] for each in world.cluster.replica_sets("fraud")]
        assert [cause for cause in causes if "failed: " in cause] == ["fraud version 2 (fraud@champion), failed: ExampleMismatch"]

    async def test_what_failed_with_other_settings_and_serves_is_not_quarantined(self, world: World) -> None:
        await settled(await broken(world, reason="LoadFailed"))
        assert len(world.status.quarantined) == 1
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "4Gi"}})
        await world.settle()
        assert (world.live_version, world.condition("Ready"), world.status.quarantined) == ("2", ("True", "Serving"), [])

    async def test_a_paused_deployment_says_what_waits(self, world: World) -> None:
        await deployed(world)
        world.deployment["spec"]["paused"] = True
        world.registry.aliases["champion"] = "2"
        await world.settle()
        assert "fraud version 2 is asked for, and nothing is rolled out until" in told(world)


async def with_others(world: World, *names: str) -> list[Key]:
    """Resources beside the one that is deployed, which serve, too; their keys."""
    await deployed(world)
    keys = [("team", name) for name in names]
    for key in keys:
        world.cluster.put("ModelDeployment", resource(key[1]))
        for _ in range(2):
            await world.reconciler.reconcile(key)
            world.cluster.roll(key[1])
    return keys


def image_of(world: World, key: Key) -> str:
    return str(world.cluster.objects["Deployment", *key]["spec"]["template"]["spec"]["containers"][0]["image"])
