"""What a pulled model says about itself, read as data: nothing of it is ever imported or unpickled here."""

from dataclasses import dataclass
from typing import Any

import yaml

from controller import signature
from controller.environment import MAX_FILE_BYTES, Environment, environment
from controller.errors import Stalling
from controller.signature import Signature
from controller.skops_file import foreign_types
from controller.store import Store
from controller.text import bounded

MAX_MLMODEL_BYTES = 1024 * 1024  # 600 columns with bounds are a tenth of it
OWN_METADATA = "mlserving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A model version's files, as far as the gates and the status care."""

    digest: str
    size_bytes: int
    flavors: tuple[str, ...]
    serialization: str
    """How the scikit-learn flavor was written: pickle, cloudpickle, skops; empty without that flavor."""
    model_file: str
    has_model_file: bool
    has_code: bool
    """It wants Python code of its own to be imported."""
    verified: str
    """What a pod can prove with it: Answered, Executed or Loaded."""
    foreign_types: tuple[str, ...] = ()
    """Of a skops file: types from elsewhere than scikit-learn, numpy and scipy."""
    environment: Environment
    signature: Signature


def inspect(store: Store, digest: str) -> Artifact:
    """Read the artifact's MLmodel. Raises Stalling (ModelUnreadable)."""
    files = store.files(digest)
    content = store.read(digest, "MLmodel", MAX_MLMODEL_BYTES + 1)
    if content is None:
        raise Stalling("ModelUnreadable", "the version has no MLmodel file; log it with mlflow.sklearn.log_model")
    if len(content) > MAX_MLMODEL_BYTES:
        raise Stalling("ModelUnreadable", f"its MLmodel file has more than {MAX_MLMODEL_BYTES:,} bytes; log the model anew")
    described = _parse(content)
    if not isinstance(described, dict) or not isinstance(described.get("flavors"), dict):
        raise Stalling("ModelUnreadable", "its MLmodel file names no flavors; log it with mlflow.sklearn.log_model")
    flavor = _mapping(described["flavors"].get("sklearn"))
    model_file = _text(flavor.get("pickled_model"))
    serialization = bounded(_text(flavor.get("serialization_format", "pickle")), 50) if flavor else ""
    estimator = next((store.file_path(file.sha256) for file in files if file.path == model_file), None)
    return Artifact(
        digest=digest,
        size_bytes=sum(file.size for file in files),
        flavors=tuple(bounded(_text(name), 50) for name in list(described["flavors"])[:10]),
        serialization=serialization,
        model_file=bounded(model_file, 200),
        has_model_file=estimator is not None,
        has_code=bool(flavor.get("code")),
        verified=_provable(described),
        foreign_types=foreign_types(estimator) if serialization == "skops" and estimator is not None else (),
        environment=environment(described["flavors"], lambda path: _content(store, digest, path)),
        signature=signature.parse(described),
    )


def _parse(content: bytes) -> object:
    """The YAML in `content`. Without aliases: MLflow writes none, and a few of them can stand for gigabytes."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, Loader=yaml.CSafeLoader)):
            raise Stalling("ModelUnreadable", "its MLmodel file has YAML aliases, which MLflow never writes; log the model anew")
        return yaml.load(content, Loader=yaml.CSafeLoader)
    except Stalling:
        raise
    except Exception as error:  # PyYAML answers odd tags with errors of any kind
        raise Stalling("ModelUnreadable", f"its MLmodel file cannot be read: {bounded(str(error), 200)}") from error


def _content(store: Store, digest: str, path: str) -> str:
    return (store.read(digest, path, MAX_FILE_BYTES) or b"").decode(errors="replace")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _provable(described: dict[str, Any]) -> str:
    if not described.get("saved_input_example_info"):
        return "Loaded"
    own = _mapping(_mapping(described.get("metadata")).get(OWN_METADATA))
    return "Answered" if _mapping(own.get("example")).get("predictions") else "Executed"


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
