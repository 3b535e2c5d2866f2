"""From what was seen in each round to what a person reads: medians, ratios, tables. Nothing here measures anything."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONNECTIONS = (1, 16, 64)
RATES = (500, 5000)
SIZES = (32, 1024)

BARE, BARE_FASTAPI, OURS, NATIVE = "bare ASGI", "bare FastAPI", "ours", "ours, native"
SKLEARN, ENGINE = "scikit-learn, in process", "our engine, in process"
JSON_ROAD, BINARY_ROAD = "ours", "ours, V2 binary"
PEER, BATCHES = "peer", "peer that batches"

PROBED = {"over_probe": "meanwhile", "full_probe": "at 64 connections", "batch_probe": "under batches of 1,024"}
"""When the management port was asked."""

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one road in one round."""

    round: int
    name: str
    measure: str
    figures: Figures


def closed(connections: int) -> str:
    return f"closed loop, {connections} connections"


def opened(rate: int) -> str:
    return f"open loop, {rate} a second"


def batch(size: int) -> str:
    return f"batches of {size} rows"


def medians(samples: Iterable[Sample]) -> dict[str, dict[str, dict[str, float]]]:
    """Of each figure over the rounds: by measure, by name."""
    seen: dict[str, dict[str, dict[str, list[float]]]] = {}
    for sample in samples:
        figures = seen.setdefault(sample.measure, {}).setdefault(sample.name, {})
        for figure, value in sample.figures.items():
            figures.setdefault(figure, []).append(value)
    return {
        measure: {name: {f: statistics.median(v) for f, v in figures.items()} for name, figures in names.items()}
        for measure, names in seen.items()
    }


def ratio(samples: Iterable[Sample], measure: str, figure: str, of: str, to: str) -> float | None:
    """The median over the rounds of one name's figure through another's: what is compared was measured close together."""
    by = {(s.round, s.name): s.figures.get(figure) for s in samples if s.measure == measure}
    found = [
        mine / other for (number, name), mine in by.items() if name == of and mine is not None and (other := by.get((number, to)))
    ]
    return statistics.median(found) if found else None


def best(samples: Sequence[Sample], kinds: Mapping[str, str], measure: str, among: Sequence[str]) -> tuple[str, float] | None:
    """The fastest of these kinds, and its answers (or rows) a second."""
    table = medians(samples).get(measure, {})
    found = [(name, figures["per_second"]) for name, figures in table.items() if kinds.get(name) in among]
    return max(found, key=lambda one: one[1]) if found else None


def headline(samples: Sequence[Sample], kinds: Mapping[str, str], once: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The few figures that are quoted; None where it was not measured."""
    table = medians(samples)
    at = {str(connections): _at(samples, kinds, closed(connections)) for connections in CONNECTIONS}
    slow, fast = (table.get(opened(rate), {}).get(OURS, {}) for rate in RATES)
    return {
        **at[str(CONNECTIONS[-1])],
        "at_connections": at,
        "p99_ms_at_500": slow.get("p99_ms"),
        "p99_ratio_at_500": ratio(samples, opened(RATES[0]), "p99_ms", OURS, BARE_FASTAPI),
        "p99_ms_at_5000": fast.get("p99_ms"),
        "answered_share_at_5000": _share(fast.get("answered"), fast.get("sent")),
        "cold_start_s": once.get(OURS, {}).get("start_seconds"),
        "cold_start_native_s": once.get(NATIVE, {}).get("start_seconds"),
        "pss_mb": once.get(OURS, {}).get("pss_after_mb"),
        "rows": {str(size): _rows(samples, kinds, size) for size in SIZES},
    }


def typical(rounds: Sequence[Figures]) -> dict[str, float]:
    """The median of each figure; of what must never happen the most."""
    return {
        key: max(one[key] for one in rounds) if "failed" in key or "max" in key else statistics.median(one[key] for one in rounds)
        for key in rounds[0]
    }


def _at(samples: Sequence[Sample], kinds: Mapping[str, str], measure: str) -> dict[str, Any]:
    table = medians(samples).get(measure, {})
    told: dict[str, Any] = {
        "bare_asgi_rps": table.get(BARE, {}).get("per_second"),
        "ours_rps": table.get(OURS, {}).get("per_second"),
        "ratio_to_bare_asgi": ratio(samples, measure, "per_second", OURS, BARE),
        "ours_native_rps": table.get(NATIVE, {}).get("per_second"),
    }
    for key, among in (("best_peer", (PEER, BATCHES)), ("best_peer_without_batching", (PEER,))):
        found = best(samples, kinds, measure, among)
        name, rate = found or (None, None)
        told |= {key: name, f"{key}_rps": rate}
        for ours, word in ((OURS, "ratio_to"), (NATIVE, "native_ratio_to")):
            told[f"{word}_{key}"] = ratio(samples, measure, "per_second", ours, name) if name else None
    return told


def _rows(samples: Sequence[Sample], kinds: Mapping[str, str], size: int) -> dict[str, Any]:
    measure = batch(size)
    found = best(samples, kinds, measure, (PEER, BATCHES))
    binary = ratio(samples, measure, "per_second", JSON_ROAD, BINARY_ROAD)
    return {
        "ours_rows_per_second": medians(samples).get(measure, {}).get(OURS, {}).get("per_second"),
        "best_peer": found and found[0],
        "ratio_to_best_peer": found and ratio(samples, measure, "per_second", OURS, found[0]),
        "ratio_to_sklearn_in_process": ratio(samples, measure, "per_second", OURS, SKLEARN),
        "native_ratio_to_sklearn_in_process": ratio(samples, measure, "per_second", NATIVE, SKLEARN),
        "json_share": None if binary is None else 1 - binary,
    }


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def markdown(result: Mapping[str, Any]) -> str:
    """What `.bench/server.json` holds, as tables."""
    table: dict[str, dict[str, dict[str, float]]] = result["table"]
    once: dict[str, dict[str, Any]] = result["once"]
    machine = result["machine"]
    lines = [
        f"{machine['processors']} processors ({machine['processor']}), Linux {machine['kernel']}, Python {machine['python']}; "
        f"{result['date']}; commit {result['commit']}; {result['rounds']} rounds of {result['seconds']} s, medians; "
        f"others used {machine['busy_before']:.0%} of the processors before it, {machine['stolen']:.1%} was stolen meanwhile.",
        "",
    ]
    lines += _closed(table) + _open(table, once) + _batches(table) + _weights(once, result["environments_mb"])
    if result["image_mb"]:
        lines += [f"Our image: {result['image_mb']:,.0f} MB uncompressed, base included.", ""]
    lines += _overload(result["overload"]) + _settings(result["servers"], result["absent"])
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"| --- |{' --: |' * (len(head) - 1)}", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _names(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """All of them, in the order in which they were measured."""
    return list(dict.fromkeys(name for table in tables for name in table))


def _closed(table: Mapping[str, Any]) -> list[str]:
    columns = [table.get(closed(connections), {}) for connections in CONNECTIONS]
    head = ["one row a request"]
    for connections in CONNECTIONS:
        head += [f"{connections} conn.: a second", "p50 / p95 / p99, ms"]
    head += ["CPU a request, µs", "failed"]
    rows = []
    for name in _names(columns):
        row = [name]
        for column in columns:
            row += [_count(column[name]["per_second"]), _latencies(column[name])] if name in column else ["", ""]
        last = columns[-1].get(name, {})
        row += [_count(last.get("cpu_us")), _count(sum(column.get(name, {}).get("failed", 0) for column in columns))]
        rows.append(row)
    return _table(head, rows)


def _open(table: Mapping[str, Any], once: Mapping[str, Any]) -> list[str]:
    columns = [table.get(opened(rate), {}) for rate in RATES]
    head = ["open loop"]
    for rate in RATES:
        head += [f"{rate:,}/s: p50 / p95 / p99, ms", "answered"]
    rows = []
    for name in _names([once]):
        row = [name]
        for column in columns:
            if name in column:
                figures = column[name]
                row += [_latencies(figures), f"{figures['answered'] / figures['sent']:.1%}"]
            else:
                row += ["not offered", ""]
        rows.append(row)
    return _table(head, rows)


def _batches(table: Mapping[str, Any]) -> list[str]:
    columns = [table.get(batch(size), {}) for size in SIZES]
    head = ["many rows a request, 4 connections"]
    for size in SIZES:
        head += [f"{size:,} rows: rows a second", "p99, ms"]
    rows = []
    for name in _names(columns):
        row = [name]
        for column in columns:
            figures = column.get(name, {})
            row += [_count(figures.get("per_second")), _milliseconds(figures.get("p99_ms"))]
        rows.append(row)
    return _table(head, rows)


def _weights(once: Mapping[str, Any], sizes: Mapping[str, float]) -> list[str]:
    head = ["", "version", "start, s (first)", "PSS idle, MB", "PSS after load, MB", "processes", "environment, MB"]
    rows = [
        [
            name,
            seen["version"],
            f"{seen['start_seconds']:.1f} ({seen['first_start_seconds']:.1f})",
            _count(seen["pss_idle_mb"]),
            _count(seen.get("pss_after_mb")),
            str(seen["processes"]),
            _count(sizes.get(seen["environment"])),
        ]
        for name, seen in once.items()
    ]
    return _table(head, rows)


def _overload(overload: Mapping[str, Any]) -> list[str]:
    head = ["twice the capacity", "offered/s", "P99 unloaded, ms", "P99 of accepted, ms", "ratio", "shed", "failed"]
    head += [f"probes P99 / max, ms, {when}" for when in PROBED.values()]
    rows = [
        [
            name,
            _count(seen["offered_per_second"]),
            _milliseconds(seen["unloaded_p99_ms"]),
            _milliseconds(seen["p99_ms"]),
            f"{seen['p99_ratio']:.1f}",
            f"{seen['shed_share']:.0%}",
            _count(seen["failed"]),
            *(f"{seen[f'{key}_p99_ms']:.1f} / {seen[f'{key}_max_ms']:.1f}" for key in PROBED),
        ]
        for name, seen in overload.items()
    ]
    return _table(head, rows) if rows else []


def _settings(servers: Mapping[str, Mapping[str, str]], absent: Mapping[str, str]) -> list[str]:
    lines = ["| server | settings | source |", "| --- | --- | --- |"]
    for name, told in servers.items():
        missing = f" **Not measured: {absent[name]}**" if name in absent else ""
        lines.append(f"| {name} | {told['settings']}{missing} | {told['source']} |")
    return [*lines, ""]


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _milliseconds(value: float | None) -> str:
    """With as many digits as mean something."""
    return "" if value is None else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _latencies(figures: Figures) -> str:
    return " / ".join(_milliseconds(figures[f"p{share}_ms"]) for share in (50, 95, 99))
