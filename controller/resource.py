"""A ModelDeployment as it is read: what a person asks for, and what was told about it last."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from controller.api import (
    APPROVE_ANNOTATION,
    DISABLED,
    RECONCILE_ANNOTATION,
    RETRY_ANNOTATION,
    ModelDeploymentSpec,
    ModelDeploymentStatus,
)
from controller.manifest import DIGEST
from controller.ports import Object
from controller.resources.identity import Owner
from controller.rollout import Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A ModelDeployment as it was read."""

    body: Object
    owner: Owner
    generation: int
    spec: ModelDeploymentSpec
    word: Word
    approved: str
    """The model version that a person approved, as NAME/VERSION."""
    disabled: bool
    """A person wants nothing to be touched."""
    before: ModelDeploymentStatus


def read_resource(body: Object) -> Resource:
    """A ModelDeployment from what the API server answered. Raises ValidationError where the CRD knows more than this code."""
    metadata: dict[str, Any] = body["metadata"]
    annotations: dict[str, str] = metadata.get("annotations") or {}
    spec = ModelDeploymentSpec.model_validate(body["spec"])
    return Resource(
        body=body,
        owner=Owner(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]),
        generation=int(metadata["generation"]),
        spec=spec,
        word=Word(request=spec.model.label, retry=annotations.get(RETRY_ANNOTATION, "")),
        approved=annotations.get(APPROVE_ANNOTATION, ""),
        disabled=annotations.get(RECONCILE_ANNOTATION) == DISABLED,
        before=read_status(body),
    )


def read_status(body: Object) -> ModelDeploymentStatus:
    """The status as it was left. What another version wrote there and this one cannot read is left out, and found again."""
    said: Object = body.get("status") or {}
    try:
        return ModelDeploymentStatus.model_validate(said)
    except ValidationError as error:
        unreadable = {mistake["loc"][:2] for mistake in error.errors()}
    try:
        return ModelDeploymentStatus.model_validate(_without(unreadable, said))
    except ValidationError:
        return ModelDeploymentStatus()


def _without(places: set[tuple[int | str, ...]], said: Object) -> Object:
    """What is said apart from those places: an entry of a list, or else a field as a whole."""
    kept = {field: value for field, value in said.items() if (field,) not in places}
    for field, value in list(kept.items()):
        if isinstance(value, list):
            kept[field] = [entry for number, entry in enumerate(value) if (field, number) not in places]
        elif any(place[0] == field for place in places):
            del kept[field]
    return kept


class Listing(Protocol):
    """What lists objects; `controller.cluster.Cluster` is the real one."""

    def each(self, kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[Object]: ...


async def naming(cluster: Listing, namespaces: Sequence[str]) -> AsyncIterator[tuple[Object, set[str]]]:
    """Every ModelDeployment of these namespaces, with the digests that its status names."""
    for namespace in namespaces:
        async for body in cluster.each("ModelDeployment", namespace):
            yield body, set(digests_in(body.get("status")))


def digests_in(status: Any) -> Iterator[str]:
    """Every digest that a status names, wherever it stands: also in what another version of the operator wrote."""
    if isinstance(status, dict):
        for value in status.values():
            yield from digests_in(value)
    elif isinstance(status, list):
        for value in status:
            yield from digests_in(value)
    elif isinstance(status, str) and DIGEST.fullmatch(status):
        yield status
