"""The children beside the Deployment: created, kept as the spec wants them, removed when it no longer does."""

from controller.api import ModelDeploymentSpec
from controller.errors import Stalling
from controller.ports import Cluster, Object
from controller.resources.autoscaler import autoscaler
from controller.resources.identity import Owner, owned
from controller.resources.service import service


class Children:
    """Everything that a ModelDeployment owns besides its Deployment's template."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def bring(self, owner: Owner, spec: ModelDeploymentSpec, deployment: Object | None) -> None:
        """Bring the children to what `spec` wants. Raises Stalling (NameConflict)."""
        await self.bring_one("Service", owner, service(owner, spec))
        await self.bring_one("HorizontalPodAutoscaler", owner, autoscaler(owner, spec))
        # Replicas are the spec's only while it names them; otherwise they belong to whoever scales.
        if deployment is not None and spec.replicas is not None and deployment["spec"].get("replicas") != spec.replicas:
            await self._cluster.scale("Deployment", owner.namespace, owner.name, spec.replicas)

    async def bring_one(self, kind: str, owner: Owner, wanted: Object | None) -> None:
        """Bring one child to what is wanted; None: away with it, if it is ours."""
        live = await self._cluster.get(kind, owner.namespace, owner.name)
        if wanted is None:
            if live is not None and owned(live, owner.uid):
                await self._cluster.delete(kind, live)
            return
        if live is None:
            await self._cluster.create(kind, wanted)
        elif not owned(live, owner.uid):
            raise name_conflict(kind, owner)
        elif not covers(live, wanted):
            # Ours replaced as a whole, everybody else's left alone. Server-side apply could not take away a port that the
            # creation, another operation in its books, had set.
            ours = [{"op": "add", "path": f"/spec/{name}", "value": value} for name, value in wanted["spec"].items()]
            labels = {**(live["metadata"].get("labels") or {}), **wanted["metadata"]["labels"]}
            await self._cluster.patch(kind, live, [*ours, {"op": "add", "path": "/metadata/labels", "value": labels}])


def covers(live: object, wanted: object) -> bool:
    """Whether everything that `wanted` says is so in `live`, whatever else others have added there."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        return all(key in live and covers(live[key], value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(live, list):
        return len(live) == len(wanted) and all(covers(one, other) for one, other in zip(live, wanted, strict=True))
    return live == wanted


def name_conflict(kind: str, owner: Owner) -> Stalling:
    return Stalling(
        "NameConflict",
        f"a {kind} named {owner.name} is there already and belongs to somebody else;"
        f" rename the ModelDeployment, or remove that {kind}",
    )
