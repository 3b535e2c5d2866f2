"""What is checked before a pod starts: an ordered list of pure checks; the first failure is the condition's reason."""

from collections.abc import Callable
from dataclasses import dataclass

from controller.api import ModelReference
from controller.artifact import Artifact

SUPPORTED_FLAVOR = "sklearn"
SUPPORTED_SERIALIZATIONS = ("pickle", "cloudpickle", "skops")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a version is not rolled out, and the way out."""

    reason: str
    message: str


Gate = Callable[[ModelReference, Artifact], Refusal | None]


def first_refusal(reference: ModelReference, artifact: Artifact) -> Refusal | None:
    """The first gate that the version does not pass, or None."""
    return next((refusal for gate in _GATES if (refusal := gate(reference, artifact)) is not None), None)


def _digest(reference: ModelReference, artifact: Artifact) -> Refusal | None:
    if reference.digest in (None, artifact.digest):
        return None
    return Refusal(
        "DigestMismatch",
        f"spec.model.digest asks for {reference.digest}, but the files of {reference.label} have {artifact.digest};"
        " somebody changed them after they were registered, or the digest is that of another version",
    )


def _flavor(_: ModelReference, artifact: Artifact) -> Refusal | None:
    if SUPPORTED_FLAVOR in artifact.flavors:
        return None
    return Refusal(
        "FlavorUnsupported",
        f"the model has the flavors {', '.join(artifact.flavors) or '(none)'}; served is: {SUPPORTED_FLAVOR}."
        " Log it with mlflow.sklearn.log_model",
    )


def _serialization(_: ModelReference, artifact: Artifact) -> Refusal | None:
    if artifact.serialization in SUPPORTED_SERIALIZATIONS:
        return None
    return Refusal(
        "SerializationUnsupported",
        f"the model was written as {artifact.serialization!r}; read are: {', '.join(SUPPORTED_SERIALIZATIONS)}",
    )


def _model_file(_: ModelReference, artifact: Artifact) -> Refusal | None:
    if artifact.has_model_file:
        return None
    return Refusal(
        "ModelUnreadable", f"its MLmodel file names {artifact.model_file!r}, which is not among its files; log the model anew"
    )


def _code(_: ModelReference, artifact: Artifact) -> Refusal | None:
    if not artifact.has_code:
        return None
    return Refusal(
        "CodeUnsupported",
        "the model was logged with code_paths and wants that code to be imported; the server image has no code of models."
        " Log it with scikit-learn's own estimators and without code_paths",
    )


_GATES: tuple[Gate, ...] = (_digest, _flavor, _serialization, _model_file, _code)
