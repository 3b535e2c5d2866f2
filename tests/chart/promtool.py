"""Prometheus' promtool: found, or installed. `make chart` does that first, since tests have a time limit."""

import shutil

from tests.clusters import packages


def executable() -> str:
    """Its path. Debian has it in its package of Prometheus."""
    packages.ensure({"promtool": "prometheus"})
    return shutil.which("promtool", path=packages.SYSTEM_PATH) or "promtool"


if __name__ == "__main__":
    print(executable())
