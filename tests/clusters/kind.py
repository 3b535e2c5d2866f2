"""kind: a node in a container, where a Docker engine answers that can run one.

Not proved by CI: its machines cannot run a privileged container. So this stays small and does what kind's own page says.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.clusters import binaries
from tests.clusters.image import Image
from tests.clusters.progress import Trouble, step
from tests.clusters.settings import Settings


class Kind:
    name = "kind"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cluster = f"mdep-{settings.key}"
        self.configuration = settings.checkout / "manifests" / "kind.yaml"

    def prepare(self) -> None:
        for name in ("kind", *binaries.FOR_PEOPLE):
            binaries.binary(self.settings, name)

    def start(self) -> Path:
        if not self.running():
            self.settings.state.mkdir(exist_ok=True)
            with step(f"creating the kind cluster {self.cluster}"):
                self._kind("create", "cluster", "--config", str(self.configuration), "--wait", "120s", *self._where())
        else:
            self._kind("export", "kubeconfig", *self._where())
        binaries.link(self.settings)
        return self.settings.kubeconfig

    def load_images(self, images: Sequence[Image]) -> dict[str, str]:
        for image in images:
            self._kind("load", "image-archive", str(image.archive), "--name", self.cluster)
        return {image.name: image.name for image in images}

    def stop(self) -> None:
        self._kind("delete", "cluster", *self._where())
        shutil.rmtree(self.settings.state, ignore_errors=True)

    def running(self) -> bool:
        return self.cluster in self._kind("get", "clusters").split()

    def status(self) -> str:
        return f"kind: {self.cluster} {'is running' if self.running() else 'is not running'}"

    def _where(self) -> tuple[str, ...]:
        return ("--name", self.cluster, "--kubeconfig", str(self.settings.kubeconfig))

    def _kind(self, *arguments: str) -> str:
        command = [str(binaries.binary(self.settings, "kind")), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise Trouble(f"kind {' '.join(arguments)} failed: {result.stderr.strip()[-1000:]}")
        return result.stdout


def engine_can_run_nodes(docker: str = "docker") -> bool:
    """Whether a Docker engine answers and lets a container have all that kind's nodes need.

    Asked of the engine itself, by a privileged container without content: "no such program" comes from within the
    container, so privileges were granted; any other failure says that they were not.
    """
    if shutil.which(docker) is None:
        return False
    answers = subprocess.run([docker, "info"], capture_output=True, check=False, timeout=20)
    if answers.returncode:
        return False
    empty = subprocess.run([docker, "import", "-"], input=b"\0" * 1024, capture_output=True, text=False, check=False)
    if empty.returncode:
        return False
    image = empty.stdout.decode().strip()
    try:
        probe = [docker, "run", "--rm", "--privileged", "--network=none", image, "/none"]
        result = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=60)
        return "no such file" in result.stderr
    finally:
        subprocess.run([docker, "rmi", image], capture_output=True, check=False)
