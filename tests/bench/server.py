"""`python -m tests.bench.server` (`make bench-server`): our server beside every other one, the same model in each, in one run.

Each server is installed in an environment of its own, answers some rows as scikit-learn does, and is then asked in rounds: every
measurement goes over all servers before the next one begins, so what else the machine does falls on all of them. The one that is
asked runs, the others are stopped. Prints a line a measurement, and writes `.bench/server.json` and `.bench/server.md`
(`server-part` where it was not a whole run).
"""

import argparse
import contextlib
import datetime
import fcntl
import http.client
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from server.settings import VARIABLE
from tests.bench import comparison, forest, stage
from tests.bench.comparison import CONNECTIONS, RATES, SIZES, Sample
from tests.bench.forest import Forest
from tests.bench.open_loop import rank
from tests.bench.peers import environments
from tests.bench.peers.environments import NotInstalled
from tests.bench.peers.servers import SERVERS, Server, World, told_ours
from tests.bench.process import NotStarted
from tests.bench.stage import Probes, Running
from tests.clusters import images
from tests.clusters.settings import CHECKOUT, Settings

RESULT, PART = CHECKOUT / ".bench" / "server.json", CHECKOUT / ".bench" / "server-part.json"
"""Of a whole run, and of any other."""
BATCH_CONNECTIONS = 4
UNLOADED_SHARE, OVERLOAD = 0.1, 2.0
IN_PROCESS_SIZES = (1, *SIZES)

FAULTS = NotStarted, subprocess.CalledProcessError, OSError, http.client.HTTPException, ValueError, KeyError
"""What a server may cause that does not start, or ends, or answers something else than its protocol says."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long what takes, in seconds."""

    rounds: int
    closed: int
    opened: int
    batch: int
    warm_up: int
    words: Sequence[str]
    """Only servers whose names have one of these; none: all."""
    singles_only: bool
    """Nothing but single rows in closed loop."""

    def wants(self, server: Server) -> bool:
        return not self.words or any(word in server.name for word in self.words)


@dataclass(slots=True)
class Bench:
    """What has been seen so far."""

    plan: Plan
    forest: Forest
    compiled: Path
    began: float = field(default_factory=time.monotonic)
    servers: list[Running] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    overload: dict[str, dict[str, float]] = field(default_factory=dict)

    def say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        print(f"{minutes:3}:{seconds:02}  {text}", flush=True)

    def miss(self, name: str, why: object) -> None:
        """A server that can't be measured, or no longer, is told of and not dropped in silence."""
        self.absent[name] = str(why)
        self.say(f"{name}: NOT MEASURED: {why}")

    def start(self, stack: contextlib.ExitStack, scratch: Path) -> None:
        """All servers that can be, one after the other."""
        for number, server in enumerate(filter(self.plan.wants, SERVERS)):
            if server.name in self.absent:
                continue
            try:
                one = stack.enter_context(stage.running(server, self.forest, scratch / str(number)))
                warm = one.asked(server.single, self.forest, 1)
                stage.load(one, warm, 16, self.plan.warm_up)
            except FAULTS as e:
                self.miss(server.name, e)
                continue
            one.process.pause()
            self.servers.append(one)
            told = one.once
            self.say(f"{server.name}: started in {told['start_seconds']:.1f} s, {told['pss_idle_mb']:.0f} MB, {told['version']}")

    def measure(self, number: int, one: Running, name: str, measure: str, figures: Callable[[], dict[str, float]]) -> None:
        """One sample; a server that fails here is left out from now on."""
        if one.server.name in self.absent:
            return
        try:
            with one.awake():
                seen = figures()
        except FAULTS as e:
            self.miss(one.server.name, f"{measure}: {e}")
            return
        self.samples.append(Sample(number, name, measure, seen))
        failed = f", {seen['failed']:,.0f} failed" if seen["failed"] else ""
        shed = f", {seen['shed']:,.0f} shed" if seen.get("shed") else ""
        times = f"p50 {seen['p50_ms']:.2f}, p99 {seen['p99_ms']:.2f} ms"
        self.say(
            f"{measure}: {name}: {seen['per_second']:,.0f} a second, {times}, {seen['cpu_us']:,.0f} µs of CPU each{failed}{shed}"
        )

    def round(self, number: int) -> None:
        """Everything once."""
        for connections in CONNECTIONS:
            for one in self.servers:
                for name, road in ({one.server.name: one.server.single} | one.server.others).items():
                    asked = one.asked(road, self.forest, 1)
                    work = _later(stage.load, one, asked, connections, self.plan.closed)
                    self.measure(number, one, name, comparison.closed(connections), work)
        if self.plan.singles_only:
            return
        for rate in RATES:
            for one in self.servers:
                if self.capacity(one.server.name) > rate:
                    asked = one.asked(one.server.single, self.forest, 1)
                    work = _later(stage.offer, one, asked, rate, self.plan.opened)
                    self.measure(number, one, one.server.name, comparison.opened(rate), work)
        self.in_process(number)
        for size in SIZES:
            for one in self.servers:
                roads = {one.server.name: one.server.many} | one.server.other_many
                for name, batch in roads.items():
                    if batch:
                        asked = one.asked(batch, self.forest, size)
                        work = _later(stage.load, one, asked, BATCH_CONNECTIONS, self.plan.batch, size)
                        self.measure(number, one, name, comparison.batch(size), work)

    def capacity(self, name: str) -> float:
        """The most answers a second that it has given in closed loop."""
        table = comparison.medians(self.samples)
        return max(table.get(comparison.closed(n), {}).get(name, {}).get("per_second", 0.0) for n in CONNECTIONS)

    def in_process(self, number: int) -> None:
        """scikit-learn and our engine without HTTP."""
        rows = self.compiled.with_name("rows.json")
        rows.write_text(json.dumps(self.forest.rows))
        told = {"rows": str(rows), "model": str(self.forest.file), "compiled": str(self.compiled)}
        wanted = {**told, "sizes": IN_PROCESS_SIZES, "seconds": self.plan.batch}
        command = [str(environments.python(environments.OURS)), "-m", "tests.bench.in_process", json.dumps(wanted)]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        if done.returncode:
            self.miss(comparison.SKLEARN, done.stderr.strip()[-300:])
            return
        for size, figures in json.loads(done.stdout).items():
            for name, key in ((comparison.SKLEARN, "scikit-learn"), (comparison.ENGINE, "engine")):
                self.samples.append(Sample(number, name, comparison.batch(int(size)), {"per_second": figures[key]}))
            self.say(f"in process, {size} rows: {', '.join(f'{name} {rate:,.0f} a second' for name, rate in figures.items())}")

    def overloaded(self, one: Running) -> None:
        """Twice what it can do, beside a tenth of that; its probes are asked meanwhile, and under large batches."""
        name, capacity = one.server.name, self.capacity(one.server.name)
        asked = one.asked(one.server.single, self.forest, 1)
        seen: list[dict[str, float]] = []
        for _ in range(self.plan.rounds):
            with one.awake():
                unloaded = stage.offer(one, asked, capacity * UNLOADED_SHARE, self.plan.opened)
                with Probes(one.port + 1) as probes:
                    over = stage.offer(one, asked, capacity * OVERLOAD, self.plan.opened)
                figures = {
                    "offered_per_second": capacity * OVERLOAD,
                    "unloaded_p99_ms": unloaded["p99_ms"],
                    "p99_ms": over["p99_ms"],
                    "p99_ratio": over["p99_ms"] / unloaded["p99_ms"],
                    "shed_share": over["shed"] / over["sent"],
                    "failed": over["failed"],
                    "generator_late_p99_ms": over["late_p99_ms"],
                }
                seen.append(figures | _probed("over_probe", probes))
                with Probes(one.port + 1) as probes:
                    stage.load(one, asked, CONNECTIONS[-1], self.plan.batch)
                seen[-1] |= _probed("full_probe", probes)
                if one.server.many:
                    with Probes(one.port + 1) as probes:
                        many = one.asked(one.server.many, self.forest, SIZES[-1])
                        stage.load(one, many, BATCH_CONNECTIONS, self.plan.batch, SIZES[-1])
                    seen[-1] |= _probed("batch_probe", probes)
        self.overload[name] = comparison.typical(seen)
        self.say(f"twice the capacity: {name}: " + ", ".join(f"{key} {value:,.2f}" for key, value in self.overload[name].items()))

    def weigh(self) -> None:
        """Memory after all this."""
        for one in self.servers:
            if one.server.name not in self.absent:
                one.once["pss_after_mb"] = one.pss_mb()


def _later(function: Callable[..., dict[str, float]], *arguments: Any) -> Callable[[], dict[str, float]]:
    return lambda: function(*arguments)


def _probed(word: str, probes: Probes) -> dict[str, float]:
    times = sorted(probes.milliseconds)
    return {
        f"{word}_p99_ms": rank(times, 99),
        f"{word}_max_ms": times[-1] if times else 0.0,
        f"{word}s_failed": float(probes.failed),
    }


def install(plan: Plan, absent: dict[str, str]) -> dict[str, float]:
    """The environments, and what each takes; of those that can't be made, why."""
    sizes: dict[str, float] = {}
    wanted = [server for server in SERVERS if plan.wants(server)]
    for name in dict.fromkeys([environments.OURS, *(server.environment for server in wanted)]):  # ours is asked in process too
        try:
            if not environments.installed(name):
                print(f"installing {name}: {environments.requirements(name).relative_to(CHECKOUT)}", flush=True)
                environments.install(name)
            sizes[name] = environments.megabytes(name)
        except NotInstalled as e:
            for server in wanted:
                if server.environment == name:
                    absent[server.name] = f"it could not be installed: {e}"
                    print(f"{server.name}: NOT MEASURED: {absent[server.name]}", flush=True)
    if environments.OURS not in sizes:
        raise SystemExit("our own server could not be installed")
    return sizes


def compile_forest(model: Forest, scratch: Path) -> Path:
    """What the init step of a pod does."""
    world = World(model, scratch, 1, environments.KEPT / environments.OURS / "bin")
    command = [str(environments.python(environments.OURS)), "-m", "server", "compile"]
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], VARIABLE: told_ours(world, "Compiled")},
        capture_output=True,
        text=True,
    )
    compiled = model.mlflow.with_name(model.mlflow.name + "-compiled")
    if done.returncode or not any(compiled.iterdir()):
        raise SystemExit(f"the model was not compiled: {done.stdout[-500:]} {done.stderr[-500:]}")
    return compiled


def machine() -> dict[str, Any]:
    told = Path("/proc/cpuinfo").read_text()
    name = next((line.partition(": ")[2] for line in told.splitlines() if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": name,
        "processors": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def processors() -> dict[str, int]:
    """Ticks of all processors so far."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return {"all": sum(fields), "idle": fields[3] + fields[4], "stolen": fields[7]}


def since(before: Mapping[str, int], what: str) -> float:
    """The share of it in the time that has passed."""
    now = processors()
    return (now[what] - before[what]) / max(1, now["all"] - before["all"])


def measured(plan: Plan) -> Iterator[dict[str, Any]]:
    """The whole run: what is known after each round, and at last all of it."""
    absent: dict[str, str] = {}
    sizes = install(plan, absent)
    before = processors()
    time.sleep(2)
    told = machine() | {"busy_before": 1 - since(before, "idle")}
    before = processors()
    with tempfile.TemporaryDirectory() as kept, contextlib.ExitStack() as stack:
        model = forest.made(Path(kept) / "forest")
        bench = Bench(plan, model, compile_forest(model, Path(kept)), absent=absent)
        bench.start(stack, Path(kept))
        for number in range(1, plan.rounds + 1):
            bench.say(f"--- round {number} of {plan.rounds}")
            bench.round(number)
            bench.weigh()
            yield known(bench, sizes, told | {"stolen": since(before, "stolen")})
        for one in bench.servers:
            if one.server.kind == "ours" and one.server.name not in absent and not plan.singles_only:
                try:
                    bench.overloaded(one)
                except FAULTS as e:
                    bench.miss(f"{one.server.name}, twice its capacity", e)
        bench.weigh()
        yield known(bench, sizes, told | {"stolen": since(before, "stolen")})


def known(bench: Bench, sizes: Mapping[str, float], about: Mapping[str, Any]) -> dict[str, Any]:
    """What has been seen so far."""
    once = {one.server.name: one.once for one in bench.servers}
    kinds = {server.name: server.kind for server in SERVERS}
    return {
        **comparison.headline(bench.samples, kinds, once),
        "image_mb": image_mb(),
        "overload": bench.overload,
        "absent": bench.absent,
        "date": datetime.datetime.now(datetime.UTC).strftime("%d %B %Y, %H:%M UTC"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("" if not _git("status", "--porcelain") else " and changes"),
        "machine": about,
        "rounds": len({sample.round for sample in bench.samples}),
        "seconds": bench.plan.closed,
        "once": once,
        "environments_mb": sizes,
        "servers": {s.name: {"settings": s.settings, "source": s.source} for s in SERVERS if bench.plan.wants(s)},
        "table": comparison.medians(bench.samples),
        "samples": [asdict(sample) for sample in bench.samples],
    }


def image_mb() -> float | None:
    """Of our image that was built last on this machine, base included; None: there is none (`make images`)."""
    archives = (Settings.read().cache / "images").glob(f"server-{'[0-9a-f]' * 16}.tar")
    newest = max(archives, key=lambda path: path.stat().st_mtime, default=None)
    return images.size_mb(newest) if newest else None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout.strip()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of a second each: does everything work?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="for each measurement in closed loop")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="servers whose names have one of these words")
    parser.add_argument("--singles", action="store_true", help="only single rows in closed loop")
    parser.add_argument("--table", action="store_true", help="measure nothing: print the tables of the last run")
    options = parser.parse_args(arguments)
    if options.table:
        print(comparison.markdown(json.loads(RESULT.read_text())))
        return
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that every server is ended
    if options.quick:
        plan = Plan(rounds=1, closed=1, opened=1, batch=1, warm_up=1, words=options.only, singles_only=options.singles)
    else:
        opened, batch = 2 * options.seconds - 1, max(1, options.seconds - 1)
        plan = Plan(options.rounds, options.seconds, opened, batch, 4, options.only, options.singles)
    file = PART if options.quick or options.only or options.singles else RESULT
    RESULT.parent.mkdir(exist_ok=True)
    with RESULT.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("another run is under way in this checkout") from None
        for result in measured(plan):
            file.write_text(json.dumps(result, indent=1))
            file.with_suffix(".md").write_text(comparison.markdown(result) + "\n")
    print(f"\n{comparison.markdown(result)}\n")
    for key, value in result.items():
        if isinstance(value, int | float | str):
            print(f"{key}: {value if isinstance(value, str) else f'{value:,.4g}'}")


if __name__ == "__main__":
    main()
