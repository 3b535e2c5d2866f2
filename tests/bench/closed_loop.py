"""wrk: so many connections, each of which asks again when it has its answer."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 10
"""A request that has no answer by then has failed."""

# The last line is what wrk counted, as JSON; it measures in microseconds.
SCRIPT = """
local requests, at = {}, 0
init = function()
  for number = 0, COUNT - 1 do
    local file = io.open(PREFIX .. number, "rb")
    requests[number] = wrk.format("POST", nil, nil, file:read("*a"))
    file:close()
  end
end
request = function()
  at = (at + 1) % COUNT
  return requests[at]
end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %d, "p95": %d, "p99": %d, "status": %d, "socket": %d, "timeout": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(95), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout
  ))
end
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """Where, and with which bodies in turns: files `prefix` with a number from 0 after it."""

    port: int
    path: str
    headers: Mapping[str, str]
    prefix: Path
    count: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What wrk saw."""

    answered: int
    """Answers of status 2xx."""
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    failed: int


def write(prefix: Path, bodies: Sequence[bytes]) -> int:
    """The bodies as wrk will read them."""
    for number, body in enumerate(bodies):
        prefix.with_name(f"{prefix.name}{number}").write_bytes(body)
    return len(bodies)


def script(asked: Asked) -> str:
    """What wrk is told."""
    head = "".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in asked.headers.items())
    return head + SCRIPT.replace("COUNT", str(asked.count)).replace("PREFIX", json.dumps(str(asked.prefix)))


def parsed(said: str) -> Seen:
    """From what wrk prints."""
    told: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    failed = told["status"] + told["socket"] + told["timeout"]
    answered = max(0, told["requests"] - told["status"])
    p50, p95, p99 = (told[name] / 1000 for name in ("p50", "p95", "p99"))
    return Seen(answered, answered / told["microseconds"] * 1e6, p50, p95, p99, failed)


def load(asked: Asked, connections: int, seconds: int) -> Seen:
    """Ask for so long."""
    file = asked.prefix.with_name(f"{asked.prefix.name}.lua")
    file.write_text(script(asked))
    options = ["-t1", f"-c{connections}", f"-d{seconds}", "--timeout", str(PATIENCE_SECONDS), "-s", str(file)]
    command = ["wrk", *options, f"http://127.0.0.1:{asked.port}{asked.path}"]
    return parsed(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
