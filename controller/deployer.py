"""Carries a decision out on the Deployment and its ReplicaSets, and tidies up behind it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from controller import pod_gates
from controller.announcements import EDIT_REVERTED, change_cause
from controller.api import RolloutSettings
from controller.children import name_taken
from controller.decision import Decision, Kind
from controller.errors import Waiting
from controller.observation import Live, progress
from controller.ports import Cluster, Key, Object
from controller.resolution import Resolver
from controller.resource import Resource
from controller.resources import deployment as deployments
from controller.resources import rollouts
from controller.resources.deployment import PodSettings
from controller.rollout import Cause, PinnedModel, newest_of
from controller.settings import RolloutDefaults
from controller.text import bounded

CONTESTED_WINDOW = timedelta(minutes=10)
CONTESTED_TIMES = 3  # in that window; whoever changes a template more often than that is not fought
CONTESTED_DELAY = 120.0  # seconds


class Deployer:
    """What is done to a Deployment. Every write says what it read, and fails where somebody wrote in between."""

    def __init__(
        self,
        cluster: Cluster,
        resolver: Resolver,
        pods: PodSettings,
        defaults: RolloutDefaults,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._resolver = resolver
        self._pods = pods
        self._defaults = defaults
        self._clock = clock
        self._reverted: dict[Key, list[datetime]] = {}

    def forget(self, key: Key) -> None:
        """The resource is gone, or not ours to touch any more."""
        self._reverted.pop(key, None)

    async def carry_out(self, resource: Resource, live: Live, decision: Decision) -> Live:
        """What is live then. Raises Stalling (NameConflict) and Waiting (TemplateContested, what the store waits for)."""
        if decision.kind in (Kind.KEEP, Kind.RECORD):
            live = await self._tidy(resource, live)
        if decision.model is None or decision.kind in (Kind.WAIT, Kind.KEEP):
            return live
        if live.deployment is None:
            return await self._write_template(resource, live, decision, decision.model)
        if decision.kind is Kind.RECORD:
            return await self._record(resource, live, live.deployment, decision)
        if decision.kind is Kind.RESTORE:
            return await self._put_back(resource, live, live.deployment, decision)
        return await self._write_template(resource, live, decision, decision.model)

    async def note_unmet(self, resource: Resource, live: Live, decision: Decision) -> Live:
        """What is asked for could not be written. Whoever goes back from here on does so knowing of it."""
        current, word = live.rollout, resource.word
        if live.deployment is None or current is None or decision.kind is not Kind.REPLACE:
            return live
        newest = newest_of(current, live.remembered)
        if word in (current.word, current.pending, newest.word, newest.pending):
            return live
        operations = rollouts.annotation_patch(live.deployment, rollouts.pending_annotation(word))
        return replace(live, deployment=await self._cluster.patch("Deployment", live.deployment, operations))

    async def _record(self, resource: Resource, live: Live, deployment: Object, decision: Decision) -> Live:
        """What a person said or chose, on the Deployment whose template stays. What they took back after the operator had
        done so is theirs from now on: its mark names nothing any more that was put back."""
        undone = decision.undone
        if undone is not None and undone.failed is not None and undone.failed.back_to:
            for marked in filter(rollouts.is_marked, rollouts.of_rollout(live.replica_sets, undone.number)):
                operations = rollouts.mark_patch(marked, replace(undone.failed, back_to=0))
                live = live.with_replica_set(await self._cluster.patch("ReplicaSet", marked, operations))
        operations = rollouts.annotation_patch(deployment, _remembered(resource, decision))
        return replace(live, deployment=await self._cluster.patch("Deployment", deployment, operations))

    async def _write_template(self, resource: Resource, live: Live, decision: Decision, model: PinnedModel) -> Live:
        """A new template, in a new Deployment where there is none."""
        owner, spec = resource.owner, resource.spec
        if live.in_the_way is not None:
            raise name_taken("Deployment", owner, live.in_the_way)
        await self._resolver.have_in_store(model, owner.namespace)
        said = spec.rollout or RolloutSettings()
        deadline = said.progress_deadline_seconds or self._defaults.progress_deadline_seconds
        until = self._clock() + timedelta(seconds=deadline)
        judged = pod_gates.holding(resource, self._pods.default_gates, model, until)
        template = deployments.pod_template(owner, spec, model, decision.number, self._pods, judged)
        annotations = rollouts.rollout_annotations(
            decision.word or resource.word,
            deployments.inputs(spec),
            held=decision.held,
            cause=decision.cause or "",
            change_cause=change_cause(decision, resource.word, live.rollout),
        )
        if live.deployment is None:
            body = deployments.deployment(owner, spec, template, annotations, deadline)
            return Live(deployment=await self._cluster.create("Deployment", body))
        operations = rollouts.template_patch(live.deployment, template, annotations)
        return replace(live, deployment=await self._cluster.patch("Deployment", live.deployment, operations), trouble=None)

    async def _put_back(self, resource: Resource, live: Live, deployment: Object, decision: Decision) -> Live:
        """The template of an earlier ReplicaSet. The mark first: a crash in between is then no person's undo."""
        current = live.rollout
        if current is not None and decision.cause is not Cause.EDIT_REVERTED:
            for replica_set in rollouts.of_rollout(live.replica_sets, current.number)[-1:]:
                operations = rollouts.mark_patch(replica_set, decision.failed)
                live = live.with_replica_set(await self._cluster.patch("ReplicaSet", replica_set, operations))
        chosen = rollouts.to_put_back(live.replica_sets, decision.number)
        if decision.cause is Cause.EDIT_REVERTED:
            await self._tell_of_edit(resource, deployment)
            operations = rollouts.unedited_patch(deployment, chosen)
        else:
            operations = rollouts.restore_patch(
                deployment,
                chosen,
                held=decision.held,
                instead_of=current.number if current is not None else 0,
                change_cause=change_cause(decision, resource.word, current),
            )
        return replace(live, deployment=await self._cluster.patch("Deployment", deployment, operations), trouble=None)

    async def _tell_of_edit(self, resource: Resource, deployment: Object) -> None:
        """First: once it is put back, nobody can see that it was another. Raises Waiting where that would be once too often."""
        self._note_edit((resource.owner.namespace, resource.owner.name), deployment)
        occasion = f"{deployment['metadata']['uid']} {deployment['metadata']['generation']}"
        news = EDIT_REVERTED
        await self._cluster.announce(resource.body, news.kind, news.reason, news.message, occasion)

    def _note_edit(self, key: Key, deployment: Object) -> None:
        """Whoever keeps changing the template is told of, not fought."""
        now = self._clock()
        times = [time for time in self._reverted.get(key, []) if now - time < CONTESTED_WINDOW]
        if len(times) >= CONTESTED_TIMES:
            self._reverted[key] = times
            who = rollouts.editor(deployment) or "somebody"
            raise Waiting(
                "TemplateContested",
                f"{bounded(who, 100)} keeps changing the Deployment's pod template; it was put back {len(times)} times in"
                f" {CONTESTED_WINDOW.seconds // 60} minutes and is now left alone for a while. Keep it from doing so;"
                " what pods should be like belongs into the ModelDeployment's spec",
                delay=CONTESTED_DELAY,
            )
        self._reverted[key] = [*times, now]

    async def _tidy(self, resource: Resource, live: Live) -> Live:
        """Marks that do not hold any more go, and so do ReplicaSets that would only mislead `kubectl rollout undo`."""
        current, deployment = live.rollout, live.deployment
        if deployment is None or current is None:
            return live
        if rollouts.is_marked(deployment):  # kubectl brought it along when a person went back to what had failed
            patched = await self._cluster.patch("Deployment", deployment, rollouts.annotation_patch(deployment, {}))
            live = replace(live, deployment=patched)
        completed = progress(resource, live, self._clock()).completed
        if current.failed is not None and (completed or current.failed.back_to):
            # It serves now, or it is live again and on its way: whoever goes back from here is a person.
            left = None if completed else replace(current.failed, back_to=0)
            for replica_set in rollouts.of_rollout(live.replica_sets, current.number):
                if rollouts.is_marked(replica_set):
                    operations = rollouts.mark_patch(replica_set, left)
                    live = live.with_replica_set(await self._cluster.patch("ReplicaSet", replica_set, operations))
        for replica_set in rollouts.superseded(live.replica_sets, current, completed=completed):
            await self._cluster.delete("ReplicaSet", replica_set)
            live = live.without_replica_set(replica_set)
        return live


def _remembered(resource: Resource, decision: Decision) -> dict[str, str]:
    """What is written on a Deployment whose template stays."""
    if decision.pending is not None:
        return rollouts.pending_annotation(decision.pending)
    over = decision.undone.number if decision.undone is not None else 0
    remembered = rollouts.word_annotations(resource.word, decision.held_inputs, over)
    if decision.cause is Cause.UNDO:
        remembered[rollouts.CHANGE_CAUSE] = change_cause(decision, resource.word)
    return remembered
