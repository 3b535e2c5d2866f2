"""`make bench-controller`: many ModelDeployments at once, and the same children written by a client that decides nothing.

Both run on the same cluster, one after the other, in fresh namespaces. Writes `.bench/controller.json`, and prints a table.
"""

import argparse
import asyncio
import json
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import fleet, models, operator, report
from tests.bench.api import RESOURCE, Api
from tests.bench.bare import Bare, recorded
from tests.bench.operator import Calls, Controller, Process, Setup
from tests.bench.world import mlflow, scaled_cluster
from tests.clusters.progress import Trouble, say, step
from tests.clusters.settings import Settings

MODELS = 20
CONNECTIONS = 10
SIZES = (1000, 300, 100)
STEADY_SECONDS = 60
QUIET_SECONDS = 5.0
"""So long without a write of the operator, and with nobody waiting, and it has settled."""

Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of ModelDeployments; the first in full")
    sizes: list[int] = list(parser.parse_args().sizes)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    settings = Settings.read()
    out = settings.checkout / ".bench"
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            with scaled_cluster(settings) as kubeconfig, mlflow(out / "mlflow", MODELS) as registry:
                figures = asyncio.run(_measure(operator.setup(kubeconfig, registry, Path(folder)), sizes))
        except Trouble as trouble:
            sys.exit(f"error: {trouble}")
        finally:
            for log in Path(folder).glob("*.log"):
                shutil.copy(log, out)
    (out / "controller.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(report.table(figures))


async def _measure(setup: Setup, sizes: list[int]) -> Figures:
    growth: list[Figures] = []
    full: Figures = {}
    async with Api(setup.kubeconfig, CONNECTIONS) as api, Api(setup.kubeconfig, CONNECTIONS) as watcher:
        with step("removing what an earlier run has left"):
            await fleet.remove_left_over(api)
        await fleet.make_namespace(api, operator.NAMESPACE)
        with operator.store(setup) as store:
            for number, size in enumerate(sizes):
                row, more = await _measure_one(setup, api, watcher, store, size, in_full=number == 0)
                growth.append(row)
                full |= more
    return {**growth[0], **full, "models": MODELS, "growth": growth, "machine": report.machine()}


async def _measure_one(
    setup: Setup, api: Api, watcher: Api, store: Process, size: int, *, in_full: bool
) -> tuple[Figures, Figures]:
    namespace = f"{fleet.PREFIX}operator-{size}"
    await fleet.make_namespace(api, namespace)
    more: Figures = {}
    with operator.controller(setup) as controller:
        await _settled(controller)
        with step(f"{size} ModelDeployments by the operator"):
            row = await _by_operator(api, watcher, controller, namespace, size)
        if in_full:
            with step("steady state"):
                more |= await _steady(controller, store)
            with step("an alias moves"):
                more |= await _alias_moves(setup, watcher, namespace, controller, size)
        row["controller_rss_mb"] = round(controller.peak_rss_mb)
        row["store_rss_mb"] = round(store.peak_rss_mb)
    if in_full:
        with step("restart"):
            more |= await _restart(setup, size)
    with step("taking note of the children, and removing them"):
        children = await recorded(api, namespace)
        example = (await api.list(RESOURCE, namespace))[0]
        await fleet.remove_namespace(api, namespace)
    row["children"] = len(children[example["metadata"]["name"]])
    with step(f"{size} ModelDeployments by the bare client"):
        bare = await _by_bare(setup, api, watcher, size, children, example["status"], round(row["status_writes"]))
    row |= bare
    row["ratio_to_bare_client"] = round(row["seconds"] / row["bare_seconds"], 2)
    say(f"    {report.line(row)}")
    return row, more


async def _by_operator(api: Api, watcher: Api, controller: Controller, namespace: str, size: int) -> Figures:
    before, cpu, start = controller.calls(), controller.cpu_seconds, time.monotonic()
    waiting = asyncio.ensure_future(fleet.seen(watcher, namespace, size, fleet.available, "Available"))
    await fleet.create(api, namespace, fleet.resources(size, MODELS), CONNECTIONS, lambda _: None)
    when = await _while_alive(controller, waiting)
    at_once = controller.calls().since(before)
    await _settled(controller)
    calls, spent = controller.calls().since(before), controller.cpu_seconds - cpu
    return {
        "resources": size,
        "seconds": round(when[-1] - start, 1),
        "median_seconds": round(statistics.median(when) - start, 1),
        "first_seconds": round(when[0] - start, 1),
        "cpu_ms_per_resource": round(spent * 1000 / size, 1),
        "reconciles_per_resource": round(calls.reconciles / size, 2),
        "reads_per_resource": round(calls.reads / size, 2),
        "writes_per_resource": round(calls.writes / size, 2),
        "status_writes": round(_count(calls, "modeldeployments") / size, 2),
        "events": round(_count(calls, "events") / size, 2),
        "mlflow_calls": calls.registry,
        "mlflow_calls_until_available": at_once.registry,
        "calls": {f"{verb} {resource}": count for (verb, resource), count in sorted(calls.by_verb.items())},
    }


async def _by_bare(
    setup: Setup, api: Api, watcher: Api, size: int, children: Any, status: dict[str, Any], status_writes: int
) -> Figures:
    namespace = f"{fleet.PREFIX}bare-{size}"
    await fleet.make_namespace(api, namespace)
    # One connection more for its watch, as the operator's watches have theirs.
    async with Api(setup.kubeconfig, CONNECTIONS + 1) as own:
        bare = Bare(own, namespace, children, status, max(status_writes, 2))
        working = asyncio.ensure_future(bare.run(CONNECTIONS))
        start = time.monotonic()
        waiting = asyncio.ensure_future(fleet.seen(watcher, namespace, size, fleet.available, "Available"))
        creating = asyncio.ensure_future(fleet.create(api, namespace, fleet.resources(size, MODELS), CONNECTIONS, bare.created))
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        await creating
        when = await waiting
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    await fleet.remove_namespace(api, namespace)
    return {"bare_seconds": round(when[-1] - start, 1), "bare_median_seconds": round(statistics.median(when) - start, 1)}


async def _steady(controller: Controller, store: Process) -> Figures:
    before, cpu = controller.calls(), controller.cpu_seconds + store.cpu_seconds
    await asyncio.sleep(STEADY_SECONDS)
    calls, spent = controller.calls().since(before), controller.cpu_seconds + store.cpu_seconds - cpu
    return {
        "steady_writes": calls.writes,
        "steady_reads": calls.reads,
        "steady_reconciles": calls.reconciles,
        "steady_mlflow_calls": calls.registry,
        "steady_cpu_percent": round(100 * spent / STEADY_SECONDS, 2),
        "steady_seconds": STEADY_SECONDS,
    }


async def _alias_moves(setup: Setup, watcher: Api, namespace: str, controller: Controller, size: int) -> Figures:
    """Move the alias that the followers follow; seconds until all of them serve the new version."""
    followers = min(size, fleet.FOLLOWERS)
    start = time.monotonic()
    before = controller.calls()
    models.point(setup.registry, 0, "2")
    started = asyncio.ensure_future(_first_write(controller, before))
    waiting = asyncio.ensure_future(fleet.seen(watcher, namespace, followers, fleet.serves("2"), "serve version 2"))
    when = await _while_alive(controller, waiting)
    noticed = await started
    await _settled(controller)
    return {
        "alias_followers": followers,
        "alias_seconds": round(when[-1] - start, 1),
        "alias_seconds_after_the_poll": round(when[-1] - noticed, 1),
        "alias_writes_per_resource": round(controller.calls().since(before).writes / followers, 2),
    }


async def _first_write(controller: Controller, before: Calls) -> float:
    while not controller.calls().since(before).writes:
        await asyncio.sleep(0.2)
    return time.monotonic()


async def _restart(setup: Setup, size: int) -> Figures:
    """Start the controller over what runs; seconds until it has looked at each resource, and what it wrote."""
    start = time.monotonic()
    with operator.controller(setup) as controller:
        async with asyncio.timeout(600):
            while (calls := controller.calls()).reconciles < size or calls.waiting:
                await asyncio.sleep(0.2)
        seconds, cpu = time.monotonic() - start, controller.cpu_seconds
        await _settled(controller)
        calls = controller.calls()
        return {
            "restart_seconds": round(seconds, 1),
            "restart_cpu_seconds": round(cpu, 1),
            "restart_writes": calls.writes,
            "restart_reads": calls.reads,
            "restart_rss_mb": round(controller.peak_rss_mb),
        }


async def _while_alive(controller: Controller, waiting: asyncio.Future[list[float]]) -> list[float]:
    while not waiting.done():
        await asyncio.wait((waiting,), timeout=1)
        if not controller.alive:
            raise Trouble("The controller has ended; why is in .bench/controller.log.")
    return waiting.result()


async def _settled(controller: Controller) -> None:
    quiet_since, last = time.monotonic(), controller.calls()
    async with asyncio.timeout(600):
        while time.monotonic() - quiet_since < QUIET_SECONDS:
            await asyncio.sleep(0.5)
            calls = controller.calls()
            if calls.writes != last.writes or calls.waiting:
                quiet_since, last = time.monotonic(), calls


def _count(calls: Calls, resource: str) -> int:
    return sum(count for (verb, name), count in calls.by_verb.items() if name == resource and verb != "GET")


if __name__ == "__main__":
    main()
