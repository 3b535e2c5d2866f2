"""Writes the CustomResourceDefinition from the types in `controller.api`.

`python -m controller.crd PATH` writes it, `--check` fails where PATH is stale. Kubernetes wants a structural schema: no
references, no titles, no `null` types, so pydantic's JSON schema is flattened here.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from controller.api import (
    API_VERSION,
    CATEGORY,
    GROUP,
    KIND,
    PLURAL,
    SHORT_NAME,
    ModelDeploymentSpec,
    ModelDeploymentStatus,
)

Schema = dict[str, Any]

NAME_RULE = {
    "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",
    "message": "the name becomes that of a Service: at most 63 lower-case letters, digits and '-', beginning with a letter"
    " and not ending with '-'",
}
COLUMNS = [
    {"name": "Model", "type": "string", "jsonPath": ".spec.model.name"},
    {"name": "Version", "type": "string", "jsonPath": ".status.serving.version"},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Replicas", "type": "integer", "jsonPath": ".status.readyReplicas"},
    {"name": "Reason", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].reason'},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Target", "type": "string", "priority": 1, "jsonPath": ".status.target.version"},
    {"name": "Digest", "type": "string", "priority": 1, "jsonPath": ".status.serving.digest"},
    {"name": "Engine", "type": "string", "priority": 1, "jsonPath": ".status.serving.engine"},
    {"name": "Verified", "type": "string", "priority": 1, "jsonPath": ".status.serving.verified"},
    {"name": "URL", "type": "string", "priority": 1, "jsonPath": ".status.url"},
]

# What kstatus (Flux, `helm --wait`) takes for in progress. Without any status it takes a resource for done.
UNSEEN = {"observedGeneration": -1}


def custom_resource_definition() -> Schema:
    """The whole CustomResourceDefinition, as a dict."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": API_VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": COLUMNS,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "schema": {"openAPIV3Schema": _root_schema()},
                }
            ],
        },
    }


def _root_schema() -> Schema:
    return {
        "type": "object",
        "description": "A scikit-learn model of an MLflow registry, served by pods that the operator rolls out, watches and"
        " takes back.",
        "required": ["spec"],
        "x-kubernetes-validations": [NAME_RULE],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(ModelDeploymentSpec.model_json_schema()),
            "status": {**structural(ModelDeploymentStatus.model_json_schema()), "default": UNSEEN},
        },
    }


def structural(schema: Schema) -> Schema:
    """A pydantic JSON schema as a structural schema: references inlined, optional unwrapped, noise dropped."""
    definitions: Schema = schema.get("$defs", {})

    def flatten(node: Schema) -> Schema:
        node = dict(node)
        if "$ref" in node:
            node = {**definitions[node.pop("$ref").rsplit("/", 1)[1]], **node}
        if "anyOf" in node:  # Optional[X]: Kubernetes has absence, not null
            (present,) = [option for option in node.pop("anyOf") if option.get("type") != "null"]
            return flatten({**present, **node})
        for noise in ("title", "$defs"):
            node.pop(noise, None)
        if (more := node.pop("additionalProperties", False)) is True:  # a part that Kubernetes, not this project, defines
            node["x-kubernetes-preserve-unknown-fields"] = True
        elif more:
            node["additionalProperties"] = flatten(more)
        if node.get("default", ...) is None or node.get("default") == []:
            node.pop("default")
        if "const" in node:
            node["enum"] = [node.pop("const")]
        if "properties" in node:
            node["properties"] = {name: flatten(child) for name, child in node["properties"].items()}
        if "items" in node:
            node["items"] = flatten(node["items"])
        if "description" in node:
            node["description"] = " ".join(node["description"].split())
        return node

    return flatten(schema)


def render() -> str:
    """The definition as YAML, with where it comes from."""
    header = "# Generated from controller/api.py by `make generate`. Do not edit.\n"
    return header + yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=120, allow_unicode=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m controller.crd", description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where PATH is stale")
    arguments = parser.parse_args()
    path: Path = arguments.path
    if arguments.check:
        if path.read_text() == render():
            return 0
        print(f"{path} is stale: run `make generate`", file=sys.stderr)
        return 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
