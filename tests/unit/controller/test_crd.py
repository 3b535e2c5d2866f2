"""The generated definition is structural, described, and the committed one is current."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from controller.api import ModelDeploymentSpec
from controller.crd import custom_resource_definition, render

CHART = Path(__file__).parents[3] / "charts" / "modeldeployment-operator"


def version() -> dict[str, Any]:
    (only,) = custom_resource_definition()["spec"]["versions"]
    found: dict[str, Any] = only
    return found


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in (schema.get("properties") or {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


SCHEMA = version()["schema"]["openAPIV3Schema"]


def test_the_committed_definition_is_current() -> None:
    assert (CHART / "files" / "crd.yaml").read_text() == render()


def test_nothing_that_a_structural_schema_must_not_have() -> None:
    for path, node in nodes(SCHEMA):
        assert not {"$ref", "$defs", "title", "anyOf", "const"} & node.keys(), path
        assert not {"properties", "additionalProperties"} <= node.keys(), path
        assert isinstance(node.get("additionalProperties", {}), dict), path
        assert node.get("type") or node.get("x-kubernetes-int-or-string"), path


def test_every_field_explains_itself() -> None:
    plain = {".apiVersion", ".kind", ".metadata", ""}
    inside_condition = ".status.conditions[]"
    for path, node in nodes(SCHEMA):
        if path not in plain and path[-2:] not in ("[]", "{}") and not path.startswith(inside_condition):
            assert node.get("description", "").strip(), path


def test_conditions_are_a_map_by_type() -> None:
    conditions = SCHEMA["properties"]["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])


@pytest.mark.parametrize("number", [3, "3"])
def test_a_version_may_be_written_as_number_or_string(number: object) -> None:
    spec = ModelDeploymentSpec.model_validate({"model": {"name": "fraud", "version": number}})
    assert spec.model.version == "3"


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError):
        ModelDeploymentSpec.model_validate({"model": {"name": "fraud", "version": 3}, "replica": 2})


def test_different_references_have_different_labels() -> None:
    references = [
        {"name": "fraud", "version": 3},
        {"name": "fraud", "version": 4},
        {"name": "fraud", "alias": "champion"},
        {"name": "fraud", "version": 3, "digest": "sha256:1"},
        {"name": "fraud", "version": 3, "registryRef": {"name": "other"}},
    ]
    labels = {ModelDeploymentSpec.model_validate({"model": reference}).model.label for reference in references}
    assert len(labels) == len(references)
