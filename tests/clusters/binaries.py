"""The tools that are built from the Go module proxy: one folder below `tools/` is one go.mod with pinned versions.

Built on first use, into a cache keyed by the hash of go.mod and go.sum; a build that is killed leaves nothing that counts.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clusters.progress import Trouble, say, step
from tests.clusters.settings import Settings

TOOLS = Path(__file__).parent / "tools"
FOR_PEOPLE = ("kubectl", "helm")
"""What is of use beside the cluster, and so is linked to where a person can put it on the PATH."""

GROUPS = tuple(sorted(folder.parent.name for folder in TOOLS.glob("*/go.mod")))


def binary(settings: Settings, name: str) -> Path:
    """The path of a tool such as `helm` or `kubectl`; builds the group that it belongs to, where that was not done yet."""
    group = name if name in GROUPS else "kubernetes"
    path = built(settings, group) / name
    if not path.exists():
        raise Trouble(f"There is no tool named {name!r}: tests/clusters/tools/{group}/go.mod does not list it.")
    return path


def cache(settings: Settings) -> Path:
    """The folder that holds every tool's folder."""
    return settings.cache / "tools"


def link(settings: Settings) -> None:
    """Put the tools for people into `.cluster/bin`; the links go with the cluster, the tools stay in the cache."""
    folder = settings.state / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for name in FOR_PEOPLE:
        temporary = folder / f".{name}.new"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(binary(settings, name))
        temporary.rename(folder / name)


def built(settings: Settings, group: str) -> Path:
    """The folder with the programs of a group."""
    source = TOOLS / group
    mod = (source / "go.mod").read_text()
    inputs = mod.encode() + (source / "go.sum").read_bytes()
    target = cache(settings) / f"{group}-{hashlib.sha256(inputs).hexdigest()[:16]}"
    if target.is_dir():
        return target
    if shutil.which("go") is None:
        raise Trouble("Go is missing: the cluster's tools are built with it. Install Go 1.26 or newer (https://go.dev/dl).")
    with locked(target):
        if not target.is_dir():
            _build(source, mod, target)
    return target


def compiled(settings: Settings, source: Path) -> Path:
    """The program made from one C file, linked so that it needs nothing around it."""
    target = cache(settings) / f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    program = target / source.stem
    if not program.exists():
        with locked(target):
            target.mkdir(exist_ok=True)
            temporary = program.with_suffix(".new")
            command = ["gcc", "-static", "-Os", "-Wall", "-Werror", "-s", "-o", str(temporary), str(source)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                raise Trouble(f"{source.name} could not be compiled: {result.stderr.strip()[-500:]}")
            temporary.rename(program)
    return program


def _build(source: Path, mod: str, target: Path) -> None:
    tools = re.findall(r"^(?:tool |\t)([\w./-]+)$", mod, re.MULTILINE)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{source.name}-") as folder:
        # A group of one is named after its folder: Go would call etcd "server", after its package.
        out = f"{folder}/" if len(tools) > 1 else f"{folder}/{source.name}"
        tags = re.findall(r"^// tags: (.*)$", mod, re.MULTILINE)  # what of it is left out: half the time goes into that
        command = ["go", "build", "-v", "-trimpath", "-tags", " ".join(tags), "-ldflags", _linker_flags(mod), "-o", out, *tools]
        log = Path(folder, "log")
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}

        def progress() -> str:
            return f", {len(log.read_bytes().splitlines())} packages compiled or fetched"

        with step(f"building {source.name} from the Go module proxy (once, kept in {target.parent})", progress):
            with log.open("wb") as output:
                result = subprocess.run(command, cwd=source, env=environment, stderr=output, stdout=output, check=False)
            if result.returncode:
                say("\n".join(log.read_text().splitlines()[-20:]))
                raise Trouble(f"{source.name} could not be built; the compiler's last words are above.")
        log.unlink()
        Path(folder).chmod(0o755)
        Path(folder).rename(target)
        Path(folder).mkdir()  # for the context manager, which removes it


def _linker_flags(mod: str) -> str:
    """Kubernetes reads its own version from variables that only its release scripts set."""
    flags = "-s -w"
    if found := re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)", mod):
        version, major, minor = found.groups()
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            flags += f" -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    return flags


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """One builder at a time for a target; the others wait and find it built."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(f"waiting for another process that builds {target.name}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
