"""The children beside the Deployment: created, kept as the spec wants them, removed when it no longer does."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterator
from http import HTTPStatus

from controller import commands
from controller.api import GROUP, ModelDeploymentSpec
from controller.cluster import AlreadyExists, ApiError, Conflict
from controller.errors import ReconcileError, Stalling, Waiting
from controller.ports import Cluster, Object, Seen
from controller.resources.autoscaler import autoscaler
from controller.resources.disruption_budget import disruption_budget
from controller.resources.identity import Owner, left_behind, owned
from controller.resources.network_policy import NetworkSurroundings, network_policy
from controller.resources.service import service
from controller.resources.service_monitor import service_monitor
from controller.settings import Settings

log = logging.getLogger(__name__)

# On a child: what was written last, so that what the spec no longer says can be told from what others have added.
APPLIED = f"{GROUP}/applied"


class Children:
    """Everything that a ModelDeployment owns besides its Deployment's template.

    Looked up in what the watches have seen, so that a look costs no request. Where a write shows that this is not what is
    there any more, it is looked up afresh.
    """

    def __init__(self, cluster: Cluster, seen: Seen, settings: Settings) -> None:
        self._cluster = cluster
        self._seen = seen
        self._defaults = settings.default_children
        self._network = NetworkSurroundings(
            by_default=self._defaults.network_policy.enabled,
            monitoring_from=self._defaults.network_policy.monitoring_from,
            operator_namespace=settings.namespace,
            store_pods=settings.store_pods,
            store_port=settings.store_port,
        )
        self._deadline = settings.default_rollout.progress_deadline_seconds

    async def bring(self, owner: Owner, spec: ModelDeploymentSpec, deployment: Object | None) -> None:
        """Bring the children to what `spec` wants, side by side: one that cannot be brought keeps no other from it.

        Raises what is wrong with one of them, first what needs a person (NameConflict).
        """
        parts = [
            self.bring_one("Service", owner, service(owner, spec)),
            self._bring_number(owner, spec, deployment),
            self.bring_one(
                "PodDisruptionBudget",
                owner,
                disruption_budget(owner, spec, by_default=self._defaults.disruption_budget.enabled),
            ),
            self.bring_one("NetworkPolicy", owner, network_policy(owner, spec, self._network)),
            self._bring_monitor(owner, spec),
        ]
        found = await asyncio.gather(*parts, return_exceptions=True)
        errors = sorted((each for each in found if isinstance(each, BaseException)), key=_urgency)
        if errors:
            raise errors[0]

    async def bring_one(self, kind: str, owner: Owner, wanted: Object | None) -> bool:
        """Bring one child to what is wanted; None: away with it, if it is ours. Whether it was made just now."""
        live = await self._look(kind, owner)
        try:
            return await self._bring_to(kind, owner, live, wanted)
        except (AlreadyExists, Conflict):  # the watch has yet to tell, or never does: somebody else's is not seen
            live = await self._cluster.get(kind, owner.namespace, owner.name)
            return await self._bring_to(kind, owner, live, wanted)

    async def _look(self, kind: str, owner: Owner) -> Object | None:
        """The child as it was last seen. What is to be called somebody else's is read afresh."""
        live = self._seen.get(kind, owner.namespace, owner.name)
        if self._seen.complete(kind, owner.namespace) and (live is None or owned(live, owner.uid)):
            return live
        return await self._cluster.get(kind, owner.namespace, owner.name)

    async def _bring_to(self, kind: str, owner: Owner, live: Object | None, wanted: Object | None) -> bool:
        """Make of `live` what is wanted. Every write holds only while `live` is what is there."""
        if wanted is None:
            if live is not None and owned(live, owner.uid):
                await self._cluster.delete(kind, live)
            return False
        if live is None:
            await self._cluster.create(kind, marked(wanted))
            return True
        if not owned(live, owner.uid):
            raise name_taken(kind, owner, live)
        if operations := difference(live, wanted):
            await self._cluster.patch(kind, live, operations)
        return False

    async def _bring_monitor(self, owner: Owner, spec: ModelDeploymentSpec) -> None:
        """The ServiceMonitor, on a cluster that knows them. The watch tells when it comes to know them."""
        if self._seen.absent("ServiceMonitor"):
            return
        defaults = self._defaults.service_monitor
        try:
            await self.bring_one(
                "ServiceMonitor",
                owner,
                service_monitor(owner, spec, by_default=defaults.enabled, labels=defaults.labels),
            )
        except ApiError as error:
            # While a definition is being removed, its kind is refused in these ways. That is no trouble of the model's.
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
                raise
            log.info("KindRefused", extra={"error": str(error)})

    async def _bring_number(self, owner: Owner, spec: ModelDeploymentSpec, deployment: Object | None) -> None:
        """The autoscaler, and the Deployment's fields outside of its template that the spec names."""
        made = await self.bring_one("HorizontalPodAutoscaler", owner, autoscaler(owner, spec))
        if deployment is None:
            return
        # Replicas are the spec's only while it names them; otherwise they belong to whoever scales. An autoscaler never comes
        # back from 0: where it is switched on for what was stopped, it is given its minimum to begin with.
        live = deployment["spec"].get("replicas")
        if spec.replicas is not None and live != spec.replicas:
            if live and spec.replicas:
                await self._refuse_contest(owner, spec.replicas)
            await self._scale(owner, spec.replicas)
        elif made and live == 0 and spec.autoscaling is not None:
            await self._scale(owner, spec.autoscaling.min_replicas)
        deadline = (spec.rollout and spec.rollout.progress_deadline_seconds) or self._deadline
        if deployment["spec"].get("progressDeadlineSeconds") != deadline:
            fresh = await self._cluster.get("Deployment", owner.namespace, owner.name)
            if fresh is not None and owned(fresh, owner.uid):
                change = {"op": "add", "path": "/spec/progressDeadlineSeconds", "value": deadline}
                await self._cluster.patch("Deployment", fresh, [change])

    async def _scale(self, owner: Owner, replicas: int) -> None:
        await self._cluster.scale("Deployment", owner.namespace, owner.name, replicas)

    async def _refuse_contest(self, owner: Owner, replicas: int) -> None:
        """An autoscaler of somebody else's may write the number too; two who write it take turns for ever. None acts on 0."""
        for each in await self._cluster.list("HorizontalPodAutoscaler", owner.namespace):
            target = each["spec"]["scaleTargetRef"]
            if (target["kind"], target["name"]) == ("Deployment", owner.name) and not (
                owned(each, owner.uid) or left_behind(each, owner)
            ):
                name = each["metadata"]["name"]
                raise Stalling(
                    "ReplicasContested",
                    f"spec.replicas is {replicas}, and the HorizontalPodAutoscaler {name} chooses a number of its own;"
                    f" remove spec.replicas to leave it to {name}, or remove {name}",
                )


def marked(wanted: Object) -> Object:
    """`wanted` with the note of what it says."""
    metadata = wanted["metadata"]
    annotations: dict[str, str] = metadata.get("annotations") or {}
    said = json.dumps([wanted["spec"], metadata["labels"], annotations], sort_keys=True)
    note = {
        "hash": hashlib.sha256(said.encode()).hexdigest()[:16],
        "labels": sorted(metadata["labels"]),
        "annotations": sorted(annotations),
    }
    return {**wanted, "metadata": {**metadata, "annotations": {**annotations, APPLIED: json.dumps(note)}}}


def difference(live: Object, wanted: Object) -> list[Object]:
    """The operations that make `live` what is wanted; none where it is. What others have added stays, what we had goes."""
    wanted = marked(wanted)
    if covers(live["spec"], wanted["spec"]) and covers(live["metadata"], _kept(wanted["metadata"])):
        return []
    # Ours replaced as a whole, everybody else's left alone. Server-side apply could not take away a port that the
    # creation, another operation in its books, had set.
    operations = [{"op": "add", "path": f"/spec/{name}", "value": value} for name, value in wanted["spec"].items()]
    before = _note(live)
    for part in ("labels", "annotations"):
        operations += _keys(part, live["metadata"].get(part), wanted["metadata"][part], before.get(part, []))
    return operations


def _keys(part: str, live: dict[str, str] | None, wanted: dict[str, str], before: list[str]) -> Iterator[Object]:
    """One operation a key of ours: `live` may have been seen without some of the others' (`controller.index.trimmed`)."""
    if live is None:
        yield {"op": "add", "path": f"/metadata/{part}", "value": wanted}
        return
    for key, value in wanted.items():
        if live.get(key) != value:
            yield {"op": "add", "path": f"/metadata/{part}/{_escaped(key)}", "value": value}
    for key in sorted((live.keys() & set(before)) - wanted.keys()):
        yield {"op": "remove", "path": f"/metadata/{part}/{_escaped(key)}"}


def _escaped(key: str) -> str:
    """As a JSON pointer (RFC 6901) wants it."""
    return key.replace("~", "~0").replace("/", "~1")


def covers(live: object, wanted: object) -> bool:
    """Whether everything that `wanted` says is so in `live`, whatever else others have added there.

    The API server leaves out what is empty, such as `matchLabels: {}`; written again, it would be left out again, for ever.
    """
    if isinstance(wanted, dict) and isinstance(live, dict):
        return all(covers(live[key], value) if key in live else value in ({}, []) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(live, list):
        return len(live) == len(wanted) and all(covers(one, other) for one, other in zip(live, wanted, strict=True))
    return live == wanted


def name_taken(kind: str, owner: Owner, by: Object) -> ReconcileError:
    """What it means that the child's name is taken by an object that is not the owner's."""
    if left_behind(by, owner):
        return Waiting(
            "Creating",
            f"the {kind} of the ModelDeployment that had this name before is being removed; where it stays for longer than a"
            f" minute, look at what keeps it: {commands.show(owner, kind)}",
            delay=2,
        )
    return Stalling(
        "NameConflict",
        f"a {kind} named {owner.name} is there already and belongs to somebody else;"
        f" rename the ModelDeployment, or remove that {kind}",
    )


def _kept(metadata: Object) -> Object:
    return {"labels": metadata["labels"], "annotations": metadata["annotations"]}


def _note(live: Object) -> dict[str, list[str]]:
    """What we wrote last, as `marked` noted it; nothing where somebody else wrote there."""
    try:
        note = json.loads((live["metadata"].get("annotations") or {}).get(APPLIED, "{}"))
        return {part: [str(key) for key in note.get(part, [])] for part in ("labels", "annotations")}
    except (ValueError, AttributeError, TypeError):
        return {}


def _urgency(error: BaseException) -> int:
    """What is no error of the cluster's first, then what needs a person, then what heals by itself."""
    if not isinstance(error, ReconcileError | ApiError):
        return 0
    return 1 if isinstance(error, Stalling) else 2
