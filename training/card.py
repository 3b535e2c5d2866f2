"""The model card: what a version is, on what it was trained, how good it is, and where it ends. Markdown. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from server.artifact import Bounds
from training.columns import Column
from training.figures import shown

NAME = "model_card.md"


def card(
    *,
    name: str,
    target: str,
    task: str,
    columns: Sequence[Column],
    bounds: Bounds,
    metrics: Mapping[str, float],
    params: Mapping[str, Any],
) -> str:
    """For a person who has to decide whether this model may answer their question."""
    figures = [(metric, value) for metric, value in metrics.items() if metric.startswith("test_")]
    lines = [
        f"# {name}",
        "",
        f"Predicts `{target}` ({task}).",
        "",
        "## Figures",
        "",
        "Of the test part, which neither training nor the choice of anything has seen.",
        "",
        *_table(("figure", "value"), [(metric.removeprefix("test_"), shown(metric[5:], value)) for metric, value in figures]),
        "",
        "## Inputs",
        "",
        "Outside what training has seen it answers, and flags the answer. Outside what is declared it refuses.",
        "",
        *_table(
            ("column", "type", "may be missing", "seen in training", "declared"), [_input(column, bounds) for column in columns]
        ),
        "",
        "## How it came about",
        "",
        *_table(("setting", "value"), [(key, str(value)) for key, value in params.items()]),
        "",
        "## What was not looked at",
        "",
        "Whether it treats groups of people alike, and whether the data of tomorrow look like those that it was trained on.",
    ]
    return "\n".join(lines) + "\n"


def _input(column: Column, bounds: Bounds) -> tuple[str, ...]:
    kind = "yes" if column.optional else "no"
    return column.name, column.kind, kind, _range(bounds.seen.get(column.name)), _range(bounds.declared.get(column.name))


def _range(limits: tuple[float | None, float | None] | None) -> str:
    if limits is None:
        return ""
    low, high = ("" if limit is None else f"{limit:g}" for limit in limits)
    return f"{low} to {high}".strip()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells]
