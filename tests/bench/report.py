"""The figures as a person reads them."""

import os
import platform
from typing import Any

Figures = dict[str, Any]

COLUMNS = {
    "N": "resources",
    "operator, s": "seconds",
    "bare client, s": "bare_seconds",
    "ratio": "ratio_to_bare_client",
    "median, s": "median_seconds",
    "CPU, ms each": "cpu_ms_per_resource",
    "reconciles each": "reconciles_per_resource",
    "reads each": "reads_per_resource",
    "writes each": "writes_per_resource",
    "of them status": "status_writes",
    "events each": "events",
    "peak RSS, MB": "controller_rss_mb",
    "MLflow calls": "mlflow_calls",
}
ONCE = {
    "children of a resource": "children",
    "steady state, writes": "steady_writes",
    "steady state, CPU %": "steady_cpu_percent",
    "steady state, reconciles": "steady_reconciles",
    "alias moved, seconds until all followers serve it": "alias_seconds",
    "alias moved, seconds after the poll saw it": "alias_seconds_after_the_poll",
    "restart, seconds": "restart_seconds",
    "restart, writes": "restart_writes",
    "restart, reads": "restart_reads",
    "store process, peak RSS, MB": "store_rss_mb",
}


def table(figures: Figures) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    for row in sorted(figures["growth"], key=lambda row: int(row["resources"])):
        lines.append(f"| {' | '.join(str(row[key]) for key in COLUMNS.values())} |")
    lines += ["", f"At {figures['resources']}:", "", "| what | figure |", "| --- | --- |"]
    lines += [f"| {title} | {figures[key]} |" for title, key in ONCE.items()]
    return "\n".join(lines)


def line(row: Figures) -> str:
    return ", ".join(f"{title} {row[key]}" for title, key in COLUMNS.items())


def machine() -> Figures:
    return {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
