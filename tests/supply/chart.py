"""`make package`: the chart and install.yaml as a release publishes them, whose defaults are its images and its runbooks.

`python -m tests.supply.chart REGISTRY/OWNER/REPOSITORY https://HOST/OWNER/REPOSITORY vX.Y.Z` writes both to `dist/`.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from tests.clusters import binaries
from tests.clusters.progress import Trouble, say
from tests.clusters.settings import CHECKOUT, Settings

CHART = CHECKOUT / "charts" / "modeldeployment-operator"
INSTALL = CHECKOUT / "manifests" / "install.yaml"
LOCAL = "localhost/modeldeployment-"
"""How the images are named where they are built; the chart's own defaults."""
RUNBOOKS = re.compile(r'(?<=runbookPrefix: )""|(?<=runbookPrefix` \| `)""')
"""Where people read the runbooks, in values.yaml and in the README's table: a checkout does not know."""


def package(helm: Path, images: str, source: str, tag: str, folder: Path) -> Path:
    """The chart's archive, beside which install.yaml lies. `images` is what comes before an image's name, `tag` theirs; `source`
    is where people read the repository."""
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    if tag != f"v{version}":
        raise Trouble(f"The tag {tag} is not that of version {version}: set version in Chart.yaml and pyproject.toml first.")
    with tempfile.TemporaryDirectory() as place:
        chart = shutil.copytree(CHART, Path(place, CHART.name))
        for name in ("values.yaml", "README.md"):
            text = (chart / name).read_text().replace(LOCAL, f"{images}/")
            (chart / name).write_text(RUNBOOKS.sub(f'"{source}/blob/{tag}/"', text))
        with (chart / "Chart.yaml").open("a") as about:
            about.write(f"sources: [{source}]\n")
        command = [str(helm), "package", str(chart), "--app-version", tag, "--destination", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"helm could not package the chart: {done.stderr.strip()}")
    of_the_images = re.sub(rf"{LOCAL}([\w.-]+):dev", rf"{images}/\1:{tag}", INSTALL.read_text())
    (folder / "install.yaml").write_text(of_the_images.replace('version: "dev"', f'version: "{tag}"'))
    return folder / f"{CHART.name}-{version}.tgz"


def main() -> int:
    _, images, source, tag = sys.argv
    try:
        say(str(package(binaries.binary(Settings.read(), "helm"), images, source, tag, CHECKOUT / "dist")))
    except Trouble as trouble:
        say(f"error: {trouble}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
