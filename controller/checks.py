"""The checks that a version meets before a pod starts, each of them pure: a refusal with the way out, a note, or nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from controller import signature
from controller.api import ModelReference
from controller.artifact import Artifact
from controller.catalogue import Catalogue, minor
from controller.policy import AUTO_RUNTIME, GateName, Gates, Server, Trust
from controller.quantity import bytes_of, readable
from controller.text import bounded

SUPPORTED_FLAVOR = "sklearn"
SUPPORTED_SERIALIZATIONS = ("pickle", "cloudpickle", "skops")
LOOK_AGAIN_SECONDS = 60.0  # what the registry says may change there, and no event tells
_MAX_NAMED = 10


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a version is not rolled out, and the way out."""

    reason: str
    message: str
    again: float | None = None
    """Seconds until another look, where what is wrong may be mended outside of the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What answers now, or answered last, as far as another version is compared with it."""

    version: str
    answers: bool = True
    """It does now: some pod of it is ready."""
    artifact: Artifact | None
    """None where its files are nowhere any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A version at the gates."""

    reference: ModelReference
    version: str
    gates: Gates
    trust: Trust
    server: Server
    catalogue: Catalogue
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    size_bytes: int = 0
    """As far as the registry tells it."""
    serving: Serving | None = None
    arriving: bool = True
    """It neither serves nor is in the history."""


Finding = Refusal | str | None
"""A refusal, a note, or nothing to say."""


# --- what is about the files, and what they may do ---------------------------------------------------------------------


def _digest(subject: Subject, artifact: Artifact) -> Finding:
    if subject.reference.digest in (None, artifact.digest):
        return None
    return Refusal(
        "DigestMismatch",
        f"spec.model.digest asks for {subject.reference.digest}, but the files of {subject.reference.name} version"
        f" {subject.version} have {artifact.digest}; somebody changed them after they were registered, or the digest is that of"
        " another version: find out which, then correct spec.model.digest or register the model anew",
    )


def _flavor(_: Subject, artifact: Artifact) -> Finding:
    if SUPPORTED_FLAVOR in artifact.flavors:
        return None
    return Refusal(
        "FlavorUnsupported",
        f"the model has the flavors {', '.join(artifact.flavors) or '(none)'}; served is: {SUPPORTED_FLAVOR}."
        " Log it with mlflow.sklearn.log_model",
    )


def _serialization(_: Subject, artifact: Artifact) -> Finding:
    if artifact.serialization in SUPPORTED_SERIALIZATIONS:
        return None
    return Refusal(
        "SerializationUnsupported",
        f"the model was written as {artifact.serialization!r}; read are: {', '.join(SUPPORTED_SERIALIZATIONS)}",
    )


def _model_file(_: Subject, artifact: Artifact) -> Finding:
    if artifact.has_model_file:
        return None
    return Refusal(
        "ModelUnreadable", f"its MLmodel file names {artifact.model_file!r}, which is not among its files; log the model anew"
    )


def _code(_: Subject, artifact: Artifact) -> Finding:
    if not artifact.has_code:
        return None
    return Refusal(
        "CodeUnsupported",
        "the model was logged with code_paths and wants that code to be imported; the server image has no code of models."
        " Log it with scikit-learn's own estimators and without code_paths",
    )


def _trust(subject: Subject, artifact: Artifact) -> Finding:
    if artifact.serialization == "skops" or subject.trust.pickle != "Deny":
        return None
    return Refusal(
        "PickleDenied",
        f"the model was written with {artifact.serialization}, which executes what its author put into it when it is loaded, and"
        f" trust.pickle is Deny. Log it with serialization_format='skops', or set spec.trust.pickle: Allow"
        f"{_waivable(subject, 'Trust')}",
    )


def _types(subject: Subject, artifact: Artifact) -> Finding:
    """Not to be waived: the pod builds nothing that is on no list, whoever says so."""
    unknown = [name for name in artifact.foreign_types if name not in subject.trust.skops_types]
    if not unknown:
        return None
    return Refusal(
        "TypesUntrusted",
        f"the model's skops file has types that nobody has allowed. Review them, and allow them with spec.trust.skopsTypes:"
        f" [{bounded(', '.join(unknown), 1000)}]",
    )


# --- what is about the way from one version to the next ------------------------------------------------------------------


def _size(subject: Subject, size: int) -> Finding:
    limit = subject.gates.max_size
    if limit is None or size <= bytes_of(limit):
        return None
    return Refusal(
        "ModelTooLarge",
        f"the version has {size:,} bytes ({readable(size)}); gates.maxSize (the spec's, or by the operator's default) is"
        f" {limit}. Make the model smaller, raise"
        f" spec.gates.maxSize{_waivable(subject, 'Size')}",
    )


def environment(subject: Subject, artifact: Artifact) -> Finding:
    if subject.server.image is not None:
        return None
    logged, runtime = artifact.environment, subject.catalogue.runtime_for(subject.server, artifact.environment.scikit_learn)
    amiss = []
    if _other(logged.scikit_learn, runtime.scikit_learn):
        amiss.append(f"scikit-learn {logged.scikit_learn}")
    if artifact.serialization != "skops" and _other(logged.python, runtime.python):
        amiss.append(f"Python {logged.python}")
    if not amiss:
        return None if logged.scikit_learn else f"it does not say its scikit-learn, and its server is {runtime.label}"
    if subject.gates.environment == "Warn":
        return f"it was logged with {' and '.join(amiss)}, and its server is {runtime.label}"
    chosen = (
        f"spec.server.runtime is {runtime.label}"
        if subject.server.runtime != AUTO_RUNTIME
        else f"the operator has {subject.catalogue.label}"
    )
    way_out = "" if subject.server.runtime == AUTO_RUNTIME else ", set spec.server.runtime: Auto"
    return Refusal(
        "EnvironmentMismatch",
        f"the model was logged with {' and '.join(amiss)}; {chosen}. Train and log it with one of these, ask the operator's"
        f" administrator for another runtime{way_out}, or set spec.gates.environment: Warn to try it on {runtime.name}"
        f"{_waivable(subject, 'Environment')}",
    )


def _signature(subject: Subject, artifact: Artifact) -> Finding:
    serving = subject.serving
    if serving is None or subject.gates.signature == "Any":
        return None
    ways_out = f"or set spec.gates.signature: Any{_waivable(subject, 'Signature')}"
    other = f"version {serving.version}, which {'serves now' if serving.answers else 'served last'},"
    if serving.artifact is None:
        return Refusal(
            "SignatureUnknown",
            f"the files of {other} are neither in the operator's store nor in the registry,"
            f" so nobody can tell whether its clients can use version {subject.version}. Register it again, {ways_out}",
            again=LOOK_AGAIN_SECONDS,
        )
    before, after = serving.artifact.signature, artifact.signature
    compared = signature.compare(before, after)
    if compared.kind == "Breaking":
        return Refusal(
            "SignatureBreaking",
            f"clients of {other} would break: {compared.told}."
            f" Log the model with a signature that takes what they send and answers as they expect, {ways_out}",
        )
    if compared.kind == "Widened":
        return f"its signature widens that of version {serving.version}: {compared.told}"
    if not (before.recorded and after.recorded):
        without = [f"version {name}" for name, each in ((serving.version, before), (subject.version, after)) if not each.recorded]
        return f"{' and '.join(without)} recorded no signature, so only the form of a request was compared"
    return None


def _form(_: Subject, artifact: Artifact) -> Finding:
    if artifact.signature.recorded:
        return None
    return "it has no signature: a request is an array of values, whose types nobody checks. Log it with one"


def _example(subject: Subject, artifact: Artifact) -> Finding:
    if subject.gates.max_latency_p95_milliseconds is None or artifact.verified != "Loaded":
        return None
    return Refusal(
        "ExampleMissing",
        "gates.maxLatencyP95Milliseconds is measured with the model's recorded example, and it has none. Log the model with"
        f" input_example{_waivable(subject, 'Latency')}",
    )


# --- what the registry tells ---------------------------------------------------------------------------------------------


def _tags(subject: Subject) -> Finding:
    for wanted in subject.gates.tags:
        found = subject.tags.get(wanted.key)
        if found != wanted.value:
            has = "has no such tag" if found is None else f"has {bounded(found, 100)!r}"
            return Refusal(
                "TagMissing",
                f"gates.tags asks for {wanted.key}={bounded(wanted.value, 100)}, and the version {has}. Set the tag in the"
                f" registry: it is looked at again by itself{_waivable(subject, 'Tags')}",
                again=LOOK_AGAIN_SECONDS,
            )
    return None


def _metrics(subject: Subject) -> Finding:
    for wanted in subject.gates.metrics:
        found = subject.metrics.get(wanted.name)
        bounds = " and ".join(
            f"{word} {bound:g}" for word, bound in (("at least", wanted.min), ("at most", wanted.max)) if bound is not None
        )
        if found is None:
            names = sorted(subject.metrics)
            has = ", ".join(bounded(name, 50) for name in names[:_MAX_NAMED]) + (", …" if len(names) > _MAX_NAMED else "")
            return Refusal(
                "MetricMissing",
                f"gates.metrics asks for {wanted.name} of {bounds}, and the version's run has {has or 'no metrics'}."
                f" Log it in that run{_waivable(subject, 'Metrics')}",
                again=LOOK_AGAIN_SECONDS,
            )
        low, high = wanted.min, wanted.max
        if not ((low is None or found >= low) and (high is None or found <= high)):
            return Refusal(
                "MetricOutOfRange",
                f"{wanted.name} of the version's run is {found:g}; gates.metrics asks for {bounds}. Register a better version,"
                f" change spec.gates.metrics{_waivable(subject, 'Metrics')}",
                again=LOOK_AGAIN_SECONDS,
            )
    return None


def _other(logged: str, has: str) -> bool:
    """Where one of them is not known, nothing can be held against the model."""
    return bool(minor(logged)) and bool(has) and minor(logged) != has


def _waivable(subject: Subject, gate: GateName) -> str:
    return f", or waive it: spec.gates.waivers: [{{version: {subject.version}, gate: {gate}, reason: ...}}]"


OF_FILES: tuple[tuple[GateName | None, Callable[[Subject, Artifact], Finding]], ...] = (
    (None, _digest),
    (None, _flavor),
    (None, _serialization),
    (None, _model_file),
    (None, _code),
    (None, _types),
    ("Trust", _trust),
    (None, _form),
)
OF_ARRIVAL: tuple[tuple[GateName, Callable[[Subject, Artifact], Finding]], ...] = (
    ("Size", lambda subject, artifact: _size(subject, artifact.size_bytes)),
    ("Environment", environment),
    ("Signature", _signature),
    ("Latency", _example),
)
OF_REGISTRY: tuple[tuple[GateName, Callable[[Subject], Finding]], ...] = (
    ("Tags", _tags),
    ("Metrics", _metrics),
    ("Size", lambda subject: _size(subject, subject.size_bytes)),
)
