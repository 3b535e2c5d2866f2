"""A cluster, a registry and an operator between them: where the story is told."""

import json
from pathlib import Path
from typing import Any

from controller.api import ModelDeploymentStatus
from controller.children import Children
from controller.reconcile import Reconciler
from controller.settings import RolloutDefaults, ServerUpdate
from controller.store import Store
from tests.unit.controller.factories import NOW, pod_settings, resource, settings
from tests.unit.controller.fake_cluster import FakeCluster, Watches
from tests.unit.controller.fake_registry import FakeRegistry

KEY = ("team", "fraud")


class World:
    """A cluster, a registry and an operator between them."""

    def __init__(self, directory: Path) -> None:
        self.cluster = FakeCluster()
        self.registry = FakeRegistry(1, 2, 3)
        self.directory = directory
        self.pods = pod_settings()
        self.server_update = ServerUpdate()
        self.now = NOW
        self.restart()

    def restart(self) -> None:
        """Another operator process on the same store."""
        store = Store(self.directory, 10**6)
        seen = Watches(self.cluster)
        children = Children(self.cluster, seen, settings())
        self.reconciler = Reconciler(
            self.cluster,
            seen,
            self.registry,
            store,
            children,
            self.pods,
            RolloutDefaults(),
            self.server_update,
            clock=lambda: self.now,
        )

    async def settle(self, *, ready: bool = True) -> None:
        """Reconcile and let the cluster react until nothing is written any more."""
        for _ in range(10):
            before = len(self.cluster.writes)
            await self.reconciler.reconcile(KEY)
            if ("Deployment", *KEY) in self.cluster.objects:
                self.cluster.roll(ready=ready)
            if len(self.cluster.writes) == before:
                return
        raise AssertionError(f"does not settle: {self.cluster.writes}")

    @property
    def status(self) -> ModelDeploymentStatus:
        return ModelDeploymentStatus.model_validate(self.cluster.objects["ModelDeployment", *KEY]["status"])

    @property
    def deployment(self) -> dict[str, Any]:
        return self.cluster.objects["Deployment", *KEY]

    @property
    def live_version(self) -> str:
        return str(self.deployment["spec"]["template"]["metadata"]["annotations"]["mlserving.dev/model-version"])

    def condition(self, kind: str) -> tuple[str, str]:
        found = self.status.condition(kind)
        assert found is not None
        return found.status, found.reason


async def deployed(world: World, **spec: Any) -> World:
    world.cluster.put("ModelDeployment", resource(**spec))
    await world.settle()
    return world


async def broken(world: World, *, reason: str = "ExampleMismatch", **spec: Any) -> World:
    """Version 1 serves; the alias moves to 2, whose pods find it at fault."""
    await deployed(world, **spec)
    world.registry.aliases["champion"] = "2"
    await world.reconciler.reconcile(KEY)
    world.cluster.roll(ready=False)
    await world.reconciler.reconcile(KEY)
    world.cluster.crash(code=65, message=json.dumps({"reason": reason, "message": "row 1"}))
    return world


async def undone(world: World) -> World:
    """Version 1, then 2 by alias, then a person goes back."""
    await deployed(world)
    world.registry.aliases["champion"] = "2"
    await world.settle()
    world.cluster.undo()
    world.cluster.roll()
    await world.settle()
    return world


async def settled(world: World) -> World:
    """What failed is gone; the cluster brings up whatever is asked for now."""
    await world.reconciler.reconcile(KEY)
    world.cluster.forget_pods()
    world.cluster.roll()
    await world.settle()
    return world


def image(world: World) -> str:
    """The server image of the live template."""
    return str(world.deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def told(world: World) -> str:
    """The message of Ready."""
    ready = world.status.condition("Ready")
    assert ready is not None
    return ready.message
