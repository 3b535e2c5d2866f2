"""A version that fails, told to an API server in memory: taken back at the first sign, quarantined, tried again on request."""

from datetime import timedelta

import pytest

from controller.api import RETRY_ANNOTATION
from controller.cluster import Conflict
from controller.ports import Object
from tests.unit.controller.factories import resource
from tests.unit.controller.world import KEY, World, broken, deployed, settled


def reasons(world: World) -> list[str]:
    return [reason for _, reason, _ in world.cluster.events]


async def refused(kind: str, body: Object) -> Object:
    raise Conflict(409, "Conflict", "somebody wrote first")


class TestByTheVersion:
    async def test_is_taken_back_at_the_first_sign(self, world: World) -> None:
        await broken(world)
        before = world.cluster.replica_sets("fraud")[0]["spec"]["template"]
        await world.reconciler.reconcile(KEY)
        live = world.deployment["spec"]["template"]
        assert world.live_version == "1"
        assert live["spec"] == before["spec"]
        assert live["metadata"]["annotations"] == before["metadata"]["annotations"]
        told = world.deployment["metadata"]["annotations"]["kubernetes.io/change-cause"]
        assert told == "fraud version 1, put back by the operator: fraud version 2 failed (ExampleMismatch)"

    async def test_is_told_with_its_reason_and_the_way_out(self, world: World) -> None:
        await settled(await broken(world))
        ready = world.status.condition("Ready")
        assert ready is not None
        assert (world.condition("Ready"), world.condition("Stalled")) == (
            ("False", "ExampleMismatch"),
            ("True", "ExampleMismatch"),
        )
        assert "fraud version 2 was taken back, fraud version 1 goes on serving: row 1" in ready.message
        assert "kubectl annotate" in ready.message
        assert world.condition("Available") == ("True", "PodsReady")
        hold, (quarantined,) = world.status.hold, world.status.quarantined
        assert hold is not None
        assert (hold.by, hold.reason, hold.version) == ("Operator", "ExampleMismatch", "1")
        assert (quarantined.version, quarantined.reason, quarantined.message) == ("2", "ExampleMismatch", "row 1")
        assert [entry.cause for entry in world.status.history] == ["RolledBack", "ModelChanged", "Created"]
        assert "RolledBack" in reasons(world)
        assert "HeldByPerson" not in reasons(world)

    async def test_is_told_once_where_the_status_is_refused_at_first(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """The rollback is done by then: the pass that comes next finds it done."""
        await broken(world)
        with monkeypatch.context() as patched:
            patched.setattr(world.cluster, "replace_status", refused)
            with pytest.raises(Conflict):
                await world.reconciler.reconcile(KEY)
        assert (world.live_version, "RolledBack" in reasons(world)) == ("1", False)
        await settled(world)
        assert reasons(world).count("RolledBack") == 1

    async def test_writes_nothing_once_it_is_told(self, world: World) -> None:
        await settled(await broken(world))
        before = list(world.cluster.writes)
        for _ in range(3):
            world.now += timedelta(hours=2)
            await world.reconciler.reconcile(KEY)
        assert world.cluster.writes == before

    async def test_survives_a_restart_and_a_lost_status(self, world: World) -> None:
        await settled(await broken(world))
        world.cluster.objects["ModelDeployment", *KEY]["status"] = {}
        world.restart()
        await world.settle()
        assert world.live_version == "1"
        assert world.condition("Ready") == ("False", "ExampleMismatch")
        assert [entry.version for entry in world.status.quarantined] == ["2"]

    async def test_survives_the_loss_of_its_replica_set(self, world: World) -> None:
        await settled(await broken(world))
        world.registry.aliases["champion"] = "3"
        await world.settle()
        for each in world.cluster.replica_sets("fraud"):
            if each["spec"]["template"]["metadata"]["annotations"]["mlserving.dev/model-version"] == "2":
                del world.cluster.objects["ReplicaSet", "team", each["metadata"]["name"]]
        world.registry.aliases["champion"] = "2"
        await world.settle()
        assert world.live_version == "3"
        assert world.condition("Ready") == ("False", "ExampleMismatch")

    async def test_a_crash_between_mark_and_restore_is_no_persons_undo(self, world: World) -> None:
        await broken(world)
        world.cluster.broken_patch = "Deployment"
        with pytest.raises(ConnectionError):
            await world.reconciler.reconcile(KEY)
        world.restart()
        await settled(world)
        assert world.live_version == "1"
        assert world.condition("Ready") == ("False", "ExampleMismatch")

    async def test_another_version_is_rolled_out(self, world: World) -> None:
        await settled(await broken(world))
        world.registry.aliases["champion"] = "3"
        await world.settle()
        assert world.live_version == "3"
        assert world.condition("Ready") == ("True", "Serving")

    async def test_comes_back_on_retry(self, world: World) -> None:
        await settled(await broken(world))
        world.cluster.annotate("ModelDeployment", "fraud", **{RETRY_ANNOTATION: "1"})
        await world.settle()
        assert world.live_version == "2"
        assert world.status.quarantined == []

    async def test_comes_back_with_other_settings(self, world: World) -> None:
        await settled(await broken(world, reason="OutOfMemory"))
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "2Gi"}})
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("2", ("True", "Serving"))

    async def test_an_alias_that_goes_back_ends_it_without_a_rollout(self, world: World) -> None:
        await settled(await broken(world))
        template = world.deployment["spec"]["template"]
        world.registry.aliases["champion"] = "1"
        await world.settle()
        assert world.deployment["spec"]["template"] == template
        assert world.condition("Ready") == ("True", "Serving")
        assert world.status.hold is None

    async def test_a_person_can_still_go_further_back(self, world: World) -> None:
        """Version 1, then 3, then a broken 2 that is taken back to 3; a person goes to 1, and the alias moves on."""
        await deployed(world)
        world.registry.aliases["champion"] = "3"
        await world.settle()
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(code=65, message='{"reason": "LoadFailed", "message": "m"}')
        await settled(world)
        assert world.live_version == "3"
        world.cluster.undo(to_revision=1)
        world.cluster.roll()
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_an_undo_to_what_failed_tries_it_again(self, world: World) -> None:
        await settled(await broken(world))
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("2", ("True", "Serving"))
        assert world.status.quarantined == []

    async def test_is_marked_once_however_often_it_was_restarted(self, world: World) -> None:
        """`rollout restart` in the middle makes a second ReplicaSet of the same rollout; the mark is on one of them."""
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.deployment["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
        world.cluster.edit("Deployment", "fraud")
        world.cluster.roll(ready=False)
        world.cluster.crash(code=65, message='{"reason": "LoadFailed", "message": "m"}')
        await settled(world)
        assert world.condition("Ready") == ("False", "LoadFailed")
        assert [(entry.version, entry.rollout) for entry in world.status.quarantined] == [("2", 2)]

    async def test_of_a_restarted_one_goes_back_to_the_pods_that_answer(self, world: World) -> None:
        await deployed(world)
        world.deployment["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "monday"
        world.cluster.edit("Deployment", "fraud")
        world.cluster.roll()
        await world.settle()
        serving = world.deployment["spec"]["template"]
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(code=65, message='{"reason": "LoadFailed", "message": "m"}')
        await world.reconciler.reconcile(KEY)
        assert world.deployment["spec"]["template"] == serving

    async def test_goes_back_to_what_served_rather_than_to_what_came_half_way(self, world: World) -> None:
        await deployed(world)
        for version in ("2", "3"):
            world.registry.aliases["champion"] = version
            await world.reconciler.reconcile(KEY)
            world.cluster.roll(ready=False)
            world.cluster.replica_sets("fraud")[-1]["status"] = {"readyReplicas": 1 if version == "2" else 0}
            await world.reconciler.reconcile(KEY)
        world.cluster.crash(code=65, message='{"reason": "LoadFailed", "message": "m"}')
        await world.reconciler.reconcile(KEY)
        assert world.live_version == "1"

    async def test_stays_quarantined_when_its_number_could_be_given_again(self, world: World) -> None:
        await settled(await broken(world))
        for each in world.cluster.replica_sets("fraud"):
            if each["spec"]["template"]["metadata"]["annotations"]["mlserving.dev/model-version"] == "2":
                del world.cluster.objects["ReplicaSet", "team", each["metadata"]["name"]]
        for version in ("3", "2"):
            world.registry.aliases["champion"] = version
            await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("3", ("False", "ExampleMismatch"))

    async def test_of_a_version_does_not_keep_settings_from_what_serves(self, world: World) -> None:
        await settled(await broken(world))
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "2Gi"}})
        await world.reconciler.reconcile(KEY)
        assert world.live_version == "2", "other settings may be what it lacked"
        world.cluster.roll(ready=False)
        world.cluster.crash(code=65, message='{"reason": "LoadFailed", "message": "m"}')
        await settled(world)
        assert world.deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {"memory": "2Gi"}
        assert (world.live_version, world.condition("Ready")) == ("1", ("False", "LoadFailed"))

    async def test_a_retry_that_came_too_late_for_it_is_a_retry(self, world: World) -> None:
        await broken(world)
        world.cluster.annotate("ModelDeployment", "fraud", **{RETRY_ANNOTATION: "1"})
        await settled(world)
        assert (world.live_version, world.condition("Ready")) == ("2", ("True", "Serving"))

    async def test_stays_in_the_history_when_the_next_leader_starts_another_rollout_at_once(self, world: World) -> None:
        await broken(world)
        await world.reconciler.reconcile(KEY)  # taken back; and then whoever leads is killed
        world.cluster.forget_pods()
        world.cluster.roll()
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 3})
        world.restart()
        await world.settle()
        causes = [(entry.version, entry.cause) for entry in world.status.history]
        assert causes == [("3", "ModelChanged"), ("1", "RolledBack"), ("2", "ModelChanged"), ("1", "Created")]

    async def test_is_still_told_while_the_registry_is_away(self, world: World) -> None:
        await settled(await broken(world))
        world.registry.away = True
        await world.settle()
        assert world.condition("Ready") == ("False", "ExampleMismatch")
        assert "HoldEnded" not in reasons(world)

    async def test_goes_back_to_nothing_that_never_worked(self, world: World) -> None:
        world.cluster.put("ModelDeployment", resource())
        for version in ("1", "2"):
            world.registry.aliases["champion"] = version
            await world.reconciler.reconcile(KEY)
            world.cluster.roll(ready=False)
            world.cluster.crash(code=65, message='{"reason": "LoadFailed", "message": "m"}')
            await world.reconciler.reconcile(KEY)
        assert world.live_version == "2"
        assert "RolledBack" not in reasons(world)

    async def test_stays_quarantined_when_the_deployment_was_deleted_with_its_replica_sets(self, world: World) -> None:
        await settled(await broken(world))
        for kind, namespace, name in list(world.cluster.objects):
            if kind in ("Deployment", "ReplicaSet"):
                del world.cluster.objects[kind, namespace, name]
        await world.settle()
        assert [entry.cause for entry in world.status.history][:2] == ["Created", "RolledBack"]
        world.registry.aliases["champion"] = "3"
        await world.settle()
        world.registry.aliases["champion"] = "2"
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("3", ("False", "ExampleMismatch"))

    async def test_is_left_for_a_look_where_the_spec_says_hold(self, world: World) -> None:
        await broken(world, rollout={"onFailure": "Hold"})
        await world.reconciler.reconcile(KEY)
        assert world.live_version == "2"
        assert world.condition("Ready") == ("False", "ExampleMismatch")

    async def test_the_first_one_keeps_its_pods_for_a_look(self, world: World) -> None:
        await deployed(world)
        del world.cluster.objects["Deployment", *KEY]
        for each in world.cluster.replica_sets("fraud"):
            del world.cluster.objects["ReplicaSet", "team", each["metadata"]["name"]]
        world.cluster.objects["ModelDeployment", *KEY]["status"] = {}
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(code=65, message='{"reason": "LoadFailed", "message": "m"}')
        await world.reconciler.reconcile(KEY)
        assert (world.live_version, world.condition("Ready")) == ("1", ("False", "LoadFailed"))

    async def test_a_crash_after_the_rollout_is_none_of_it(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.cluster.roll(ready=False)
        world.cluster.crash(reason="OOMKilled", code=137)
        await world.reconciler.reconcile(KEY)
        assert world.live_version == "2"

    @pytest.mark.parametrize(("restarts", "live"), [(2, "2"), (3, "1")])
    async def test_a_crash_of_unknown_cause_is_certain_the_third_time(self, world: World, restarts: int, live: str) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(code=139, restarts=restarts)
        await world.reconciler.reconcile(KEY)
        assert world.live_version == live
