"""The story of a ModelDeployment: observe, decide, act, tell.

Whatever happens on the way ends in one place, which derives the whole status from what was seen and done, and writes it
only where it differs. Every decision is made from fresh reads, so a second reconcile of the same state writes nothing.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from pydantic import ValidationError

from controller import announcements, logs, pod_gates, status
from controller.api import ModelReference, RolloutSettings
from controller.children import Children
from controller.cluster import AlreadyExists, ApiError, Conflict
from controller.conditions import Outcome
from controller.decide import decide
from controller.decision import Decision, Kind, Observed, Pause
from controller.deployer import Deployer
from controller.errors import ReconcileError, Stalling, Waiting
from controller.observation import Live, observe, progress
from controller.ports import Cluster, Key, Object, Registry, Seen
from controller.resolution import Resolution, Resolver
from controller.resource import Resource, read_resource, read_status
from controller.resource_metrics import ResourceMetrics, Told
from controller.resources import deployment as deployments
from controller.resources.deployment import PodSettings
from controller.rollout import Cause, Mode, OnFailure, Policy, Rollout, Word, newest_of
from controller.settings import RolloutDefaults, ServerUpdate
from controller.store import Store
from controller.text import bounded
from controller.turns import Turns
from controller.workload import answering, workload

ASKED_LONG = timedelta(seconds=1)  # the registry took so long that a person may have said something else meanwhile
BLOCKED_DELAY = 60.0  # seconds; what is in the way is no child of ours, so no event tells when it is gone


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
        self._deployer = Deployer(cluster, self._resolver, pods, rollouts, self._now)
        self._pods = pods
        self._rollouts = rollouts
        self._server_update = server_update
        self.turns = Turns(server_update.max_concurrent)
        """Who is moved to another server image; `turns.call` is to have a resource reconciled."""
        self._clock = clock
        self._children = children
        self.followed: dict[Key, ModelReference] = {}
        """The references of the resources that are there: what the poll of the registry asks for."""
        self.metrics = ResourceMetrics(seen)

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one resource; seconds until the next, or None where an event will tell."""
        logs.resource.set("/".join(key))
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

        started = self._clock()
        found = await self._resolver.resolve(resource)  # first: it may take a while, and what is live is to be fresh
        if self._clock() - started > ASKED_LONG:
            await self._still_said(body)
        live = await observe(self._cluster, self._seen, resource.owner)
        resource = replace(pod_gates.without_lifted(resource, self._pods.default_gates), word=_word(resource, live))
        live = pod_gates.weighed_marks(resource, self._pods.default_gates, live)
        resolution = self._resolver.from_memory(resource, live.remembered, found)
        decision = decide(self._observed(key, resource, live, resolution))
        if decision.cause is Cause.SERVER_UPDATE:
            self.turns.take(key)  # before anything is awaited: others are being decided on meanwhile
        self.turns.call_next()
        blocked: ReconcileError | None = None
        was_live = live
        try:
            live = await self._deployer.carry_out(resource, live, decision)
        except (ReconcileError, ApiError) as error:
            blocked = _blocked(error)
            if decision.cause is Cause.SERVER_UPDATE:
                self.turns.give_up(key)
            with contextlib.suppress(ApiError):  # whoever refused the template may refuse the note on it, too
                live = await self._deployer.note_unmet(resource, live, decision)
        try:
            await self._children.bring(resource.owner, resource.spec, live.deployment)
        except (ReconcileError, ApiError) as error:
            blocked = blocked or _blocked(error)

        outcome = replace(
            _outcome(resource, live, resolution, decision, blocked, self._now(), self._policy(resource)),
            found=was_live.rollout,
            found_workload=workload(was_live.deployment) if was_live.deployment else None,
        )
        await self._tell(resource, outcome)
        return _next_look(resolution, decision, blocked, outcome)

    async def _still_said(self, body: Object) -> None:
        """Raises Conflict where a person has said something else while the registry took its time to answer."""
        fresh = await self._cluster.get("ModelDeployment", body["metadata"]["namespace"], body["metadata"]["name"])
        if fresh is None or _said(fresh) != _said(body):
            raise Conflict(409, "Conflict", "the resource was changed while the registry was asked")

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)  # as precise as what Kubernetes keeps of a time

    def _forget(self, key: Key) -> None:
        self.followed.pop(key, None)
        self._deployer.forget(key)
        self.turns.give_up(key)

    async def _only_tell(self, resource: Resource) -> None:
        """A person wants nothing to be touched: look, and say so."""
        live = await observe(self._cluster, self._seen, resource.owner)
        current = live.rollout
        decision = Decision(kind=Kind.KEEP, model=current.model if current else None, pause=Pause.DISABLED)
        await self._tell(resource, _outcome(resource, live, Resolution(), decision, None, self._now(), self._policy(resource)))

    def _observed(self, key: Key, resource: Resource, live: Live, resolution: Resolution) -> Observed:
        before, current = resource.before, live.rollout
        held = before.hold if before.hold is not None and before.hold.by == "Person" else None
        image = self._image(resource, current)
        moved = progress(resource, live, self._now())
        if moved.failure is not None and current is not None:
            failure = pod_gates.weighed(resource, self._pods.default_gates, current.model, moved.failure)
            moved = replace(moved, failure=failure)
        return Observed(
            word=resource.word,
            inputs=deployments.inputs(resource.spec),
            now=self._now(),
            target=resolution.target,
            refused=resolution.refusal is not None,
            live=current,
            remembered=live.remembered,
            last_number=max(
                (number for each in (before.history, before.quarantined) for number in (entry.rollout for entry in each)),
                default=0,
            ),
            last_served=status.last_served(before),
            last_hold=status.pinned(before, held.digest) if held else None,
            last_hold_word=Word(request=held.request, retry=held.retry) if held else None,
            quarantined=status.quarantined(before),
            policy=self._policy(resource),
            progress=moved,
            image=image,
            may_update=self._may_update(key, live, image),
        )

    def _policy(self, resource: Resource) -> Policy:
        said = resource.spec.rollout or RolloutSettings()
        return Policy(
            mode=Mode(said.mode or self._rollouts.mode),
            on_failure=OnFailure(said.on_failure or self._rollouts.on_failure),
            approved=resource.approved,
        )

    def _image(self, resource: Resource, current: Rollout | None) -> str:
        """The server image that what is live would get today; empty where there is none, which the gates say."""
        if current is None:
            return ""
        try:
            return self._pods.runtime_for(resource.spec, current.model).image
        except Stalling:
            return ""

    def _is_behind(self, resource: Resource, current: Rollout | None) -> bool:
        """Whether the next rollout would bring another server image, too."""
        return current is not None and self._image(resource, current) not in ("", current.image)

    def _may_update(self, key: Key, live: Live, image: str) -> bool:
        """Whether running pods are to be moved to `image`, and not too many others are on their way."""
        if self._server_update.policy != "Rolling" or live.deployment is None or live.rollout is None:
            return False
        if workload(live.deployment).complete:
            self.turns.leave(key)  # it has arrived, or was taken back: another one's turn
        return image not in ("", live.rollout.image) and self.turns.may(key)

    async def _tell(self, resource: Resource, outcome: Outcome) -> None:
        """The one exit: events for what changes, status where it differs, and the metrics.

        Events first: once the status is written, nobody can see any more what has changed. Whoever comes to write it again,
        after a crash or a conflict, finds the same status before, and tells the same under the same names.
        """
        after = status.next_status(outcome, resource.before)
        written = after.model_dump(mode="json", by_alias=True, exclude_none=True)
        known = resource.body.get("status")
        if written != known:
            occasion = json.dumps(known, sort_keys=True)
            for news in announcements.changes(outcome, resource.before, after):
                await self._cluster.announce(resource.body, news.kind, news.reason, news.message, occasion)
            if not await self._written(resource.body, written):
                return
        key = (resource.owner.namespace, resource.owner.name)
        told = Told.of(resource.generation, after, spec=resource.spec, behind=self._is_behind(resource, outcome.live))
        self.metrics.tell(key, told)

    async def _tell_unsupported(self, body: Object, error: ValidationError) -> None:
        mistakes = "; ".join(f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in error.errors())
        message = bounded(f"this version of the operator does not understand the spec: {mistakes}", 1000)
        before = read_status(body)
        after = status.unsupported(before, int(body["metadata"]["generation"]), self._now(), message)
        written = after.model_dump(mode="json", by_alias=True, exclude_none=True)
        if written == body.get("status") or await self._written(body, written):
            generation, key = int(body["metadata"]["generation"]), (body["metadata"]["namespace"], body["metadata"]["name"])
            self.metrics.tell(key, Told.of(generation, after, spec=None, behind=False))

    async def _written(self, body: Object, status: Object) -> bool:
        """Write the status; false where the resource was deleted meanwhile, of which there is nothing to tell."""
        try:
            await self._cluster.replace_status("ModelDeployment", {**body, "status": status})
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True


def _said(body: Object) -> tuple[object, ...]:
    """What a person can say: the spec, by its generation, and the annotations."""
    metadata = body["metadata"]
    return metadata["uid"], metadata["generation"], metadata.get("annotations")


def _word(resource: Resource, live: Live) -> Word:
    """What a person last said. A retry annotation that was taken away says nothing: what was asked for again stays so."""
    if resource.word.retry:
        return resource.word
    known = [live.rollout] if live.rollout is not None else sorted(live.remembered, key=lambda each: each.number)[-1:]
    if known:
        return replace(resource.word, retry=newest_of(known[0], live.remembered).word.retry)
    hold = resource.before.hold
    return resource.word if hold is None else replace(resource.word, retry=hold.retry)


def _blocked(error: ReconcileError | ApiError) -> ReconcileError:
    """Why a write did not come about, for the status; errors that only a second look can mend are raised again."""
    if isinstance(error, ReconcileError):
        return error
    if isinstance(error, Conflict | AlreadyExists) or error.status in (401, 429) or error.status >= 500:
        raise error
    return Waiting("WriteRefused", f"the API server refuses a write: {bounded(error.message, 500)}", BLOCKED_DELAY)


def _outcome(
    resource: Resource,
    live: Live,
    resolution: Resolution,
    decision: Decision,
    blocked: ReconcileError | None,
    now: datetime,
    policy: Policy,
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
        approved=policy.approved,
        mode=policy.mode,
        mode_by_default=resource.spec.rollout is None or resource.spec.rollout.mode is None,
        blocked=blocked,
        live=current,
        remembered=live.remembered,
        workload=workload(live.deployment) if live.deployment else None,
        answering=answering(live.replica_sets),
        engines=live.engines,
        fault=live.trouble,
    )


def _next_look(resolution: Resolution, decision: Decision, blocked: ReconcileError | None, outcome: Outcome) -> float | None:
    """Seconds until what no event tells may have changed."""
    delays = [error.delay for error in (resolution.unresolved, blocked) if isinstance(error, Waiting)]
    if blocked is not None and not delays:
        delays.append(BLOCKED_DELAY)
    if resolution.refusal is not None and resolution.refusal.again is not None:
        delays.append(resolution.refusal.again)
    if decision.again is not None:
        delays.append(max(1.0, (decision.again - outcome.now).total_seconds()))
    return min(delays, default=None)
