"""Writes manifests/install.yaml: the chart with its defaults, for those without Helm.

`python -m tests.chart.manifest` writes it, `--check` fails where it is stale. It is what Helm renders, in a namespace under
restricted pod security, without what says that a release of Helm's owns it.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from tests.chart.rendering import CHART, NAMESPACE, Helm
from tests.clusters.binaries import binary
from tests.clusters.settings import Settings

INSTALL = CHART.parents[1] / "manifests" / "install.yaml"
HEAD = f"""\
# Generated from charts/modeldeployment-operator by `make generate`. Do not edit.
# The operator without Helm, as the chart's README says. MLflow is expected at http://mlflow.mlflow.svc:5000.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""
OF_HELM = re.compile(r"^ *(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)


def install(helm: Helm) -> str:
    """What manifests/install.yaml should hold."""
    rendered = OF_HELM.sub("", helm.text("--skip-tests"))
    return HEAD + re.sub(r"\n\s+(?=---\n)", "\n", rendered).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chart.manifest", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the file is stale")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as home:
        text = install(Helm(binary(Settings.read(), "helm"), Path(home)))
    if check:
        if INSTALL.exists() and INSTALL.read_text() == text:
            return 0
        print(f"{INSTALL} is stale: run `make generate`", file=sys.stderr)
        return 1
    INSTALL.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
