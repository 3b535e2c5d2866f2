"""`make sbom`: the bill of materials of each image, CycloneDX 1.6: what is in its archive, not what was asked for.

Debian's packages are those that its own list names, Python's those whose metadata lie in the image; what a wheel says was
linked into it (PEP 770) comes with it. Every other file is the image's own: the room that it is for, or the interpreter.
`python -m tests.supply.sbom NAME ARCHIVE` writes the one of an image that was built elsewhere.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from datetime import datetime
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.clusters import images
from tests.clusters.progress import say
from tests.clusters.settings import CHECKOUT, Settings
from tests.supply.image_contents import Contents, contents

OURS = tuple(recipe.name for recipe in images.RECIPES if recipe.name != "mlflow")
"""The images that a release publishes."""

FOLDER = CHECKOUT / ".sbom"


def main() -> None:
    if len(sys.argv) == 3:
        archives = {sys.argv[1]: Path(sys.argv[2])}
    else:
        archives = {name: image.archive for name, image in zip(OURS, images.build(Settings.read(), OURS), strict=True)}
    FOLDER.mkdir(exist_ok=True)
    for name, archive in archives.items():
        bom = bill(f"modeldeployment-{name}", contents(archive))
        target = FOLDER / f"{name}.cdx.json"
        target.write_text(text(bom))
        say(f"    {target.relative_to(CHECKOUT)}: {len(bom.components)} components")


def text(bom: Bom) -> str:
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def bill(name: str, image: Contents) -> Bom:
    """The same image has the same bill, to the byte."""
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    root = Component(
        name=name,
        version=version,
        type=ComponentType.CONTAINER,
        bom_ref=name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image.digest)],
        licenses=[LicenseFactory().make_from_string(image.configuration["Labels"]["org.opencontainers.image.licenses"])],
    )
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, image.digest))
    bom.metadata.timestamp = datetime.fromisoformat(re.sub(r"\.\d+", "", image.image["created"]))
    bom.metadata.component = root
    bom.metadata.tools.components.add(this_component())
    system = _operating_system(image)
    packages = list(_packages(image, f"{system.name}-{system.version}"))
    distributions = list(_distributions(image))
    bom.components.update([system, *(component for component, _ in packages + distributions)])
    bom.register_dependency(system, _register(bom, packages))
    bom.register_dependency(root, [system, *_register(bom, distributions)])
    return bom


Installed = tuple[Component, frozenset[str]]
"""A component, and the names of what it depends on."""


def _register(bom: Bom, installed: list[Installed]) -> Iterable[Component]:
    """Tell who needs whom, and return those that nobody needs."""
    known = {component.name: component for component, _ in installed}
    needed: set[str] = set()
    for component, names in installed:
        present = sorted(names & known.keys() - {component.name})
        bom.register_dependency(component, [known[name] for name in present])
        needed.update(present)
    return [component for name, component in known.items() if name not in needed]


def _operating_system(image: Contents) -> Component:
    told = dict(re.findall(r'^(\w+)="?([^"\n]*)', image.records["usr/lib/os-release"], re.MULTILINE))
    return Component(type=ComponentType.OPERATING_SYSTEM, name=told["ID"], version=told["VERSION_ID"], bom_ref="os")


def _packages(image: Contents, system: str) -> Iterator[Installed]:
    for paragraph in image.records["var/lib/dpkg/status"].strip().split("\n\n"):
        told = HeaderParser().parsestr(paragraph)
        if told["Status"] != "install ok installed":
            continue
        qualifiers = {"arch": told["Architecture"], "distro": system}
        if source := told["Source"]:  # vulnerabilities are told of sources
            name, _, version = source.partition(" ")
            qualifiers["upstream"] = name + (f"@{version.strip('()')}" if version else "")
        purl = PackageURL("deb", "debian", told["Package"], told["Version"], qualifiers)
        depends = f"{told['Depends'] or ''},{told['Pre-Depends'] or ''}"
        yield _component(told["Package"], told["Version"], purl), frozenset(re.findall(r"(?:^|[,|])\s*([a-z0-9.+-]+)", depends))


def _distributions(image: Contents) -> Iterator[Installed]:
    for path, record in image.records.items():
        if not path.endswith("/METADATA"):
            continue
        told = HeaderParser().parsestr(record)
        found = re.search(r"/python(\d+\.\d+)/", path)
        python = found.group(1) if found else ""
        environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux", "extra": ""}
        needs = [Requirement(line) for line in told.get_all("Requires-Dist") or []]
        names = [canonicalize_name(need.name) for need in needs if need.marker is None or need.marker.evaluate(environment)]
        name = canonicalize_name(told["Name"])
        component = _component(name, told["Version"], PackageURL("pypi", None, name, told["Version"]))
        component.licenses.update(_licenses(told))
        component.components.update(_inside(name, image, path.removesuffix("METADATA")))
        yield component, frozenset(names)
    if version := _own_interpreter(image):
        yield _component("python", version, PackageURL("generic", None, "python", version)), frozenset()


def _component(name: str, version: str, purl: PackageURL) -> Component:
    return Component(name=name, version=version, purl=purl, bom_ref=str(purl), type=ComponentType.LIBRARY)


def _licenses(told: Message) -> Iterator[License]:
    """An expression where there is one; else the words, as long as they are a name and no text."""
    classified = re.findall(r"^License :: .*:: (?!OSI Approved$)(.*)$", "\n".join(told.get_all("Classifier") or []), re.MULTILINE)
    if expression := told["License-Expression"]:
        yield LicenseFactory().make_with_expression(expression)
    elif names := [name for name in (told["License"], *classified) if name and len(name) < 50]:
        yield LicenseFactory().make_from_string(names[0])


def _inside(owner: str, image: Contents, folder: str) -> Iterator[Component]:
    """What the wheel's own bills name: the crates or the libraries that were linked into it."""
    bills = [json.loads(record) for path, record in image.records.items() if path.startswith(f"{folder}sboms/")]
    parts = {(part["name"], part.get("version")): part for bill in bills for part in bill.get("components", [])}
    for (name, version), part in parts.items():
        if canonicalize_name(name) != owner:
            purl = PackageURL.from_string(part["purl"]) if "purl" in part else None
            reference = f"{owner}/{name}@{version}"
            yield Component(name=name, version=version, purl=purl, bom_ref=reference, type=ComponentType.LIBRARY)


def _own_interpreter(image: Contents) -> str | None:
    """The version of a Python that no package of the system brought: the public Python image has it in /usr/local."""
    built = any(re.fullmatch(r"usr/local/bin/python3\.\d+", path) for path in image.files)
    environment = dict(line.split("=", 1) for line in image.configuration.get("Env") or [])
    return environment.get("PYTHON_VERSION") if built else None


if __name__ == "__main__":
    main()
