"""A rollout that the cluster lets fail, told to an API server in memory: taken back, and tried again, later each time."""

from datetime import timedelta

import pytest

from tests.unit.controller.factories import pod_settings, resource
from tests.unit.controller.world import KEY, World, deployed, settled, told, undone


class TestByTheCluster:
    async def exhausted(self, world: World) -> World:
        """The store cannot be reached from version 2's pods until their time is up."""
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
        world.cluster.roll(ready=False, deadline_exceeded=True)
        return await settled(world)

    async def test_is_waited_for_until_its_time_is_up(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
        await world.reconciler.reconcile(KEY)
        assert (world.live_version, world.condition("Ready")) == ("2", ("False", "StoreUnavailable"))

    async def test_is_taken_back_and_not_quarantined(self, world: World) -> None:
        await self.exhausted(world)
        assert world.live_version == "1"
        assert world.condition("Ready") == ("False", "StoreUnavailable")
        assert world.condition("Reconciling")[0] == "True"
        assert world.status.quarantined == []

    async def test_is_tried_again_later_from_its_own_template(self, world: World) -> None:
        await self.exhausted(world)
        sets = len(world.cluster.replica_sets("fraud"))
        delay = await world.reconciler.reconcile(KEY)
        assert delay == 60
        world.now += timedelta(seconds=61)
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("2", ("True", "Serving"))
        assert len(world.cluster.replica_sets("fraud")) == sets

    async def test_is_told_as_a_retry(self, world: World) -> None:
        await self.exhausted(world)
        world.now += timedelta(seconds=61)
        await world.settle()
        assert [(entry.version, entry.cause) for entry in world.status.history][:2] == [("2", "Retry"), ("1", "RolledBack")]

    async def test_a_persons_undo_in_the_middle_of_a_retry_is_held(self, world: World) -> None:
        await self.exhausted(world)
        world.now += timedelta(seconds=61)
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        await world.reconciler.reconcile(KEY)
        world.cluster.undo()
        world.cluster.roll()
        world.now += timedelta(hours=3)
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_a_persons_undo_to_it_and_back_is_held(self, world: World) -> None:
        await self.exhausted(world)
        world.cluster.undo()
        world.cluster.roll(ready=False)
        await world.reconciler.reconcile(KEY)
        assert world.live_version == "2"
        world.cluster.undo()
        world.cluster.roll()
        world.now += timedelta(hours=3)
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_an_alias_that_comes_back_to_it_later_holds_nobody(self, world: World) -> None:
        await self.exhausted(world)
        for version in ("3", "2", "3"):
            world.now += timedelta(minutes=10)
            world.registry.aliases["champion"] = version
            await world.settle()
            assert (world.live_version, world.condition("Ready")) == (version, ("True", "Serving"))

    async def test_a_write_that_did_not_arrive_is_no_attempt(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
        world.cluster.roll(ready=False, deadline_exceeded=True)
        for _ in range(3):
            world.cluster.broken_patch = "Deployment"
            with pytest.raises(ConnectionError):
                await world.reconciler.reconcile(KEY)
        await settled(world)
        assert await world.reconciler.reconcile(KEY) == 60

    async def test_a_retry_takes_the_server_image_of_today(self, world: World) -> None:
        """The image had a mistyped name; the administrator has mended it."""
        await deployed(world)
        world.pods = pod_settings(image="server:typo")
        world.restart()
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
        world.cluster.roll(ready=False, deadline_exceeded=True)
        await settled(world)
        world.pods = pod_settings(image="server:1")
        world.restart()
        world.now += timedelta(seconds=61)
        await world.settle()
        assert world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "server:1"

    async def test_so_does_a_first_rollout_that_waits_for_a_look(self, world: World) -> None:
        world.pods = pod_settings(image="server:typo")
        world.restart()
        world.cluster.put("ModelDeployment", resource())
        await world.reconciler.reconcile(KEY)
        world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
        world.cluster.roll(ready=False, deadline_exceeded=True)
        await world.reconciler.reconcile(KEY)
        assert world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "server:typo"
        world.pods = pod_settings(image="server:1")
        world.restart()
        await settled(world)
        assert world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "server:1"
        assert world.condition("Ready") == ("True", "Serving")

    async def test_settings_on_top_of_a_hold_are_tried_again_too(self, world: World) -> None:
        await undone(world)
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "2Gi"}})
        await world.reconciler.reconcile(KEY)
        world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
        world.cluster.roll(ready=False, deadline_exceeded=True)
        await settled(world)
        assert await world.reconciler.reconcile(KEY) == 60
        world.now += timedelta(seconds=61)
        await world.settle()
        assert world.deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {"memory": "2Gi"}
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_attempts_do_not_push_what_served_out_of_the_history(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.registry.aliases["champion"] = "3"
        for _ in range(8):
            world.now += timedelta(hours=2)
            await world.reconciler.reconcile(KEY)
            world.cluster.roll(ready=False)
            await world.reconciler.reconcile(KEY)
            world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
            world.cluster.roll(ready=False, deadline_exceeded=True)
            await settled(world)
        assert {entry.version for entry in world.status.history} == {"1", "2", "3"}

    async def test_earlier_attempts_leave_no_replica_sets_behind(self, world: World) -> None:
        await self.exhausted(world)
        for minutes in (2, 3, 5):
            world.now += timedelta(minutes=minutes)
            await world.reconciler.reconcile(KEY)
            world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
            world.cluster.roll(ready=False, deadline_exceeded=True)
            await settled(world)
        assert len(world.cluster.replica_sets("fraud")) == 2
        assert await world.reconciler.reconcile(KEY) == 480

    async def test_waits_longer_each_time(self, world: World) -> None:
        await self.exhausted(world)
        world.now += timedelta(seconds=61)
        await world.reconciler.reconcile(KEY)
        world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
        world.cluster.roll(ready=False, deadline_exceeded=True)
        await settled(world)
        assert world.live_version == "1"
        assert await world.reconciler.reconcile(KEY) == 120

    async def test_a_clock_that_jumps_back_only_waits_longer(self, world: World) -> None:
        await self.exhausted(world)
        world.now -= timedelta(days=1)
        await world.reconciler.reconcile(KEY)
        assert world.live_version == "1"
        world.now += timedelta(days=2)
        await world.settle()
        assert world.live_version == "2"

    async def test_pods_that_run_and_never_become_ready_are_the_versions_doing(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.pod({"running": {}})
        world.cluster.roll(ready=False, deadline_exceeded=True)
        await settled(world)
        assert world.condition("Ready") == ("False", "ProgressDeadlineExceeded")
        assert [entry.version for entry in world.status.quarantined] == ["2"]
        assert "kubectl logs -n team -l mlserving.dev/modeldeployment=fraud,mlserving.dev/model-version=2" in told(world)

    async def test_pods_that_never_ran_are_not(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.pod({"waiting": {"reason": "PodInitializing"}})
        world.cluster.roll(ready=False, deadline_exceeded=True)
        await settled(world)
        assert world.condition("Ready") == ("False", "PodNotStarted")
        assert "container server still waits (PodInitializing)" in told(world)
        assert world.status.quarantined == []

    async def test_what_is_merely_slow_after_that_is_not_either(self, world: World) -> None:
        await self.exhausted(world)
        world.now += timedelta(seconds=61)
        await world.reconciler.reconcile(KEY)
        world.cluster.pod({"running": {}})
        world.cluster.roll(ready=False, deadline_exceeded=True)
        await settled(world)
        assert (world.live_version, world.condition("Ready")) == ("1", ("False", "ProgressDeadlineExceeded"))
        assert world.status.quarantined == []

    async def test_a_retry_has_its_whole_time(self, world: World) -> None:
        """The Deployment controller goes on to say that the time is up until the ReplicaSet that it knows has a pod."""
        await self.exhausted(world)
        world.now += timedelta(seconds=61)
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False, deadline_exceeded=True)
        world.deployment["status"]["updatedReplicas"] = 0
        await world.reconciler.reconcile(KEY)
        assert (world.live_version, world.condition("Ready")) == ("2", ("False", "RollingOut"))
