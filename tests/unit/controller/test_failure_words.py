"""What is said of a rollout that failed: the reason, both versions and the way out."""

from tests.unit.controller.factories import resource
from tests.unit.controller.world import KEY, World, broken, deployed, settled, told

PULL_REMEDY = "correct spec.server.image or spec.pod.imagePullSecrets; where neither is set, ask the operator's administrator"


class TestInWords:
    """What `kubectl describe` shows."""

    async def test_the_way_out_of_a_failure_of_the_clusters(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.pod({"waiting": {"reason": "ErrImagePull", "message": "not found"}}, image="server:typo")
        world.cluster.roll(ready=False, deadline_exceeded=True)
        await settled(world)
        assert told(world) == (
            "fraud version 2 was taken back, fraud version 1 goes on serving: server:typo cannot be pulled: not found;"
            f" {PULL_REMEDY}."
            " That is not held against the version: it is tried again at 03:05:05 UTC. To try the same once more:"
            ' kubectl annotate --overwrite -n team mdep/fraud mlserving.dev/retry="$(date +%s)"'
        )

    async def test_the_first_rollout_names_what_to_look_at_and_how_to_try_again(self, world: World) -> None:
        world.cluster.put("ModelDeployment", resource())
        await world.reconciler.reconcile(KEY)
        world.cluster.pod({"running": {}})
        world.cluster.roll(ready=False, deadline_exceeded=True)
        await world.reconciler.reconcile(KEY)
        assert world.condition("Ready") == ("False", "ProgressDeadlineExceeded")
        assert told(world) == (
            "fraud version 1 made no progress for 300 s (rollout.progressDeadlineSeconds):"
            " 2 of 2 pods started, 0 ready."
            " To see more: kubectl logs -n team -l mlserving.dev/modeldeployment=fraud,mlserving.dev/model-version=1"
            " --all-containers --tail=50 --ignore-errors. To try it anew:"
            ' kubectl annotate --overwrite -n team mdep/fraud mlserving.dev/retry="$(date +%s)"'
        )

    async def test_nothing_goes_on_serving_where_nothing_is_ready(self, world: World) -> None:
        await broken(world)
        await world.reconciler.reconcile(KEY)
        world.cluster.forget_pods()
        world.cluster.roll(ready=False)
        world.cluster.pod({"waiting": {"reason": "ErrImagePull", "message": "gone"}}, image="server:1")
        await world.reconciler.reconcile(KEY)
        assert world.condition("Available") == ("False", "NoPodReady")
        assert told(world).startswith(
            "fraud version 2 was taken back, fraud version 1 is put back and has no ready pod yet"
            f" (server:1 cannot be pulled: gone; {PULL_REMEDY}): row 1"
        )

    async def test_a_replica_set_that_cannot_be_created(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        refused = {"type": "Progressing", "reason": "ReplicaSetCreateError", "message": "exceeded quota"}
        world.deployment["status"]["conditions"] = [refused]
        await world.reconciler.reconcile(KEY)
        assert (world.live_version, world.condition("Ready")) == ("2", ("False", "PodsNotCreated"))
        assert told(world) == (
            "no pod can be created: exceeded quota; fraud version 1 goes on serving. It goes on by itself when there is room"
        )

    async def test_numbers_of_the_template_before_are_not_told_of_this_one(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        assert world.condition("Ready") == ("False", "RollingOut")
        assert told(world) == (
            "fraud version 2: the Deployment controller has not taken it up yet; fraud version 1 goes on serving"
        )
