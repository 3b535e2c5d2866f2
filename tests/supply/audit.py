"""`make audit`: what is known to be vulnerable among everything that is locked, asked of OSV by pip-audit.

Where no database answers, nothing was audited, and that is a failure too: a registry's mirror that knows of no vulnerabilities
would otherwise look like a clean bill.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.clusters.progress import say
from tests.clusters.settings import CHECKOUT
from tests.supply import locks

DATABASE = "https://api.osv.dev/v1/query"


def main() -> int:
    # Other model servers, which the benchmarks and one contract test install for themselves, are shipped to nobody.
    audited = [lock for lock in locks.ALL if lock.parent.name in ("controller", "server", "training", "tests", "mlflow")]
    return audit(audited)


def audit(audited: Iterable[Path], database: str = DATABASE) -> int:
    """The exit code: 0 where every lock was looked at and nothing was found."""
    worst = 0
    for lock in audited:
        command = [sys.executable, "-m", "pip_audit", "--vulnerability-service=osv", f"--osv-url={database}", "--strict"]
        command += ["--disable-pip", "--progress-spinner=off", f"--requirement={lock}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "ConnectionError" in done.stderr:
            say(f"error: no vulnerability database answers at {database}: nothing was audited.")
            return 2
        told = done.stdout.strip() or (done.stderr.strip() if done.returncode else "nothing known")
        say(f"{os.path.relpath(lock, CHECKOUT)}: {told}")
        worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
