"""The local cluster from beginning to end: keys, the node, its components, a node that is Ready, its add-ons."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.clusters import archive, binaries
from tests.clusters.image import Image
from tests.clusters.local import addons, certificates, configuration, machine, network
from tests.clusters.local.components import AUDIT_LOG, GROUPS, NODE, PAUSE, SOCKET, Component, components, kubeconfig, subjects
from tests.clusters.local.node import TOOLS_INSIDE, Node
from tests.clusters.packages import SYSTEM_PATH
from tests.clusters.progress import Trouble, step, wait_for
from tests.clusters.settings import Settings

API = {"etcd", "kube-apiserver"}
"""What has to run for the API to answer."""


class Local:
    name = "local"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.node = Node(settings)
        self.logs = self.node.home / "logs"
        self.audit_log = self.node.home / "log" / AUDIT_LOG

    def prepare(self) -> None:
        machine.check()
        for group in GROUPS:
            binaries.built(self.settings, group)
        for name in binaries.FOR_PEOPLE:
            binaries.binary(self.settings, name)

    def start(self) -> Path:
        machine.require_root()
        if self.answers():
            binaries.link(self.settings)
            return self.settings.kubeconfig
        self.prepare()
        binaries.link(self.settings)
        pause = binaries.compiled(self.settings, Path(__file__).parent / "pause.c")
        net = network.chosen(self.settings)
        keys = self.node.home / "keys"
        certificates.write(keys, subjects(net))
        configuration.write(self.node.home / "configuration", keys, net, self.node.cgroup)
        _replace(self.node.first, pause.read_bytes(), mode=0o755)
        admin = json.dumps(kubeconfig(keys, "admin", net), indent=1).encode()
        _replace(self.settings.kubeconfig, admin, mode=0o600)
        with step("starting the node and its control plane"):
            pid = self.node.start(services=net.services, tools=binaries.cache(self.settings))
            network.connect(net, pid)
            self._launch_missing(*API, "containerd")
            self._await_api()
            self._await_containerd()
            archive.write(self.node.home / "pause.tar", PAUSE, {"pause": pause}, ["/pause"])
            self.load_images([Image(PAUSE, self.node.home / "pause.tar")])
            # Before the rest starts, since some of it gives up where it may not yet read what it needs.
            document = {"apiVersion": "v1", "kind": "List", "items": addons.manifests(net, keys)}
            self._kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(document))
            self._launch_missing()
        with step("waiting for the node to be ready"):
            wait_for("The node's readiness", self._node_ready, seconds=90, hint=f"See {self.logs}/kubelet.log.")
        with step("waiting for metrics (kubectl top, HPA)"):
            wait_for("The metrics API", self._metrics_served, seconds=120, hint=f"See {self.logs}/metrics-server.log.")
        return self.settings.kubeconfig

    def stop(self) -> None:
        machine.require_root()
        self.node.end()
        network.disconnect(network.chosen(self.settings))
        if self.settings.state.exists():
            with step("removing the cluster's files"):  # gigabytes of small ones, where images were loaded
                shutil.rmtree(self.settings.state, ignore_errors=True)
        if self.settings.state.exists():
            raise Trouble(f"{self.settings.state} could not be removed entirely; remove it by hand.")

    def status(self) -> str:
        machine.require_root()
        running = self.node.running()
        if not running:
            return "local: not running"
        expected = [component.name for component in components(network.chosen(self.settings))]
        states = [f"  {name:<24} {'running, pid ' + str(running[name]) if name in running else 'DOWN'}" for name in expected]
        return "\n".join([f"local: running, kubeconfig {self.settings.kubeconfig}", *states])

    def load_images(self, images: Sequence[Image]) -> dict[str, str]:
        for image in images:
            loaded = self.node.home / "images" / image.name.replace("/", "_")
            if not image.key or not loaded.exists() or loaded.read_text() != image.key:
                self._import(image)
                loaded.parent.mkdir(exist_ok=True)
                _replace(loaded, image.key.encode(), mode=0o644)
        return {image.name: image.name for image in images}

    def _import(self, image: Image) -> None:
        command = self.node.enter(["ctr", "--address", SOCKET, "--namespace", "k8s.io", "images", "import", "-"])
        with step(f"loading {image.name} into the cluster"), image.archive.open("rb") as content:
            environment = {"PATH": SYSTEM_PATH}
            result = subprocess.run(command, env=environment, stdin=content, capture_output=True, text=True, check=False)
        if result.returncode:
            raise Trouble(f"{image.name} could not be imported: {result.stderr.strip()[-500:]}")

    def stop_component(self, name: str) -> None:
        self.node.stop(self._component(name).name)

    def start_component(self, name: str, *more: str) -> None:
        """Start it, with `more` arguments, and wait until it is of use: others give up where the API server is not ready."""
        component = self._component(name)
        if component.name not in self.node.running():
            self._launch(replace(component, arguments=(*component.arguments, *more)))
        if name in API and self.node.running().keys() >= API:
            self._await_api()
        if name == "containerd":
            self._await_containerd()

    def running(self) -> bool:
        return self.node.pid() is not None

    def answers(self) -> bool:
        """Whether everything runs and the API server says that it is ready."""
        if not self.settings.kubeconfig.exists() or not (running := self.node.running()):
            return False
        if any(component.name not in running for component in components(network.chosen(self.settings))):
            return False
        return self._ready()

    def _component(self, name: str) -> Component:
        machine.require_root()
        known = {component.name: component for component in components(network.chosen(self.settings))}
        if name not in known:
            raise Trouble(f"There is no component {name!r}; there are {', '.join(known)}.")
        return known[name]

    def _launch(self, component: Component) -> None:
        group = component.name if component.name in binaries.GROUPS else "kubernetes"
        if component.name == "containerd":
            program = "containerd"
        else:
            program = str(TOOLS_INSIDE / binaries.built(self.settings, group).name / component.name)
        self.node.launch(component.name, [program, *component.arguments], component.environment)

    def _launch_missing(self, *names: str) -> None:
        running = self.node.running()
        for component in components(network.chosen(self.settings)):
            if component.name not in running and (not names or component.name in names):
                self._launch(component)

    def _await_api(self) -> None:
        wait_for("The API server's readiness", self._ready, seconds=120, hint=f"See {self.logs}/kube-apiserver.log.")

    def _await_containerd(self) -> None:
        wait_for("containerd's answer", self._containerd_answers, seconds=60, hint=f"See {self.logs}/containerd.log.")

    def _containerd_answers(self) -> bool:
        with contextlib.suppress(Trouble):
            return bool(self._containerd("version"))
        return False

    def _node_ready(self) -> bool:
        """The node is Ready, and pods can be created: the default namespace has got its service account."""
        ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"  # of this node: there may be fake ones beside it
        account = ("-n", "default", "get", "serviceaccount", "default", "-o", "name", "--ignore-not-found")
        node = ("get", "node", NODE, "-o", ready, "--ignore-not-found")
        return self._kubectl(*node) == "True" and bool(self._kubectl(*account))

    def _metrics_served(self) -> bool:
        self._launch_missing("metrics-server")  # it gives up where it came before the rights that it needs
        available = "jsonpath={.status.conditions[?(@.type=='Available')].status}"
        return self._kubectl("get", "apiservice", "v1beta1.metrics.k8s.io", "-o", available) == "True"

    def _containerd(self, *arguments: str) -> str:
        return self.node.run("ctr", "--address", SOCKET, "--namespace", "k8s.io", *arguments)

    def _ready(self) -> bool:
        with contextlib.suppress(Trouble):
            return self._kubectl("get", "--raw", "/readyz", "--request-timeout=5s") == "ok"
        return False

    def _kubectl(self, *arguments: str, text: str | None = None) -> str:
        kubectl = binaries.binary(self.settings, "kubectl")
        command = [str(kubectl), f"--kubeconfig={self.settings.kubeconfig}", *arguments]
        result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if result.returncode:
            raise Trouble(f"kubectl {' '.join(arguments)} failed: {result.stderr.strip()[-1000:]}")
        return result.stdout


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file as a whole or not at all; a program that runs from the old one keeps it."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.rename(path)
