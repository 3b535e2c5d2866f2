"""The page for people at `/`: files that know no model, and what they show of this one.

The files are the same for every model, so a browser may have them before anybody has shown a token. What a model says
reaches the page only as JSON, and its script writes that down as text: no name and no label can become markup.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from server.document import POLICY
from server.metrics import label_text
from server.pod import Pod, Serving
from server.signature import Columns, Inputs
from server.table import Row, Value

FILES: Mapping[str, tuple[str, str]] = {
    "/": ("page.html", "text/html"),
    "/static/page.js": ("page.js", "text/javascript"),
    "/static/style.css": ("style.css", "text/css"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""By path: a file of the directory `static`, and its media type."""

STYLE = ("/static/style.css", "/static/icon.svg")
"""What /docs has too, and so stays where there is no page."""

MAX_EXAMPLES = 10
MAX_CLASSES = 20
"""So many are named; the answers have the others too."""

HEADERS: Mapping[str, str] = {
    "content-security-policy": f"{POLICY}; script-src 'self'; connect-src 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # the next version of this server may answer at the same address
}


def add(app: FastAPI, pod: Pod) -> None:
    """The routes of the page, or of its style only."""
    enabled = pod.settings.ui == "Enabled"
    for path in FILES if enabled else STYLE:
        _file(app, path, *FILES[path])
    if enabled:

        @app.get("/model.json", include_in_schema=False)
        async def model() -> Response:
            return JSONResponse(describe(pod), headers={"cache-control": "no-store"})


def describe(pod: Pod) -> dict[str, Any]:
    """What the page shows; the half of it while the model is being loaded."""
    settings, serving = pod.settings, pod.serving
    resource = settings.resource and f"{settings.resource.namespace}/{settings.resource.name}"
    known = settings.model.model_dump() | {"resource": resource, "status": pod.phase, "loaded": serving is not None}
    return known if serving is None else known | _model(serving) | _inputs(serving.engine.inputs, serving)


def _model(serving: Serving) -> dict[str, Any]:
    engine, about = serving.engine, serving.artifact
    rows = (about.record.data or {}).get("rows")
    return {
        "engine": engine.name,
        "engineReason": serving.engine_reason,
        "verified": serving.verified,
        "sklearn": about.sklearn_version,
        "target": about.record.target,
        "rows": rows if isinstance(rows, int) else None,
        "classes": [label_text(label) for label in (engine.classes or ())[:MAX_CLASSES]],
        "moreClasses": max(0, len(engine.classes or ()) - MAX_CLASSES),
        "metrics": {name: value for name, value in about.record.metrics.items() if math.isfinite(value)},
        "examples": [_cells(row) for row in (about.example or ())[:MAX_EXAMPLES]],
    }


def _inputs(inputs: Inputs, serving: Serving) -> dict[str, Any]:
    bounds = serving.artifact.record.bounds
    if not isinstance(inputs, Columns):
        return {"columns": None, "vector": {"width": inputs.width, "names": inputs.names}}

    columns = [
        {
            "name": column.name,
            "type": column.type,
            "required": column.required,
            "seen": bounds.seen.get(column.name),
            "declared": bounds.declared.get(column.name),
        }
        for column in inputs.columns
    ]
    return {"columns": columns, "vector": None}


def _cells(row: Row) -> list[str | None]:
    """As text: JavaScript would round large whole numbers."""
    return [_cell(value) for value in row]


def _cell(value: Value) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _file(app: FastAPI, path: str, name: str, media_type: str) -> None:
    content = Path(__file__).with_name("static").joinpath(name).read_bytes()

    @app.get(path, include_in_schema=False)
    async def file() -> Response:
        return Response(content, headers=HEADERS, media_type=media_type)
