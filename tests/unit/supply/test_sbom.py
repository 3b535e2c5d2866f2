"""What a bill of materials names of images that no machine of ours builds: those on the public Python image."""

from typing import Any

from tests.supply import sbom
from tests.supply.image_contents import Contents

RELEASE = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n'
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: arm64
Source: glibc (2.41-12)
Version: 2.41-12+b1
Depends: libgcc-s1 (>= 3.0) | libother, libgone
Description: C library
 with a second line, and Depends: on nothing

Package: libgcc-s1
Status: install ok installed
Architecture: arm64
Version: 14.2.0-19

Package: libgone
Status: deinstall ok config-files
Architecture: arm64
Version: 1
"""
SITE = "opt/venv/lib/python3.11/site-packages"


def image(files: dict[str, int] | None = None, **records: str) -> Contents:
    labels = {"org.opencontainers.image.licenses": "Apache-2.0"}
    told: dict[str, Any] = {
        "created": "2026-11-24T03:15:38.123456789Z",
        "config": {"Labels": labels, "Env": ["PYTHON_VERSION=3.11.9"]},
    }
    metadata = {f"{SITE}/{name}.dist-info/METADATA": text for name, text in records.items()}
    return Contents("0" * 64, told, files or {}, {}, {"usr/lib/os-release": RELEASE, "var/lib/dpkg/status": STATUS, **metadata})


def named(contents: Contents) -> dict[str, str]:
    return {component.name: str(component.purl) for component in sbom.bill("modeldeployment-server", contents).components}


def test_a_package_of_debian_is_named_with_its_source_and_without_those_that_are_gone() -> None:
    found = named(image())
    assert found["libc6"] == "pkg:deb/debian/libc6@2.41-12%2Bb1?arch=arm64&distro=debian-13&upstream=glibc%402.41-12"
    assert found["libgcc-s1"] == "pkg:deb/debian/libgcc-s1@14.2.0-19?arch=arm64&distro=debian-13"
    assert "libgone" not in found


def test_a_python_of_the_public_image_is_named_though_no_package_brought_it() -> None:
    assert "python" not in named(image())
    assert named(image({"usr/local/bin/python3.11": 0o755}))["python"] == "pkg:generic/python@3.11.9"


def test_who_needs_whom_is_told() -> None:
    kopf = "Name: Kopf\nVersion: 1.45\nRequires-Dist: aio-http>=3\nRequires-Dist: winreg; sys_platform == 'win32'\n\nText"
    bom = sbom.bill(
        "modeldeployment-controller",
        image(kopf=kopf, aiohttp="Name: aio_http\nVersion: 3.14\n\n", winreg="Name: winreg\nVersion: 1\n\n"),
    )
    needs = {each.ref.value: {other.ref.value for other in each.dependencies} for each in bom.dependencies}
    assert needs["pkg:pypi/kopf@1.45"] == {"pkg:pypi/aio-http@3.14"}
    assert needs["modeldeployment-controller"] == {"os", "pkg:pypi/kopf@1.45", "pkg:pypi/winreg@1"}
    libc6, libgcc = (str(each.purl) for each in sorted(bom.components, key=lambda each: each.name) if each.name.startswith("lib"))
    assert needs[libc6] == {libgcc}
    assert needs["os"] == {libc6}
