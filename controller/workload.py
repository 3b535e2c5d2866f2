"""How the pods are doing, read from a Deployment and its ReplicaSets, and when a rollout has failed for certain. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.pod_faults import Fault
from controller.ports import Object
from controller.resources.rollouts import read_rollout
from controller.rollout import Failure, Rollout
from controller.text import bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A Deployment's own account of its pods."""

    wanted: int
    total: int
    updated: int
    ready: int
    available: int
    seen: bool
    """The Deployment controller has seen the template that is live; before that, the numbers are of the one before."""
    deadline_seconds: int
    deadline_exceeded: bool
    """The live template has had its time. Before it has a pod, what the Deployment says of that may be of an earlier try."""
    failure: str
    """Why no pod, or no ReplicaSet for them, can be created (a quota, an admission policy), or empty."""

    @property
    def complete(self) -> bool:
        """As `kubectl rollout status` counts: every pod is of the live template, and available."""
        return self.seen and self.updated == self.wanted == self.total and self.available >= self.wanted


def certain_failure(
    pods: Workload, trouble: Fault | None, live: Rollout, remembered: Sequence[Rollout], now: datetime
) -> Failure | None:
    """The first certain sign that a rollout will not come about: what the version did, or that its time is up."""
    if pods.complete or not pods.seen:
        return None
    if trouble is not None and trouble.by_model:
        limit = live.judged.limit(trouble.reason) if live.judged is not None else None
        return Failure(reason=trouble.reason, message=trouble.message, by_version=True, at=now, limit=limit)
    if not pods.deadline_exceeded:
        return None
    if pods.failure:
        return Failure(reason="PodsNotCreated", message=f"no pod can be created: {pods.failure}", by_version=False, at=now)
    if trouble is not None:
        return Failure(reason=trouble.reason, message=trouble.message, by_version=False, at=now)
    time = f"{pods.deadline_seconds} s (rollout.progressDeadlineSeconds)"
    message = f"its pods run, but no more of them became ready within {time}: {numbers(pods)}"
    # A cluster that let it fail before may well be what makes it slow now.
    by_version = not any(_let_fail_by_cluster(each, live) for each in remembered)
    return Failure(reason="ProgressDeadlineExceeded", message=message, by_version=by_version, at=now)


def _let_fail_by_cluster(attempt: Rollout, live: Rollout) -> bool:
    """Whether that was an earlier attempt at the same, and the cluster kept it from coming about."""
    failed = attempt.failed
    same = attempt.model.same(live.model) and attempt.inputs == live.inputs
    return failed is not None and same and failed.retry == live.word.retry and not failed.by_version


def numbers(pods: Workload) -> str:
    """How far a rollout has come."""
    if pods.total <= pods.updated:
        return f"{pods.updated} of {pods.wanted} pods started, {pods.available} ready"
    # Kubernetes does not count how many of those that are ready are new.
    return f"{pods.updated} of {pods.wanted} new pods started; {pods.available} ready, new and earlier ones together"


def workload(deployment: Object) -> Workload:
    status: Object = deployment.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    progressing = conditions.get("Progressing", {})
    seen = int(status.get("observedGeneration", 0)) >= int(deployment["metadata"].get("generation", 0))
    updated, failure = int(status.get("updatedReplicas", 0)), _creation_failure(conditions, seen=seen)
    return Workload(
        wanted=int(deployment["spec"].get("replicas", 1)),
        total=int(status.get("replicas", 0)),
        updated=updated,
        ready=int(status.get("readyReplicas", 0)),
        available=int(status.get("availableReplicas", 0)),
        seen=seen,
        deadline_seconds=int(deployment["spec"].get("progressDeadlineSeconds", 600)),
        deadline_exceeded=progressing.get("reason") == "ProgressDeadlineExceeded" and (updated > 0 or bool(failure)),
        failure=failure,
    )


def _creation_failure(conditions: dict[str, Object], *, seen: bool) -> str:
    """What the Deployment says of pods that cannot be created; of the live template, not of the one before.

    A template whose ReplicaSet cannot be created is never counted as seen: the Deployment controller goes no further.
    """
    said = conditions.get("ReplicaFailure" if seen else "Progressing", {})
    failed = said.get("status") == "True" if seen else said.get("reason") == "ReplicaSetCreateError"
    return bounded(str(said.get("message", "")), 400) if failed else ""


def answering(replica_sets: Sequence[Object]) -> tuple[Rollout, ...]:
    """The rollouts that have a pod which is ready, newest first."""
    rollouts = [
        rollout
        for replica_set in replica_sets
        if (replica_set.get("status") or {}).get("readyReplicas") and (rollout := read_rollout(replica_set)) is not None
    ]
    return tuple(sorted(rollouts, key=lambda rollout: rollout.number, reverse=True))
