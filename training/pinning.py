"""Writes a version and its digest into a ModelDeployment, and leaves everything else in the file as it stands. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from training.errors import InputError

KIND = "ModelDeployment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a ModelDeployment in a file asks for."""

    resource: str
    model: str
    alias: str | None
    version: str | None
    node: MappingNode
    """spec.model."""


def references(text: str) -> list[Reference]:
    """Every ModelDeployment in a file."""
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as e:
        raise InputError(f"The file is no YAML: {' '.join(str(e).split())[:300]}") from e
    return [found for document in documents if document is not None for found in _found(document)]


def chosen(text: str, resource: str | None, model: str | None = None) -> Reference:
    """The one that is meant."""
    found = references(text)
    matching = [one for one in found if (resource is None or one.resource == resource) and (model is None or one.model == model)]
    if len(matching) == 1:
        return matching[0]
    there = ", ".join(f"{one.resource} (model {one.model})" for one in found) or "none"
    if not matching:
        raise InputError(f"The file has no such {KIND}; it has {there}.")
    raise InputError(f"The file has more than one such {KIND}: {there}. Name one with --resource.")


def pinned(text: str, reference: Reference, version: str, digest: str) -> str:
    """The same text with this version and this digest in spec.model, and no alias: exactly one of the two may be there."""
    node = reference.node
    entries = {str(key.value): (key, value) for key, value in node.value}
    wanted = f"version: {version}", f"digest: {digest}"
    edits: list[tuple[int, int, str]] = []
    place = entries.get("version") or entries.get("alias") or entries["name"]
    between = ", " if node.flow_style else _line_break(text) + " " * node.start_mark.column
    kept = "" if "version" in entries or "alias" in entries else text[place[0].start_mark.index : _end(place[1])] + between
    news = kept + wanted[0] + ("" if "digest" in entries else between + wanted[1])
    first, *rest = news.split(between)
    if node.flow_style or not rest:
        edits.append((place[0].start_mark.index, _end(place[1]), news))
    else:  # what follows goes below a comment at the end of the line
        line = _line_end(text, _end(place[1]))
        edits.append((place[0].start_mark.index, _end(place[1]), first))
        edits.append((line, line, "".join(between + one for one in rest)))
    if "digest" in entries:
        key, value = entries["digest"]
        edits.append((key.start_mark.index, _end(value), wanted[1]))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def pin_text(text: str, reference: Reference, version: str, digest: str) -> str:
    """The same, and certain that the file now says that and nothing else new."""
    changed = pinned(text, reference, version, digest)
    expected = list(yaml.safe_load_all(text))
    for document in expected:
        if _is_meant(document, reference):
            document["spec"]["model"].pop("alias", None)
            document["spec"]["model"] |= {"version": int(version), "digest": digest}
    try:
        same = list(yaml.safe_load_all(changed)) == expected
    except yaml.YAMLError:
        same = False
    if not same:
        raise InputError(
            "spec.model is written in a way that can't be changed in place (with an anchor, a tag, or both version and alias). "
            f"Write it by hand: version: {version}, digest: {digest}."
        )
    return changed


def _found(document: Node) -> Iterator[Reference]:
    if _text(_at(document, "kind")) == KIND and isinstance(node := _at(document, "spec", "model"), MappingNode):
        yield Reference(
            resource=_text(_at(document, "metadata", "name")) or "",
            model=_text(_at(node, "name")) or "",
            alias=_text(_at(node, "alias")),
            version=_text(_at(node, "version")),
            node=node,
        )


def _at(node: Node | None, *keys: str) -> Node | None:
    for key in keys:
        if not isinstance(node, MappingNode):
            return None
        node = next((value for name, value in node.value if name.value == key), None)
    return node


def _text(node: Node | None) -> str | None:
    return str(node.value) if isinstance(node, ScalarNode) else None


def _is_meant(document: Any, reference: Reference) -> bool:
    return (
        isinstance(document, dict)
        and document.get("kind") == KIND
        and document.get("metadata", {}).get("name") == reference.resource
        and document["spec"]["model"].get("name") == reference.model
    )


def _end(node: Node) -> int:
    return int(node.end_mark.index)


def _line_end(text: str, start: int) -> int:
    """Before the line break, if there is one."""
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" else end


def _line_break(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
