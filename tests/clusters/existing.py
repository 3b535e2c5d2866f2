"""A cluster that exists already: nothing is started or ended, and images reach it through a registry."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.clusters.image import Image
from tests.clusters.progress import Trouble, say, step
from tests.clusters.settings import Settings


class Existing:
    name = "existing"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def prepare(self) -> None:
        self.start()

    def start(self) -> Path:
        given = self.settings.given_kubeconfig
        if given is None:
            raise Trouble("Set KUBECONFIG to the cluster that should be used.")
        if self.settings.registry is None:
            raise Trouble(
                f"KUBECONFIG={given} asks for that cluster to be used, but it has to pull images from somewhere: set "
                "REGISTRY too, such as REGISTRY=registry.example.com/team; or unset KUBECONFIG for a cluster of our own."
            )
        if not given.exists():
            raise Trouble(f"KUBECONFIG={given} does not exist.")
        return given

    def load_images(self, images: Sequence[Image]) -> dict[str, str]:
        names = {image.name: f"{self.settings.registry}/{image.name.rpartition('/')[2]}" for image in images}
        for image in images:
            with step(f"pushing {names[image.name]}"):
                self._push(image, names[image.name])
        return names

    def stop(self) -> None:
        say(f"The cluster of KUBECONFIG={self.settings.given_kubeconfig} was not started here, so it is not ended.")

    def running(self) -> bool:
        return True

    def status(self) -> str:
        return f"existing: {self.settings.given_kubeconfig}, images through {self.settings.registry}"

    def _push(self, image: Image, name: str) -> None:
        archive = str(image.archive)
        if shutil.which("buildah"):
            store = self.settings.cache / "images" / "store"
            commands = [["buildah", f"--root={store}", "push", image.name, f"docker://{name}"]]
        else:
            commands = [
                ["docker", "load", "--input", archive],
                ["docker", "tag", image.name, name],
                ["docker", "push", name],
            ]
        for command in commands:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                raise Trouble(f"{' '.join(command)} failed: {result.stderr.strip()[-500:]}")
