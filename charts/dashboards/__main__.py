"""Writes the dashboards that the chart delivers.

`python -m charts.dashboards FOLDER` writes them, `--check` fails where FOLDER is stale.
"""

import argparse
import sys
from pathlib import Path

from charts.dashboards import fleet, model, operator
from charts.dashboards.boards import text


def rendered() -> dict[str, str]:
    """The text of each file, by its name: it is also that of the file that Grafana's sidecar writes, so it tells whose it is."""
    return {
        "modeldeployment.json": text(model.board()),
        "modeldeployment-fleet.json": text(fleet.board()),
        "modeldeployment-operator.json": text(operator.board()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m charts.dashboards", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where FOLDER is stale")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    wanted = rendered()
    if arguments.check:
        if {path.name: path.read_text() for path in folder.iterdir()} == wanted:
            return 0
        print(f"{folder} is stale: run `make generate`", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        path.unlink()
    for name, content in wanted.items():
        (folder / name).write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
