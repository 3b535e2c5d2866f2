"""The queries of the dashboards that the chart delivers, read from the JSON as Grafana does."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tests.chart.rendering import CHART

FILES = sorted((CHART / "files" / "dashboards").glob("*.json"))
BOARDS: dict[str, dict[str, Any]] = {path.name: json.loads(path.read_text()) for path in FILES}
GRAFANAS = {"__rate_interval": "1m", "__interval": "15s", "__range": "1h"}
"""Variables that Grafana itself fills in."""


@dataclass(frozen=True, slots=True)
class Query:
    """What one place of a dashboard asks Prometheus for."""

    board: str
    place: str
    kind: Literal["instant", "range", "mark"]
    expr: str
    legend: str

    def __str__(self) -> str:
        return f"{self.board}: {self.place}"

    @property
    def shown(self) -> set[str]:
        """The labels in its legend."""
        return set(re.findall(r"\{\{(\w+)\}\}", self.legend))

    def filled_in(self, values: Mapping[str, str]) -> str:
        """The query with the variables' values in their places."""
        return filled_in(self.expr, values)


def filled_in(expr: str, values: Mapping[str, str]) -> str:
    known = {**GRAFANAS, **values}
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: known[found[1] or found[2]], expr)


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    for name, board in BOARDS.items():
        for panel in panels(board):
            for target in panel["targets"]:
                place = f"{panel['title']} {target['refId']}"
                yield Query(name, place, "instant" if target.get("instant") else "range", target["expr"], target["legendFormat"])
        for each in board["annotations"]["list"]:
            yield Query(name, each["name"], "mark", each["expr"], each["textFormat"])


def choices(board: str) -> dict[str, tuple[str, str]]:
    """By the name of each variable that is asked of Prometheus: of which series, and which of their labels."""
    asked = {each["name"]: each["query"]["query"] for each in BOARDS[board]["templating"]["list"] if each["type"] == "query"}
    found = {name: re.fullmatch(r"label_values\((.*), (\w+)\)", query) for name, query in asked.items()}
    return {name: (match[1], match[2]) for name, match in found.items() if match}
