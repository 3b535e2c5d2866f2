"""What a platform engineer sets up once: a cluster, the images on it, MLflow, and the operator by its chart.

The demo and the end-to-end tests stand on this. Each step finds what is there already and leaves it as it is.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.clusters import binaries, images
from tests.clusters.progress import step
from tests.clusters.provider import chosen, started
from tests.clusters.settings import Settings
from tests.kubernetes import CommandFailedError, Kubernetes

CHECKOUT = Path(__file__).parents[1]
CHART = CHECKOUT / "charts" / "modeldeployment-operator"
MLFLOW = CHECKOUT / "manifests" / "mlflow" / "mlflow.yaml"
RELEASE = "modeldeployment-operator"
SYSTEM_NAMESPACE = "mlserving-system"
REGISTRY_URI = "http://mlflow.mlflow.svc:5000"
OTHER_SKLEARN = ("1.8",)  # the operator's catalogue beside its default image
POLL_SECONDS = 2  # how often the operator looks an alias up: a person who watches does not want to wait for half a minute
CPU_REQUEST = "100m"  # of a model's pod, so that those of several models fit on a machine of two cores


@dataclass(frozen=True, slots=True)
class Installation:
    """A cluster with MLflow and the operator on it."""

    cluster: Kubernetes
    image_names: dict[str, str]
    """How the cluster knows the images, by their local names."""

    @property
    def server_image(self) -> str:
        return self.image_names[_local("server")]

    @contextmanager
    def mlflow(self) -> Iterator[str]:
        """The address of MLflow, on this machine."""
        with self.cluster.forwarded("service/mlflow", 5000, "mlflow") as address:
            yield address

    def train(self, *arguments: str) -> str:
        """`python -m training run` against the cluster's MLflow; what it printed."""
        with self.mlflow() as address:
            command = [sys.executable, "-m", "training", "run", "--tracking-uri", address, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
        if done.returncode:
            raise CommandFailedError(command, done.returncode, done.stdout + done.stderr)
        return done.stdout

    def make_namespace(self, name: str) -> None:
        make_namespace(self.cluster, name)


def start_cluster() -> Kubernetes:
    """A cluster, found or started, with kubectl and helm of the versions that are pinned."""
    settings = Settings.read()
    _, kubeconfig = started(settings)
    kubectl, helm = (str(binaries.binary(settings, name)) for name in ("kubectl", "helm"))
    return Kubernetes(kubeconfig, kubectl, helm)


def load_images(names: Sequence[str] = (), sources: Path = CHECKOUT) -> tuple[dict[str, str], dict[str, str]]:
    """The images, built and on the cluster: how the cluster knows them, and what each was made of, by local name."""
    settings = Settings.read()
    built = images.build(replace(settings, checkout=sources), names)
    return chosen(settings).load_images(built), {image.name: image.key for image in built}


def mlflow_manifest(image_names: dict[str, str]) -> str:
    manifest = MLFLOW.read_text()
    for local, name in image_names.items():
        manifest = manifest.replace(local, name)
    return manifest


def install_mlflow(cluster: Kubernetes, image_names: dict[str, str]) -> None:
    cluster.apply(mlflow_manifest(image_names))
    cluster.kubectl("rollout", "status", "deployment/mlflow", "-n", "mlflow", "--timeout=300s")


def make_namespace(cluster: Kubernetes, name: str) -> None:
    """A namespace under the strictest pod security that Kubernetes knows: a team's, or the operator's."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    lines = [f"    {key}: {value}" for key, value in labels.items()]
    cluster.apply("\n".join(["apiVersion: v1", "kind: Namespace", "metadata:", f"  name: {name}", "  labels:", *lines]))


def install_operator(
    cluster: Kubernetes, image_names: dict[str, str], keys: dict[str, str], *options: str, chart: Path = CHART
) -> None:
    """`helm upgrade --install` of the chart; the pods are of these images also where the tag is an old one."""
    values = [f"registries[0].name=main,registries[0].uri={REGISTRY_URI}", f"pollSeconds={POLL_SECONDS}"]
    values.append(f"defaults.resources.requests.cpu={CPU_REQUEST}")
    for local, value in ((_local("controller"), "image"), (_local("server"), "serverImage")):
        repository, _, tag = image_names[local].rpartition(":")
        values += [f"{value}.repository={repository}", f"{value}.tag={tag}"]
    for index, minor in enumerate(minor for minor in OTHER_SKLEARN if _local(f"server-sklearn-{minor}") in image_names):
        image = image_names[_local(f"server-sklearn-{minor}")]
        values += [f"runtimes[{index}].{key}={value}" for key, value in _runtime(minor, image).items()]
    values.append(f"podAnnotations.made-of=key-{keys[_local('controller')]}")
    sets = [part for value in values for part in ("--set-string" if value.startswith("runtimes") else "--set", value)]
    make_namespace(cluster, SYSTEM_NAMESPACE)
    release = (RELEASE, str(chart), "--namespace", SYSTEM_NAMESPACE)
    cluster.helm("upgrade", "--install", *release, *sets, *options, "--wait", "--timeout=5m")


def _runtime(minor: str, image: str) -> dict[str, str]:
    return {"name": f"sklearn-{minor}", "image": image, "scikitLearn": minor, "python": "3.11"}


def prepare(*options: str) -> Installation:
    """All of it, found or made; `options` go to helm."""
    cluster = start_cluster()
    names, keys = load_images()
    with step("MLflow"):
        install_mlflow(cluster, names)
    with step("the operator (helm upgrade --install)"):
        install_operator(cluster, names, keys, *options)
    return Installation(cluster, names)


def _local(name: str) -> str:
    return images.local_name(next(recipe for recipe in images.RECIPES if recipe.name == name))
