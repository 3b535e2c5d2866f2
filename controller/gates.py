"""What is checked before a pod starts: an ordered list of pure checks; the first failure is the condition's reason.

Some need only what the registry says, and stop a version before a byte of it is downloaded. What is about the files and
what they may do holds always; what is about the way from one version to the next is asked of a version that arrives, and
not of one that serves or served: a gate that somebody tightened later takes nothing away, and a rollback is always possible.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain

from controller.artifact import Artifact
from controller.checks import OF_ARRIVAL, OF_FILES, OF_REGISTRY, Finding, Refusal, Subject, environment
from controller.policy import GateName, Gates
from controller.rollout import Failure, PodGates
from controller.text import bounded


@dataclass(frozen=True, slots=True)
class Judgment:
    """What came of it: a refusal, or what a person should know although there is none."""

    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()


def before_download(subject: Subject) -> Judgment:
    """What the registry alone can tell of an arriving version."""
    return _judge(subject, ((name, check(subject)) for name, check in OF_REGISTRY)) if subject.arriving else Judgment()


def before_pods(subject: Subject, artifact: Artifact) -> Judgment:
    """Everything that can be told without a pod."""
    findings: Iterable[tuple[GateName | None, Finding]] = ((name, check(subject, artifact)) for name, check in OF_FILES)
    if subject.arriving:
        arrival = ((name, check(subject, artifact)) for name, check in OF_ARRIVAL)
        findings = chain(findings, arrival, ((name, check(subject)) for name, check in OF_REGISTRY))
    else:
        lenient = replace(subject, gates=subject.gates.model_copy(update={"environment": "Warn"}))
        findings = chain(findings, [(None, environment(lenient, artifact))])
    return _judge(subject, findings)


def in_pods(gates: Gates, version: str, digest: str, served: Collection[str], until: datetime) -> PodGates | None:
    """What the pods of a rollout judge themselves by until then, where these files never served."""
    load = None if gates.waiver(version, "Load") else gates.max_load_seconds
    latency = None if gates.waiver(version, "Latency") else gates.max_latency_p95_milliseconds
    if digest in served or (load is None and latency is None):
        return None
    return PodGates(max_load_seconds=load, max_latency_p95_milliseconds=latency, until=until)


def lifted(failure: Failure, present: PodGates | None) -> bool:
    """Whether a version that was too slow for a gate in its pods would have more time there now."""
    if failure.limit is None:
        return False
    limit = present.limit(failure.reason) if present is not None else None
    return limit is None or limit > failure.limit


def _judge(subject: Subject, findings: Iterable[tuple[GateName | None, Finding]]) -> Judgment:
    notes = [
        f"waived: {waiver.gate} for version {subject.version} ({bounded(waiver.reason, 200)})"
        for waiver in subject.gates.waivers
        if waiver.version == subject.version
    ]
    for name, finding in findings:
        if isinstance(finding, Refusal):
            if name is None or subject.gates.waiver(subject.version, name) is None:
                return Judgment(refusal=finding)
        elif finding:
            notes.append(finding)
    return Judgment(notes=tuple(notes))
