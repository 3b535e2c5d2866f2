"""`kubectl rollout undo`, told to an API server in memory: held whatever else happens, and ended by a person alone."""

from controller.api import RECONCILE_ANNOTATION, RETRY_ANNOTATION
from controller.settings import ServerUpdate
from tests.unit.controller.factories import pod_settings
from tests.unit.controller.fake_registry import model_files
from tests.unit.controller.world import KEY, World, deployed, settled, undone


class TestUndo:
    async def test_is_held_and_explained(self, world: World) -> None:
        await undone(world)
        assert world.live_version == "1"
        assert world.condition("Ready") == ("True", "HeldByPerson")
        status = world.status
        assert status.hold is not None
        assert (status.hold.version, status.hold.by) == ("1", "Person")
        assert status.target is not None
        assert status.target.version == "2"
        ready = status.condition("Ready")
        assert ready is not None
        assert "kubectl annotate" in ready.message
        assert "mlserving.dev/retry" in ready.message
        assert [entry.cause for entry in status.history] == ["Undo", "ModelChanged", "Created"]
        assert "HeldByPerson" in [reason for _, reason, _ in world.cluster.events]

    async def test_is_not_fought(self, world: World) -> None:
        await undone(world)
        chosen = world.deployment["spec"]["template"]
        before = list(world.cluster.writes)
        for _ in range(3):
            await world.reconciler.reconcile(KEY)
        assert world.deployment["spec"]["template"] == chosen
        assert world.cluster.writes == before

    async def test_survives_restarts_until_what_was_undone_is_forgotten(self, world: World) -> None:
        await undone(world)
        for number in range(3):
            world.deployment["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = str(number)
            world.cluster.edit("Deployment", "fraud")
            world.cluster.roll()
        for each in world.cluster.replica_sets("fraud"):
            if each["spec"]["template"]["metadata"]["annotations"]["mlserving.dev/model-version"] == "2":
                del world.cluster.objects["ReplicaSet", "team", each["metadata"]["name"]]
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_a_restart_is_told_from_a_change_of_the_model(self, world: World) -> None:
        await deployed(world)
        world.deployment["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
        world.cluster.edit("Deployment", "fraud")
        world.cluster.roll()
        await world.settle()
        assert [entry.cause for entry in world.status.history] == ["Restart", "Created"]
        assert world.condition("Ready") == ("True", "Serving")

    async def test_outlives_a_wish_that_cannot_be_met(self, world: World) -> None:
        await undone(world)
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 77})
        await world.settle()
        assert world.condition("Ready") == ("False", "ModelNotFound")
        assert world.status.hold is not None
        assert "HoldEnded" not in [reason for _, reason, _ in world.cluster.events]
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "alias": "champion"})
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_survives_a_restart_a_lost_status_and_a_moving_alias(self, world: World) -> None:
        await undone(world)
        world.cluster.objects["ModelDeployment", *KEY]["status"] = {}
        world.restart()
        world.registry.aliases["champion"] = "3"
        await world.settle()
        assert world.live_version == "1"
        assert world.status.hold is not None

    async def test_survives_a_change_of_resources_which_is_applied(self, world: World) -> None:
        await undone(world)
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "2Gi"}})
        await world.settle()
        assert world.live_version == "1"
        container = world.deployment["spec"]["template"]["spec"]["containers"][0]
        assert container["resources"]["limits"] == {"memory": "2Gi"}
        assert world.condition("Ready") == ("True", "HeldByPerson")
        world.registry.aliases["champion"] = "3"
        await world.settle()
        assert world.live_version == "1"

    async def test_ends_with_the_retry_annotation(self, world: World) -> None:
        await undone(world)
        world.cluster.annotate("ModelDeployment", "fraud", **{RETRY_ANNOTATION: "1"})
        await world.settle()
        assert world.live_version == "2"
        assert world.condition("Ready") == ("True", "Serving")
        assert world.status.hold is None
        assert world.status.history[0].cause == "Retry"

    async def test_after_a_retry_is_honored_again(self, world: World) -> None:
        await undone(world)
        world.cluster.annotate("ModelDeployment", "fraud", **{RETRY_ANNOTATION: "1"})
        await world.settle()
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_ends_when_the_model_in_the_spec_changes(self, world: World) -> None:
        await undone(world)
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 3})
        await world.settle()
        assert (world.live_version, world.status.hold) == ("3", None)

    async def test_works_while_the_registry_is_away(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.registry.away = True
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_is_honored_when_the_spec_was_said_in_other_words_before(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 2})
        await world.settle()
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_of_settings_alone_says_that_the_model_is_the_same(self, world: World) -> None:
        await deployed(world)
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "2Gi"}})
        await world.settle()
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        ready = world.status.condition("Ready")
        assert ready is not None
        assert "the model is fraud version 1 in both" in ready.message
        assert "--to-revision" not in ready.message, "there is no other model to go back to"

    async def test_of_settings_alone_names_the_revision_that_has_another_model(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "2Gi"}})
        await world.settle()
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        (message,) = [message for _, reason, message in world.cluster.events if reason == "HeldByPerson"]
        assert "the model is fraud version 2 in both" in message
        assert "To go back to fraud version 1: kubectl rollout undo -n team deployment/fraud --to-revision=1." in message

    async def test_of_settings_on_top_of_it_is_not_fought(self, world: World) -> None:
        await undone(world)
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "2Gi"}})
        await world.settle()
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        assert "limits" not in world.deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_after_a_wish_that_cannot_be_met_is_held_when_it_can(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 77})
        await world.settle()
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        world.registry.versions["77"] = model_files(77)
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_before_a_wish_that_cannot_be_met_ends_when_it_can(self, world: World) -> None:
        await undone(world)
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 77})
        await world.settle()
        world.registry.versions["77"] = model_files(77)
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("77", ("True", "Serving"))

    async def test_does_not_end_when_an_old_retry_is_taken_away(self, world: World) -> None:
        await deployed(world)
        world.cluster.annotate("ModelDeployment", "fraud", **{RETRY_ANNOTATION: "1"})
        await world.settle()
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        del world.cluster.objects["ModelDeployment", *KEY]["metadata"]["annotations"][RETRY_ANNOTATION]
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_is_remembered_while_nothing_is_to_be_touched(self, world: World) -> None:
        await undone(world)
        world.cluster.annotate("ModelDeployment", "fraud", **{RECONCILE_ANNOTATION: "disabled"})
        await world.settle()
        assert world.status.hold is not None
        assert world.status.hold.version == "1"
        assert "HoldEnded" not in [reason for _, reason, _ in world.cluster.events]

    async def test_shows_in_the_history_of_kubectl(self, world: World) -> None:
        await undone(world)
        told = world.deployment["metadata"]["annotations"]["kubernetes.io/change-cause"]
        assert told == world.status.history[0].message == "fraud version 1, by kubectl rollout undo"

    async def test_after_a_restart_is_held_whichever_replica_set_is_read_first(self, world: World) -> None:
        """What was said after the restart is written on the newer of the two ReplicaSets alone."""
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.deployment["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
        world.cluster.edit("Deployment", "fraud")
        world.cluster.roll()
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 2})
        await world.settle()
        world.cluster.undo(to_revision=1)
        world.cluster.roll()
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))

    async def test_after_an_unmet_wish_ends_with_a_retry(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.registry.away = True
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 3})
        await world.settle()
        world.cluster.undo()
        world.cluster.roll()
        await world.settle()
        world.registry.away = False
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))
        world.cluster.annotate("ModelDeployment", "fraud", **{RETRY_ANNOTATION: "1"})
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("3", ("True", "Serving"))

    async def test_outlives_settings_that_failed_on_top_of_it_and_are_forgotten(self, world: World) -> None:
        await undone(world)
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "2Mi"}})
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(reason="OOMKilled", code=137)
        await settled(world)
        for each in world.cluster.replica_sets("fraud"):
            if each["spec"]["template"]["metadata"]["annotations"]["mlserving.dev/rollout"] != "1":
                del world.cluster.objects["ReplicaSet", "team", each["metadata"]["name"]]
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("False", "OutOfMemory"))
        ready = world.status.condition("Ready")
        assert ready is not None
        assert "To give up what a person chose, and go on with fraud@champion: kubectl annotate" in ready.message

    async def test_a_server_update_meets_no_wish(self, world: World) -> None:
        await undone(world)
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 77})
        await world.settle()
        world.pods, world.server_update = pod_settings(image="server:2"), ServerUpdate(policy="Rolling")
        world.restart()
        await world.settle()
        world.registry.versions["77"] = model_files(77)
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("77", ("True", "Serving"))
