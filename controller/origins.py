"""Where a version's files came from: a digest alone says not whose they are, and so not who may have them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from controller.registry_refusals import forbidden
from controller.settings import RegistrySettings


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """A registered model, by the name of its registry and its own."""

    registry: str
    model: str


def open_to(namespace: str, origins: Iterable[Origin], registries: Iterable[RegistrySettings]) -> bool:
    """Whether a namespace may have what came from `origins`: one of them is enough, where the same files have several.

    Nobody may have what came from nowhere that is known, or from a registry that is declared no more.
    """
    declared = {registry.name: registry for registry in registries}
    return any(
        origin.registry in declared and forbidden(declared[origin.registry], namespace, origin.model) is None
        for origin in origins
    )


def written(origins: Iterable[Origin]) -> bytes:
    """Origins as they are kept, and as they travel between replicas."""
    return json.dumps([[origin.registry, origin.model] for origin in sorted(origins)]).encode()


def parse(content: bytes) -> frozenset[Origin]:
    """The origins that were written so; none where it is anything else."""
    try:
        return frozenset(Origin(registry=str(registry), model=str(model)) for registry, model in json.loads(content))
    except (ValueError, TypeError):
        return frozenset()
