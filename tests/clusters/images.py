"""The images: built by a Docker engine or by buildah from the same files, and only when what they are made of changed."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.clusters import base_image, packages
from tests.clusters.binaries import locked
from tests.clusters.image import Image
from tests.clusters.progress import Trouble, say, step
from tests.clusters.settings import Settings

PUBLIC_BASE = "python:3.11-slim"
KEPT_ARCHIVES = 2
"""So many of each image stay in the cache; another checkout may be loading the one before."""


@dataclass(frozen=True, slots=True)
class Recipe:
    name: str
    dockerfile: str
    context: str
    inputs: tuple[str, ...]
    limit_mb: int | None = None
    """The most that it may take, uncompressed and with its base: more is a dependency that slipped in."""
    arguments: tuple[str, ...] = ()
    """Build arguments, each NAME=VALUE."""


RECIPES = (
    Recipe("server", "Dockerfile.server", ".", ("server/**/*", "LICENSE", ".dockerignore"), limit_mb=600),
    Recipe(
        "server-sklearn-1.8",
        "Dockerfile.server",
        ".",
        ("server/**/*", "LICENSE", ".dockerignore"),
        limit_mb=600,
        arguments=("REQUIREMENTS=server/requirements-sklearn-1.8.txt",),
    ),
    Recipe("controller", "Dockerfile.controller", ".", ("controller/**/*", "LICENSE", ".dockerignore"), limit_mb=300),
    Recipe("mlflow", "manifests/mlflow/Dockerfile", "manifests/mlflow", ("manifests/mlflow/requirements.txt",)),
)


def local_name(recipe: Recipe) -> str:
    return f"localhost/modeldeployment-{recipe.name}:dev"


def build(settings: Settings, names: Sequence[str] = ()) -> list[Image]:
    """Build what changed of the images `names` (all when there are none), and return them."""
    folder = settings.cache / "images"
    folder.mkdir(parents=True, exist_ok=True)
    builder = Docker() if _docker_answers() else Buildah(folder)
    images = []
    with locked(folder / "all"):
        for recipe in RECIPES:
            if not names or recipe.name in names:
                images.append(_built(settings, builder, recipe, folder))
    return images


def size_mb(archive: Path) -> float:
    """What the image takes on a disk: its layers, which lie uncompressed in the archive."""
    with tarfile.open(archive) as tar:
        manifest = json.loads(read(tar, "manifest.json"))
        return sum(tar.getmember(layer).size for layer in manifest[0]["Layers"]) / 1e6


def read(tar: tarfile.TarFile, name: str) -> bytes:
    content = tar.extractfile(name)
    if content is None:
        raise Trouble(f"{tar.name!r} holds no file {name}.")
    return content.read()


class Docker:
    """A Docker engine that answers."""

    def base(self, settings: Settings) -> str:
        if settings.base_image:
            return settings.base_image
        if not _succeeds("docker", "image", "inspect", PUBLIC_BASE) and not _succeeds("docker", "pull", PUBLIC_BASE):
            tar = settings.cache / "images" / f"{base_image.NAME.rpartition(':')[2]}.tar"
            if not tar.exists():
                base_image.write(tar)
            _run("docker", "import", str(tar), base_image.NAME)
            return base_image.NAME
        return PUBLIC_BASE

    def build(self, dockerfile: Path, context: Path, name: str, base: str, arguments: Sequence[str]) -> None:
        more = [f"--build-arg={argument}" for argument in arguments]
        _run("docker", "build", f"--build-arg=BASE_IMAGE={base}", *more, f"--file={dockerfile}", f"--tag={name}", str(context))

    def save(self, name: str, archive: Path) -> None:
        _run("docker", "save", f"--output={archive}", name)


class Buildah:
    """No engine: buildah makes the same images, with a store of its own in the cache."""

    def __init__(self, folder: Path) -> None:
        packages.ensure({"buildah": "buildah", "runc": "runc"})
        # In a mount namespace of its own, where its mounts end with it.
        places = (f"--root={folder}/store", f"--runroot={folder}/run", "--storage-driver=overlay")
        self.buildah = ("unshare", "--mount", "buildah", *places)

    def base(self, settings: Settings) -> str:
        if settings.base_image:
            return settings.base_image
        if _succeeds(*self.buildah, "inspect", "--type=image", base_image.NAME):
            return base_image.NAME
        if _succeeds(*self.buildah, "pull", "--quiet", PUBLIC_BASE):
            return PUBLIC_BASE
        tar = settings.cache / "images" / f"{base_image.NAME.rpartition(':')[2]}.tar"
        if not tar.exists():
            base_image.write(tar)
        container = _run(*self.buildah, "from", "scratch").strip()
        _run(*self.buildah, "add", container, str(tar), "/")
        _run(*self.buildah, "commit", "--rm", "--format=docker", container, base_image.NAME)
        tar.unlink()
        return base_image.NAME

    def build(self, dockerfile: Path, context: Path, name: str, base: str, arguments: Sequence[str]) -> None:
        # `--format docker`, or HEALTHCHECK is lost; the machine's certificates, for a machine behind a proxy of its own.
        how = ("--format=docker", "--layers", "--isolation=chroot", "--network=host")
        certificates = "--volume=/etc/ssl/certs:/etc/ssl/certs:ro"
        more = [f"--build-arg={argument}" for argument in arguments]
        what = (f"--build-arg=BASE_IMAGE={base}", *more, f"--file={dockerfile}", f"--tag={name}", str(context))
        _run(*self.buildah, "build", *how, certificates, *what)

    def save(self, name: str, archive: Path) -> None:
        _run(*self.buildah, "push", "--quiet", name, f"docker-archive:{archive}:{name}")


def _built(settings: Settings, builder: Docker | Buildah, recipe: Recipe, folder: Path) -> Image:
    key = _key(settings, recipe)
    archive = folder / f"{recipe.name}-{key}.tar"
    name = local_name(recipe)
    if not archive.exists():
        base = builder.base(settings)
        with step(f"building the image {name} from {base}"):
            builder.build(settings.checkout / recipe.dockerfile, settings.checkout / recipe.context, name, base, recipe.arguments)
            temporary = archive.with_suffix(".new")
            temporary.unlink(missing_ok=True)
            builder.save(name, temporary)
            temporary.rename(archive)
        for old in sorted(folder.glob(f"{recipe.name}-{'[0-9a-f]' * len(key)}.tar"), key=os.path.getmtime)[:-KEPT_ARCHIVES]:
            old.unlink()
    size = size_mb(archive)
    limit = f", of at most {recipe.limit_mb} MB" if recipe.limit_mb else ""
    say(f"    {name}: {size:.0f} MB uncompressed, base included{limit}")
    if recipe.limit_mb and size > recipe.limit_mb:
        raise Trouble(f"The image {name} takes {size:.0f} MB, which is more than {recipe.limit_mb} MB.")
    return Image(name=name, archive=archive, key=key)


def _key(settings: Settings, recipe: Recipe) -> str:
    """Names everything that the image is made of."""
    digest = hashlib.sha256(" ".join((str(settings.base_image), base_image.NAME, *recipe.arguments)).encode())
    files = [settings.checkout / recipe.dockerfile]
    for pattern in recipe.inputs:
        files += [path for path in settings.checkout.glob(pattern) if path.is_file()]
    for path in sorted(files):
        if "__pycache__" not in path.parts and path.suffix != ".pyc" and path.name != "README.md":
            digest.update(f"{path.relative_to(settings.checkout)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _docker_answers() -> bool:
    return shutil.which("docker") is not None and _succeeds("docker", "info")


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0


def _run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False)
    if result.returncode:
        say((result.stdout + result.stderr)[-3000:])
        raise Trouble(f"`{' '.join(command)}` failed; its last words are above.")
    return result.stdout
