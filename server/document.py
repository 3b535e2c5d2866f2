"""The model described: an OpenAPI document with its real features, and a page that shows it without the internet.

Pure: descriptions in, text out.
"""

import html
import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from server.artifact import Artifact, Range
from server.failures import STATUS
from server.pod import Serving
from server.schemas import (
    Answered,
    Failed,
    InferenceRequest,
    InferenceResponse,
    InvocationFailed,
    PlainlyFailed,
    Predictions,
    responses,
)
from server.settings import Settings
from server.signature import Columns, Inputs
from server.table import ColumnType
from server.vectors import VECTOR_KEY

POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

JSON_TYPES: dict[ColumnType, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "float"},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "datetime": {"type": "string", "format": "date-time"},
}

ROW: dict[str, Any] = {"$ref": "#/components/schemas/Row"}
ROWS: dict[str, Any] = {"type": "array", "items": ROW, "minItems": 1}
RECORDS: dict[str, Any] = {"type": "array", "items": {"$ref": "#/components/schemas/Record"}, "minItems": 1}
"""Rows as MLflow's protocol takes them: with columns that are not in the signature."""

LISTS: dict[str, Any] = {"type": "array", "items": {"$ref": "#/components/schemas/Cells"}, "minItems": 1}


def openapi(app: FastAPI, settings: Settings, serving: Serving | None) -> dict[str, Any]:
    """The document; with the features as soon as the model is loaded."""
    version, name = settings.model, settings.served_name
    routes = FastAPI()
    infer = f"/v2/models/{name}/infer", f"/v2/models/{name}/versions/{version.version}/infer"
    summaries: dict[str, tuple[str, Any, Any]] = {
        "/predict": ("Predict one row, or some", Answered | list[Answered], Failed),
        "/invocations": ("The same in MLflow's protocol", Predictions, InvocationFailed),
        f"/v1/models/{name}:predict": ("The same in KServe's V1", Predictions, PlainlyFailed),
        **dict.fromkeys(infer, ("The same in the Open Inference Protocol (V2)", InferenceResponse, PlainlyFailed)),
    }
    failures = {status for status in STATUS.values() if status not in (401, 404, 415)} | ({401} if settings.auth else set())
    for path, (summary, success, failed) in summaries.items():
        kinds = failures | ({415} if path == "/invocations" else set())
        answers = responses(success, *kinds, failed=failed)
        routes.add_api_route(path, _elsewhere, methods=["POST"], summary=summary, responses=answers)
    described = get_openapi(
        title=version.name,
        version=version.version,
        description=f"Predictions of the model {version.name}, version {version.version} ({version.digest}).",
        routes=[*routes.routes, *app.routes],
    )
    row = request_schema(serving.engine.inputs, serving.artifact) if serving else {"type": "object"}
    schemas = described["components"]["schemas"]
    inference = InferenceRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    cells = _cells_of(row) if serving else {"type": "array"}
    schemas |= {"Row": row, "Record": {**row, "additionalProperties": True}, "Cells": cells, **inference.pop("$defs")}
    instances = {**_object(instances={"anyOf": [ROWS, LISTS]}), "additionalProperties": True}
    csv = {"schema": {"type": "string", "minLength": 1}}
    bodies = {
        "/predict": {"application/json": {"schema": {"anyOf": [ROW, ROWS]}, **_example(row)}},
        "/invocations": {"application/json": {"schema": _invocations()}, "text/csv": csv},
        f"/v1/models/{name}:predict": {"application/json": {"schema": instances}},
        **{path: {"application/json": {"schema": inference}} for path in infer},
    }
    for path, content in bodies.items():
        described["paths"][path]["post"]["requestBody"] = {"required": True, "content": content}
    if settings.auth is not None:
        described["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"bearer": []}]
    return described


async def _elsewhere() -> None:
    """Stands in the document for a route that the application answers without FastAPI."""


def _cells_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same row without names."""
    kinds = row["properties"]
    if list(kinds) == [VECTOR_KEY]:
        return dict(kinds[VECTOR_KEY])
    return {"type": "array", "prefixItems": list(kinds.values()), "items": False, "minItems": len(kinds)}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _invocations() -> dict[str, Any]:
    names = {"type": "array", "items": {"type": "string"}}
    columns = {"type": "object", "additionalProperties": {"type": "array"}}
    split = {"type": "object", "properties": {"columns": names, "data": LISTS}, "required": ["data"]}
    return {
        "anyOf": [
            _object(dataframe_split=split),
            _object(dataframe_records=RECORDS),
            _object(instances={"anyOf": [RECORDS, LISTS]}),
            _object(inputs={"anyOf": [columns, RECORDS, LISTS]}),
        ]
    }


def _example(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"example": row["example"]} if "example" in row else {}


def request_schema(inputs: Inputs, about: Artifact) -> dict[str, Any]:
    """JSON Schema of what /predict takes, with the first row of the recorded example."""
    row = about.example[0] if about.example else None
    if not isinstance(inputs, Columns):
        size = {} if inputs.width is None else {"minItems": inputs.width, "maxItems": inputs.width}
        kinds = ["number"] if inputs.numbers else ["number", "string", "boolean"]
        values: dict[str, Any] = {"type": "array", "items": {"type": [*kinds, "null"] if inputs.optional else kinds}, **size}
        schema: dict[str, Any] = {"properties": {VECTOR_KEY: values}, "required": [VECTOR_KEY]}
        example: dict[str, Any] | None = None if row is None else {VECTOR_KEY: list(row)}
    else:
        bounds = about.record.bounds
        properties = {}
        for column in inputs.columns:
            kind = dict(JSON_TYPES[column.type])
            if not column.required:
                kind["type"] = [kind["type"], "null"]
            kind |= _limits(bounds.declared.get(column.name))
            if seen := bounds.seen.get(column.name):
                kind["description"] = f"Seen in training: {_number(seen[0])} to {_number(seen[1])}."
            properties[column.name] = kind
        schema = {"properties": properties, "required": [column.name for column in inputs.columns if column.required]}
        cells = None if row is None else zip(inputs.columns, row, strict=True)
        example = None if cells is None else {column.name: cell for column, cell in cells if cell is not None}
    return {"type": "object", **schema, "additionalProperties": False, **({} if example is None else {"example": example})}


def page(described: dict[str, Any], url: str) -> str:
    """The document for people: the features, an example to paste, what can be answered. No script, nothing from elsewhere."""
    schema = described["components"]["schemas"]["Row"]
    required = schema.get("required", [])
    features = "".join(
        _cells(name, _type(kind), "yes" if name in required else "no", _possible(kind), kind.get("description", ""))
        for name, kind in schema.get("properties", {}).items()
    )
    operations = "".join(
        _cells(f"{method.upper()} {path}", operation.get("summary", ""), ", ".join(operation["responses"]))
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    )
    example = json.dumps(schema.get("example", {}), indent=1, ensure_ascii=False)
    token = ' -H "Authorization: Bearer $TOKEN"' if "security" in described else ""
    curl = f"curl {shlex.quote(url + 'predict')} -H 'Content-Type: application/json'{token} -d {shlex.quote(example)}"
    return PAGE.format(
        title=html.escape(f"{described['info']['title']}, version {described['info']['version']}"),
        description=html.escape(described["info"]["description"]),
        operations=operations,
        features=features,
        curl=html.escape(curl),
    )


def header_list(names: Iterable[str]) -> str:
    """Names as one header value: what a header can't hold, and the comma between them, is percent-encoded."""
    return ",".join(quote(name, safe=" !#$&'()*+-./:<=>?@[]^_`{|}~") for name in names)


def _limits(declared: Range | None) -> dict[str, float]:
    low, high = declared or (None, None)
    return {key: value for key, value in (("minimum", low), ("maximum", high)) if value is not None}


def _number(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"


def _type(kind: dict[str, Any]) -> str:
    named = kind.get("format", kind["type"])
    return named if isinstance(named, str) else str(named[0])


def _possible(kind: dict[str, Any]) -> str:
    if "minimum" not in kind and "maximum" not in kind:
        return ""
    return f"{_number(kind.get('minimum'))} to {_number(kind.get('maximum'))}"


def _cells(*texts: str) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in texts) + "</tr>\n"


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/style.css">
</head>
<body>
<header class="bar"><h1 class="text">{title}</h1></header>
<main class="docs">
<section class="card">
<h2>Try it</h2>
<p class="text">{description}</p>
<pre tabindex="0">{curl}</pre>
</section>
<section class="card">
<h2>Features</h2>
<div class="scroll"><table><thead><tr><th>Name</th><th>Type</th><th>Required</th><th>Possible</th><th></th></tr></thead>
<tbody>
{features}</tbody></table></div>
</section>
<section class="card">
<h2>Operations</h2>
<div class="scroll"><table><thead><tr><th>Request</th><th>Does</th><th>Answers</th></tr></thead>
<tbody>
{operations}</tbody></table></div>
<p>For programs: <a href="openapi.json">openapi.json</a></p>
</section>
</main>
</body>
</html>
"""
