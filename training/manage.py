"""What is done with versions once they are there: list them, compare two, move an alias, pin one in a file.

The same from a notebook (`training.promote(...)`) and on the command line (`python -m training promote`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.models
from mlflow.entities.model_registry import ModelVersion

from training import gates, names, pinning
from training.errors import InputError
from training.registry import Registry, borrowed, connect, tracking_uri_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A version as MLflow knows it."""

    version: str
    aliases: tuple[str, ...]
    created: float
    """Seconds since 1970."""
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two versions side by side."""

    name: str
    versions: tuple[str, str]
    metrics: Mapping[str, tuple[float | None, float | None]]
    params: Mapping[str, tuple[str | None, str | None]]
    """Those that differ."""
    inputs: tuple[str, ...]
    """What a client would notice: a sentence for each column that came, went or changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """An alias that has moved, or was there already."""

    name: str
    alias: str
    version: str
    before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A file that names one version and its digest."""

    path: Path
    name: str
    version: str
    digest: str
    before: str
    """The file's text as it was."""


def versions(name: str, *, tracking_uri: str | None = None) -> list[Known]:
    """All versions of a model with their aliases and figures, the newest first."""
    with _registry(tracking_uri) as registry:
        found = registry.versions(name)
        return [_known(version, metrics) for version, metrics in zip(found, registry.metrics_of(found), strict=True)]


def compare(name: str, one: str | int, other: str | int, *, tracking_uri: str | None = None) -> Comparison:
    """Figures, parameters and inputs of two versions, each by its number or an alias."""
    with _registry(tracking_uri) as registry:
        found = [meant(registry, name, which) for which in (one, other)]
        metrics = registry.metrics_of(found)
        params = [registry.params(version) for version in found]
        with registry.told():
            inputs = [_inputs(version) for version in found]
    both: dict[str, tuple[float | None, float | None]] = {
        key: (metrics[0].get(key), metrics[1].get(key)) for key in {**metrics[0], **metrics[1]}
    }
    differing = {key: (params[0].get(key), params[1].get(key)) for key in {**params[0], **params[1]}}
    return Comparison(
        name=name,
        versions=(str(found[0].version), str(found[1].version)),
        metrics=both,
        params={key: pair for key, pair in differing.items() if pair[0] != pair[1]},
        inputs=tuple(changes(*inputs)),
    )


def promote(
    name: str,
    version: str | int,
    alias: str,
    *,
    minimum: Mapping[str, float] | None = None,
    tracking_uri: str | None = None,
) -> Promoted:
    """Move an alias to a version, which deploys it where a ModelDeployment follows the alias.

    minimum: figures that the version must have, {"test_f1": 0.8}; else a NotGoodEnough, and nothing moves.
    """
    names.insist(name, alias)
    with _registry(tracking_uri) as registry:
        found = meant(registry, name, version)
        if found.status != "READY":
            raise InputError(f'Version {found.version} of "{name}" is {found.status} in MLflow, not READY.')
        gates.insist(registry.metrics(found), minimum or {})
        before = registry.at(name, alias)
        registry.move(name, alias, str(found.version))
    return Promoted(name=name, alias=alias, version=str(found.version), before=before and str(before.version))


def pin(
    path: Path | str, version: str | int | None = None, *, resource: str | None = None, tracking_uri: str | None = None
) -> Pinned:
    """Write a version and its digest into a ModelDeployment's file, for a pull request.

    version: its number or an alias; else the version that the file's own alias names now.
    resource: which ModelDeployment, where the file has several.
    """
    file = Path(path)
    try:
        text = file.read_bytes().decode()
    except OSError as e:
        raise InputError(f"{file} can't be read: {e.strerror}.") from e
    except UnicodeDecodeError as e:
        raise InputError(f"{file} is not UTF-8.") from e
    reference = pinning.chosen(text, resource)
    which = version if version is not None else reference.alias or reference.version
    if which is None:
        raise InputError(f"{file} names neither alias nor version: say which one with --version.")
    with _registry(tracking_uri) as registry:
        found = meant(registry, reference.model, which)
        digest = registry.digest(found)
    number = str(found.version)
    file.write_bytes(pinning.pin_text(text, reference, number, digest).encode())
    return Pinned(path=file, name=reference.model, version=number, digest=digest, before=text)


@contextmanager
def _registry(tracking_uri: str | None) -> Iterator[Registry]:
    with borrowed():
        yield connect(tracking_uri_of(tracking_uri))


def meant(registry: Registry, name: str, which: str | int) -> ModelVersion:
    """By number, or by an alias, which MLflow never lets be a number."""
    if str(which).isdecimal():
        return registry.version(name, str(which))
    found = registry.at(name, str(which))
    if found is None:
        aliases = sorted({alias for version in registry.versions(name) for alias in version.aliases})
        there = f"there are {', '.join(aliases)}" if aliases else "it has none"
        raise InputError(f'No version of "{name}" has the alias "{which}"; {there}.')
    return found


def _known(version: ModelVersion, metrics: Mapping[str, float]) -> Known:
    return Known(
        version=str(version.version),
        aliases=tuple(version.aliases),
        created=version.creation_timestamp / 1000,
        metrics=metrics,
        tags=dict(version.tags),
        run_id=version.run_id or "",
    )


def _inputs(version: ModelVersion) -> dict[str, tuple[str, bool]] | None:
    """Type of each column, and whether it is required; of an array its type and shape. None where nobody knows."""
    signature = mlflow.models.get_model_info(f"models:/{version.name}/{version.version}").signature
    if signature is None or signature.inputs is None:
        return None
    specs: list[dict[str, Any]] = signature.inputs.to_dict()
    return {spec.get("name", f"array {number}"): _kind(spec) for number, spec in enumerate(specs, start=1)}


def _kind(spec: Mapping[str, Any]) -> tuple[str, bool]:
    array = spec.get("tensor-spec")
    kind = spec["type"] if array is None else f"{array['dtype']} of shape {tuple(array['shape'])}"
    return str(kind), bool(spec.get("required", True))


def changes(one: Mapping[str, tuple[str, bool]] | None, other: Mapping[str, tuple[str, bool]] | None) -> Iterator[str]:
    if one is None or other is None:
        yield "of a version without a signature is known to nobody"
        return
    for name in {**one, **other}:
        if name not in other:
            yield f'"{name}" is no input any more'
        elif name not in one:
            yield f'"{name}" is new, {"required" if other[name][1] else "optional"}'
        elif one[name][0] != other[name][0]:
            yield f'"{name}" was {one[name][0]}, is {other[name][0]}'
        elif one[name][1] != other[name][1]:
            yield f'"{name}" is now {"required" if other[name][1] else "optional"}'
