"""The addresses of the node: a /16 that nothing on the machine uses yet, and the link that leads there."""

import ipaddress
import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.clusters.packages import ENVIRONMENT
from tests.clusters.progress import Trouble
from tests.clusters.settings import Settings

CANDIDATES = range(201, 251)


@dataclass(frozen=True, slots=True)
class Network:
    """All of it lies in 10.<block>.0.0/16 and never leaves the machine."""

    block: int
    link: str
    """The machine's end of the link; the node's end is called eth0."""

    @property
    def whole(self) -> str:
        return f"10.{self.block}.0.0/16"

    @property
    def pods(self) -> str:
        return f"10.{self.block}.0.0/24"

    @property
    def services(self) -> str:
        return f"10.{self.block}.64.0/20"

    @property
    def api_service(self) -> str:
        return f"10.{self.block}.64.1"

    @property
    def dns_service(self) -> str:
        return f"10.{self.block}.64.10"

    @property
    def node(self) -> str:
        return f"10.{self.block}.255.1"

    @property
    def machine(self) -> str:
        return f"10.{self.block}.255.2"


def chosen(settings: Settings) -> Network:
    """The network of this checkout's node: the one chosen before, else the first block that is free."""
    record = settings.state / "node" / "network"
    link = f"mdep-{settings.key}"
    if record.exists() and (text := record.read_text().strip()).isdigit():
        return Network(block=int(text), link=link)
    taken = _networks_in_use()
    start = int(settings.key, 16) % len(CANDIDATES)
    for block in (*CANDIDATES[start:], *CANDIDATES[:start]):
        network = Network(block=block, link=link)
        if not any(ipaddress.ip_network(network.whole).overlaps(other) for other in taken):
            record.parent.mkdir(parents=True, exist_ok=True)
            temporary = record.with_suffix(".new")
            temporary.write_text(str(block))
            temporary.rename(record)
            return network
    raise Trouble(f"Every network from 10.{CANDIDATES[0]}.0.0/16 to 10.{CANDIDATES[-1]}.0.0/16 is in use on this machine.")


def connect(network: Network, pid: int) -> None:
    """Lead from the machine to the node: to its address, its pods and its Services. May be repeated."""
    link = network.link
    if not _links(link):
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    _ip("address", "replace", f"{network.machine}/30", "dev", link)
    _ip("link", "set", link, "up")
    inside = ("nsenter", "--target", str(pid), "--net", "--")
    _ip("address", "replace", f"{network.node}/30", "dev", "eth0", within=inside)
    _ip("link", "set", "eth0", "up", within=inside)
    for destination in (network.pods, network.services):
        _ip("route", "replace", destination, "via", network.node, "dev", link)


def disconnect(network: Network) -> None:
    """Remove the link. The kernel does so when the node ends, but in its own time."""
    if _links(network.link):
        subprocess.run(["ip", "link", "delete", network.link], env=ENVIRONMENT, capture_output=True, check=False)


def _networks_in_use() -> list[ipaddress.IPv4Network]:
    routes: list[dict[str, Any]] = json.loads(_ip("-json", "-4", "route", "show", "table", "all"))
    targets = (route["dst"] for route in routes if route["dst"] != "default")
    return [ipaddress.IPv4Network(target, strict=False) for target in targets]


def _links(name: str) -> bool:
    return subprocess.run(["ip", "link", "show", name], env=ENVIRONMENT, capture_output=True, check=False).returncode == 0


def _ip(*arguments: str, within: tuple[str, ...] = ()) -> str:
    command = [*within, "ip", *arguments]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise Trouble(f"ip {' '.join(arguments)} failed: {result.stderr.strip()}")
    return result.stdout
