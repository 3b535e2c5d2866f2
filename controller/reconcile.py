"""The story of a ModelDeployment: observe, decide, act, tell.

Whatever happens on the way ends in one place, which derives the whole status from what was seen and done, and writes it
only where it differs. Every decision is made from fresh reads, so a second reconcile of the same state writes nothing.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from pydantic import ValidationError

from controller import gates, rollout, status
from controller.api import ModelReference, RolloutSettings
from controller.children import Children, name_conflict
from controller.cluster import AlreadyExists, ApiError, Conflict
from controller.conditions import Outcome
from controller.errors import ReconcileError, Stalling, Waiting
from controller.observation import Live, observe, progress
from controller.ports import Cluster, Object, Registry, Seen
from controller.resolution import Resolution, Resolver
from controller.resource import Resource, read_resource, read_status
from controller.resource_metrics import ResourceMetrics, Told
from controller.resources import deployment as deployments
from controller.resources.deployment import PodGates, PodSettings
from controller.rollout import (
    Cause,
    Decision,
    Kind,
    Mode,
    Observed,
    OnFailure,
    Pause,
    PinnedModel,
    Policy,
    Rollout,
)
from controller.settings import RolloutDefaults, ServerUpdate
from controller.store import Store
from controller.text import bounded
from controller.workload import answering, workload

log = logging.getLogger(__name__)

BLOCKED_DELAY = 60.0  # seconds; what is in the way is no child of ours, so no event tells when it is gone

CONTESTED_WINDOW = timedelta(minutes=10)
CONTESTED_TIMES = 3  # in that window; whoever changes a template more often than that is not fought

Key = tuple[str, str]
"""Namespace and name of a ModelDeployment."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Reconciler:
    """Brings ModelDeployments to what they ask for, one at a time."""

    def __init__(
        self,
        cluster: Cluster,
        seen: Seen,
        registry: Registry,
        store: Store,
        children: Children,
        pods: PodSettings,
        rollouts: RolloutDefaults,
        server_update: ServerUpdate,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._cluster = cluster
        self._seen = seen
        self._resolver = Resolver(registry, store, pods)
        self._pods = pods
        self._rollouts = rollouts
        self._server_update = server_update
        self._clock = clock
        self._children = children
        self._reverted: dict[Key, list[datetime]] = {}
        self._updating: set[Key] = set()
        self.followed: dict[Key, ModelReference] = {}
        """The references of the resources that are there: what the poll of the registry asks for."""
        self.metrics = ResourceMetrics(seen)

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one resource; seconds until the next, or None where an event will tell."""
        body = await self._cluster.get("ModelDeployment", *key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._forget(key)  # its children go with it: they are owned
            self.metrics.forget(key)
            return None
        try:
            resource = read_resource(body)
        except ValidationError as error:
            await self._tell_unsupported(body, error)
            return None
        if resource.disabled:
            self._forget(key)
            await self._only_tell(resource)
            return None
        self.followed[key] = resource.spec.model

        found = await self._resolver.resolve(resource)  # first: it may take a while, and what is live is to be fresh
        live = await observe(self._cluster, self._seen, resource.owner)
        resolution = self._resolver.from_memory(resource, live.remembered, found)
        observed = self._observed(key, resource, live, resolution)
        decision = rollout.decide(observed)
        blocked: ReconcileError | None = None
        try:
            live = await self._act(key, resource, live, decision)
        except (ReconcileError, ApiError) as error:
            blocked = _blocked(error)
        acted = blocked is None
        try:
            await self._children.bring(resource.owner, resource.spec, live.deployment)
        except (Stalling, ApiError) as error:
            blocked = blocked or _blocked(error)

        outcome = replace(_outcome(resource, live, resolution, decision, blocked, self._now()), acted=acted)
        await self._tell(resource, outcome)
        return _next_look(resolution, decision, blocked, outcome)

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)  # as precise as what Kubernetes keeps of a time

    def _forget(self, key: Key) -> None:
        self.followed.pop(key, None)
        self._reverted.pop(key, None)
        self._updating.discard(key)

    async def _only_tell(self, resource: Resource) -> None:
        """A person wants nothing to be touched: look, and say so."""
        live = await observe(self._cluster, self._seen, resource.owner)
        current = live.rollout
        decision = Decision(kind=Kind.KEEP, model=current.model if current else None, pause=Pause.DISABLED)
        await self._tell(resource, _outcome(resource, live, Resolution(), decision, None, self._now()))

    def _observed(self, key: Key, resource: Resource, live: Live, resolution: Resolution) -> Observed:
        before, current = resource.before, live.rollout
        held = before.hold if before.hold is not None and before.hold.by == "Person" else None
        if held is not None and (held.request, held.retry) != (resource.word.request, resource.word.retry):
            held = None
        return Observed(
            word=resource.word,
            inputs=deployments.inputs(resource.spec),
            now=self._now(),
            target=resolution.target,
            live=current,
            remembered=live.remembered,
            last_served=status.pinned(before, before.serving.digest) if before.serving else None,
            last_hold=status.pinned(before, held.digest) if held else None,
            quarantined=status.quarantined(before),
            policy=self._policy(resource),
            progress=progress(resource, live, self._now()),
            update_to=self._update_to(key, resource, live),
        )

    def _policy(self, resource: Resource) -> Policy:
        said = resource.spec.rollout or RolloutSettings()
        return Policy(
            mode=Mode(said.mode or self._rollouts.mode),
            on_failure=OnFailure(said.on_failure or self._rollouts.on_failure),
            approved=resource.approved,
        )

    def _update_to(self, key: Key, resource: Resource, live: Live) -> str:
        """The present server image, where running pods are to be moved to it and not too many others are on their way."""
        image = self._image_ahead(resource, live.rollout)
        if self._server_update.policy != "Rolling":
            return ""
        if live.deployment is not None and workload(live.deployment).complete:
            self._updating.discard(key)  # it has arrived, or was taken back: another one's turn
        if not image:
            return ""
        turn = key in self._updating or len(self._updating) < self._server_update.max_concurrent
        return image if turn else ""

    def _image_ahead(self, resource: Resource, live: Rollout | None) -> str:
        """The server image that a rollout would give to what is live; empty where it has that already."""
        if live is None:
            return ""
        try:
            image = self._pods.runtime_for(resource.spec, live.model).image
        except Stalling:
            return ""  # a runtime that is not there; the gates say so
        return "" if image == live.image else image

    async def _act(self, key: Key, resource: Resource, live: Live, decision: Decision) -> Live:
        """Carry the decision out; what is live then."""
        owner, spec, model = resource.owner, resource.spec, decision.model
        if decision.kind in (Kind.KEEP, Kind.RECORD):
            live = await self._clear_mark(resource, live)
        if model is None or decision.kind in (Kind.WAIT, Kind.KEEP):
            return live
        if decision.kind is Kind.RECORD and live.deployment is not None:
            remembered = deployments.word_annotations(resource.word, decision.held_inputs)
            operations = deployments.annotation_patch(live.deployment, remembered)
            return replace(live, deployment=await self._cluster.patch("Deployment", live.deployment, operations))
        if decision.kind is Kind.RESTORE and live.deployment is not None:
            return await self._restore(key, live, live.deployment, decision, model)

        if live.name_taken:
            raise name_conflict("Deployment", owner)
        await self._resolver.have_in_store(model, resource.owner.namespace)
        annotations = deployments.rollout_annotations(
            resource.word,
            deployments.inputs(spec),
            held=decision.held,
            cause=decision.cause or "",
            change_cause=status.change_cause(decision, resource.word),
        )
        said = spec.rollout or RolloutSettings()
        deadline = said.progress_deadline_seconds or self._rollouts.progress_deadline_seconds
        judged = self._pod_gates(resource, model, deadline)
        template = deployments.pod_template(owner, spec, model, decision.number, self._pods, judged)
        if live.deployment is None:
            body = deployments.deployment(owner, spec, template, annotations, deadline)
            return Live(deployment=await self._cluster.create("Deployment", body))
        if decision.cause is Cause.SERVER_UPDATE:
            self._updating.add(key)
        operations = deployments.template_patch(live.deployment, template, annotations)
        return replace(live, deployment=await self._cluster.patch("Deployment", live.deployment, operations), trouble=None)

    async def _restore(self, key: Key, live: Live, deployment: Object, decision: Decision, model: PinnedModel) -> Live:
        """Put the template of an earlier ReplicaSet back. The mark first: a crash in between is then no person's undo."""
        if decision.cause is Cause.EDIT_REVERTED:
            self._note_edit(key, deployment)
        elif decision.cause is Cause.RETRY:  # a way back waits for nothing: its pods may well be running still
            await self._resolver.have_in_store(model, key[0])
        current = live.rollout
        if decision.cause is Cause.ROLLED_BACK and current is not None:
            for replica_set in deployments.of_rollout(live.replica_sets, current.number)[-1:]:
                marked = await self._cluster.patch(
                    "ReplicaSet", replica_set, deployments.mark_patch(replica_set, decision.failed)
                )
                others = (each for each in live.replica_sets if each["metadata"]["uid"] != marked["metadata"]["uid"])
                live = replace(live, replica_sets=(*others, marked))
        first, *_ = deployments.of_rollout(live.replica_sets, decision.number)
        why = status.put_back_cause(decision)
        operations = deployments.restore_patch(deployment, first, held=decision.held, change_cause=why)
        return replace(live, deployment=await self._cluster.patch("Deployment", deployment, operations), trouble=None)

    def _note_edit(self, key: Key, deployment: Object) -> None:
        """Whoever keeps changing the template is told of, not fought."""
        now = self._now()
        times = [time for time in self._reverted.get(key, []) if now - time < CONTESTED_WINDOW]
        if len(times) >= CONTESTED_TIMES:
            self._reverted[key] = times
            who = deployments.editor(deployment) or "somebody"
            raise Waiting(
                "TemplateContested",
                f"{bounded(who, 100)} keeps changing the Deployment's pod template; it was put back {len(times)} times in"
                f" {CONTESTED_WINDOW.seconds // 60} minutes and is now left alone for a while. Keep it from doing so;"
                " what pods should be like belongs into the ModelDeployment's spec",
                delay=120,
            )
        self._reverted[key] = [*times, now]

    async def _clear_mark(self, resource: Resource, live: Live) -> Live:
        """What failed once and serves now is no failure any more."""
        current, deployment = live.rollout, live.deployment
        if deployment is not None and deployments.FAILED in (deployment["metadata"].get("annotations") or {}):
            # kubectl brought it along when a person went back to what had failed.
            operations = deployments.annotation_patch(deployment, {})
            live = replace(live, deployment=await self._cluster.patch("Deployment", deployment, operations))
        if current is None or current.failed is None or not progress(resource, live, self._now()).completed:
            return live
        for replica_set in deployments.of_rollout(live.replica_sets, current.number):
            if deployments.FAILED in (replica_set["metadata"].get("annotations") or {}):
                cleared = await self._cluster.patch("ReplicaSet", replica_set, deployments.mark_patch(replica_set, None))
                others = (each for each in live.replica_sets if each["metadata"]["uid"] != cleared["metadata"]["uid"])
                live = replace(live, replica_sets=(*others, cleared))
        return live

    def _pod_gates(self, resource: Resource, model: PinnedModel, seconds: int) -> PodGates | None:
        """What new pods judge themselves by for so many seconds, where the model's files were never rolled out with success."""
        wanted = resource.spec.gates.with_defaults(self._pods.default_gates)
        failed = {each.digest for each in resource.before.quarantined}
        proved = {entry.digest for entry in resource.before.history} - failed
        return gates.in_pods(wanted, model.version, model.digest, proved, self._now(), seconds)

    async def _tell(self, resource: Resource, outcome: Outcome) -> None:
        """The one exit: status where it differs, events for what changed, and the metrics."""
        after = status.next_status(outcome, resource.before)
        written = after.model_dump(mode="json", by_alias=True, exclude_none=True)
        unchanged = written == resource.body.get("status")
        if not unchanged and not await self._written(resource.body, written):
            return
        told = Told.of(
            resource.generation,
            after,
            requested=resource.spec.model.label,
            objectives=resource.spec.monitoring.slo if resource.spec.monitoring else None,
            behind=bool(self._image_ahead(resource, outcome.live)),
        )
        self.metrics.tell((resource.owner.namespace, resource.owner.name), told)
        if unchanged:
            return
        for news in status.announcements(outcome, resource.before, after):
            level = logging.WARNING if news.kind == "Warning" else logging.INFO
            log.log(level, news.reason, extra={"resource": str(outcome.owner), "told": news.message})
            await self._cluster.announce(resource.body, news.kind, news.reason, news.message)

    async def _tell_unsupported(self, body: Object, error: ValidationError) -> None:
        mistakes = "; ".join(f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in error.errors())
        message = bounded(f"this version of the operator does not understand the spec: {mistakes}", 1000)
        before = read_status(body)
        after = status.unsupported(before, int(body["metadata"]["generation"]), self._now(), message)
        written = after.model_dump(mode="json", by_alias=True, exclude_none=True)
        if written == body.get("status") or await self._written(body, written):
            generation, key = int(body["metadata"]["generation"]), (body["metadata"]["namespace"], body["metadata"]["name"])
            self.metrics.tell(key, Told.of(generation, after, requested="", objectives=None, behind=False))

    async def _written(self, body: Object, status: Object) -> bool:
        """Write the status; false where the resource was deleted meanwhile, of which there is nothing to tell."""
        try:
            await self._cluster.replace_status("ModelDeployment", {**body, "status": status})
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True


def _blocked(error: ReconcileError | ApiError) -> ReconcileError:
    """Why a write did not come about, for the status; errors that only a second look can mend are raised again."""
    if isinstance(error, ReconcileError):
        return error
    if isinstance(error, Conflict | AlreadyExists) or error.status in (401, 429) or error.status >= 500:
        raise error
    return Waiting("WriteRefused", f"the API server refuses a write: {bounded(error.message, 500)}", BLOCKED_DELAY)


def _outcome(
    resource: Resource, live: Live, resolution: Resolution, decision: Decision, blocked: ReconcileError | None, now: datetime
) -> Outcome:
    current = live.rollout
    return Outcome(
        owner=resource.owner,
        spec=resource.spec,
        generation=resource.generation,
        word=resource.word,
        now=now,
        decision=decision,
        asked=resolution.asked,
        unresolved=resolution.unresolved,
        refusal=resolution.refusal,
        notes=resolution.notes,
        blocked=blocked,
        live=current,
        remembered=live.remembered,
        workload=workload(live.deployment) if live.deployment else None,
        answering=answering(live.replica_sets),
        fault=live.trouble,
    )


def _next_look(resolution: Resolution, decision: Decision, blocked: ReconcileError | None, outcome: Outcome) -> float | None:
    """Seconds until what no event tells may have changed."""
    delays = [error.delay for error in (resolution.unresolved, blocked) if isinstance(error, Waiting)]
    if blocked is not None and not delays:
        delays.append(BLOCKED_DELAY)
    if resolution.refusal is not None and resolution.refusal.again is not None:
        delays.append(resolution.refusal.again)
    if decision.failed is not None and not decision.failed.by_version and decision.kind is Kind.KEEP:
        delays.append(max(1.0, (decision.failed.next_attempt - outcome.now).total_seconds()))
    return min(delays, default=None)
