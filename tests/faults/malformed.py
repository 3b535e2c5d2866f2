"""ModelDeployments that somebody could have written by mistake or in bad faith: a sound one with one thing wrong in it.

Made from the schema of the chart's CustomResourceDefinition, so a field that is added is tried without a word here.
"""

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.installation import CHART

Schema = dict[str, Any]
Path = tuple[str, ...]

TEXTS = (
    "",
    " ",
    "a" * 5000,
    "\u202e\u2066reversed\u2069",
    "naïve-模型-🤖",
    "line\nbreak\ttab\u0007bell",
    "../../etc/passwd",
    "$(POD_NAME)",
    "{{ .Values.image }}",
    "'; DROP TABLE models; --",
    "<script>alert(1)</script>",
    "null",
    "-1",
    "1e400",
    "1e100",
    "+500Mi",
    "1000000000n",
    "5000000u",
)
NUMBERS = (-1, 0, 2**31, 2**63 - 1, 10**30, 1.5, "007", "two")
OTHERS: tuple[Any, ...] = (None, [], {}, [[]], True, 3, "text", {"a": {"b": {"c": []}}})
CONFLICTS: tuple[dict[str, Any], ...] = (
    {"model": {"alias": "champion"}},
    {"autoscaling": {"maxReplicas": 2}},
    {"autoscaling": {"minReplicas": 9, "maxReplicas": 2}, "replicas": None},
    {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}},
    {"resources": {"requests": {"cpu": "-1"}}},
    {"resources": {"limits": {"memory": "1"}}},
    {"model": {"version": None, "alias": "champion", "digest": "sha256:" + "0" * 64}},
    {"model": {"digest": "sha256:" + "0" * 64}},
    {"model": {"version": "9" * 30}},
    {"model": {"registryRef": {"name": "nobody-declared-this"}}},
    {"replicas": None, "model": None},
)
NAMES = ("Upper", "9lives", "a" * 64, "dotted.name", "-dash", "naïve", "")
ANNOTATIONS: tuple[dict[str, str], ...] = (
    {"mlserving.dev/retry": "🤖" * 2000},
    {"mlserving.dev/reconcile": "Disabled"},
    {"mlserving.dev/approve": "../../1"},
    {"mlserving.dev/rollout": "-5", "mlserving.dev/model-digest": "sha256:0"},
)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A document, and what is wrong with it."""

    wrong: str
    document: dict[str, Any]


def generate(sound: dict[str, Any], count: int, seed: int) -> list[Malformed]:
    """`count` documents, each `sound` with one thing wrong, under names of their own where the name is not what is wrong."""
    choose = random.Random(seed)
    schema = _spec_schema()
    fields = list(_fields(schema))
    found = []
    for number in range(count):
        document = copy.deepcopy(sound)
        document["metadata"]["name"] = f"malformed-{number}"
        kind = choose.choices(("value", "unknown", "conflict", "name", "annotation"), (25, 6, 11, 4, 4))[0]
        if kind == "value":
            path, node = choose.choice(fields)
            value = choose.choice(_values(node))
            _put(document["spec"], path, value)
            wrong = f"{'.'.join(path)} = {value!r}"
        elif kind == "unknown":
            path, _ = choose.choice([(path, node) for path, node in fields if node.get("type") == "object"])
            _put(document["spec"], (*path, "replica"), 3)
            wrong = f"{'.'.join(path)}.replica is unknown"
        elif kind == "conflict":
            change = choose.choice(CONFLICTS)
            document["spec"] = _merged(document["spec"], change)
            wrong = f"conflict: {change}"
        elif kind == "name":
            document["metadata"]["name"] = choose.choice(NAMES)
            wrong = f"name {document['metadata']['name']!r}"
        else:
            document["metadata"]["annotations"] = choose.choice(ANNOTATIONS)
            wrong = f"annotations {document['metadata']['annotations']}"
        found.append(Malformed(wrong[:300], document))
    return found


def _spec_schema() -> Schema:
    (version,) = yaml.safe_load((CHART / "files" / "crd.yaml").read_text())["spec"]["versions"]
    found: Schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def _fields(schema: Schema, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    for name, child in (schema.get("properties") or {}).items():
        yield (*path, name), child
        yield from _fields(child, (*path, name))


def _values(node: Schema) -> tuple[Any, ...]:
    """What may be wrong in a field of that schema: its own type in odd shapes, and other types."""
    kind = node.get("type")
    if kind in ("integer", "number"):
        return NUMBERS + OTHERS[:3]
    if kind == "string" or node.get("x-kubernetes-int-or-string"):
        return TEXTS + OTHERS[:3]
    if kind == "array":
        one = {"name": "A" * 300, "key": "🤖", "value": "\n"}
        return (*OTHERS, [one], [one, one], ["", "\u202e"], [{}] * 200)
    return OTHERS


def _put(spec: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        inner = spec.get(name)
        if not isinstance(inner, dict):
            inner = spec[name] = {}
        spec = inner
    spec[path[-1]] = value


def _merged(spec: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """As `kubectl patch --type=merge` would."""
    merged = dict(spec)
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged
