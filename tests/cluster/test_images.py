"""The images: what is in them and what is not, and the server's under a real Docker engine with a real model."""

import json
import re
import socket
import urllib.request
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from tests.cluster.engine import Engine
from tests.clusters import images
from tests.clusters.image import Image
from tests.clusters.settings import Settings
from tests.kubernetes import until
from tests.supply import locks, sbom
from tests.supply.image_contents import Contents, contents
from tests.supply.sbom import OURS
from tests.unit.server import factories

ANYBODY = "12345:0"
"""A user that the image does not know, as OpenShift assigns one."""

pytestmark = pytest.mark.timeout(900)  # the first test builds the images


@pytest.fixture(scope="module")
def built(settings: Settings) -> dict[str, Image]:
    return dict(zip(OURS, images.build(settings, OURS), strict=True))


@pytest.fixture(scope="module")
def inside(built: dict[str, Image]) -> dict[str, Contents]:
    return {name: contents(image.archive) for name, image in built.items()}


@pytest.fixture(scope="module")
def bills(inside: dict[str, Contents]) -> dict[str, Bom]:
    return {name: sbom.bill(f"modeldeployment-{name}", image) for name, image in inside.items()}


@pytest.fixture(scope="module")
def loaded(engine: Engine, built: dict[str, Image]) -> dict[str, str]:
    """The names of images that the engine has; of those for another scikit-learn their archive tells enough."""
    for name in ("server", "controller"):
        engine("load", "--input", str(built[name].archive))
    return {name: built[name].name for name in ("server", "controller")}


@pytest.mark.parametrize(("name", "limit_mb"), [("server", 600), ("server-sklearn-1.8", 600), ("controller", 300)])
def test_an_image_is_small(built: dict[str, Image], name: str, limit_mb: int) -> None:
    assert images.size_mb(built[name].archive) < limit_mb


@pytest.mark.parametrize("name", OURS)
def test_an_image_runs_as_nobody_in_particular(inside: dict[str, Contents], name: str) -> None:
    user = inside[name].configuration["User"].partition(":")[0]
    assert user.isdigit(), "a name cannot be proved not to be root: Kubernetes would refuse runAsNonRoot"
    assert int(user) != 0


@pytest.mark.parametrize("name", OURS)
def test_an_image_holds_no_compiler_no_installer_and_no_tests(inside: dict[str, Contents], name: str) -> None:
    programs = {Path(path).name for path in inside[name].below("bin")}
    assert not programs & {"gcc", "cc", "g++", "clang", "make", "ld", "pip", "pip3", "pytest"}
    assert not inside[name].below("pip") + inside[name].below("ensurepip") + inside[name].below("setuptools")
    numpy_testing_needs = {"_natype.py", "__init__.py"}
    tests = [path for path in inside[name].below("tests") if Path(path).name not in numpy_testing_needs]
    assert [path for path in tests if "__pycache__" not in path] == []


@pytest.mark.parametrize("name", OURS)
def test_nothing_in_an_image_gains_rights_or_can_be_written_by_others(inside: dict[str, Contents], name: str) -> None:
    assert [path for path, mode in inside[name].files.items() if mode & 0o6000] == []
    ours = {path: mode for path, mode in inside[name].files.items() if path.startswith(("app/", "opt/venv/"))}
    assert [path for path, mode in ours.items() if mode & 0o022] == []
    assert [path for path, mode in inside[name].files.items() if mode & 0o002] == []
    kept_apart = 0o1000  # the sticky bit, as /tmp has it: everybody removes only what is theirs
    assert [path for path, mode in inside[name].folders.items() if mode & 0o002 and not mode & kept_apart] == []


@pytest.mark.parametrize("name", OURS)
def test_no_package_manager_leaves_a_cache_in_an_image(inside: dict[str, Contents], name: str) -> None:
    caches = ("var/cache/apt/", "var/lib/apt/lists/", "root/.cache/", "tmp/", "var/tmp/")
    assert [path for path in inside[name].files if path.startswith(caches)] == []


@pytest.mark.parametrize("name", OURS)
def test_an_image_says_what_it_is(inside: dict[str, Contents], name: str) -> None:
    told = {key.removeprefix("org.opencontainers.image."): value for key, value in inside[name].configuration["Labels"].items()}
    assert told["title"] == f"modeldeployment-{'server' if 'server' in name else name}"
    assert told["licenses"] == "Apache-2.0"
    assert told["description"]


@pytest.mark.parametrize("name", OURS)
def test_an_image_has_what_is_locked_for_it_and_nothing_else(bills: dict[str, Bom], name: str) -> None:
    locked = {pin.name: pin.version for pin in locks.pins(locks.IN_IMAGES[name]) if pin.needed("3.11")}
    assert python_distributions(bills[name]) == locked


def test_the_controllers_image_could_not_open_a_model(bills: dict[str, Bom]) -> None:
    assert not python_distributions(bills["controller"]).keys() & {"cloudpickle", "joblib", "numpy", "scikit-learn", "skops"}


@pytest.mark.parametrize("name", OURS)
def test_the_bill_of_materials_is_cyclonedx(bills: dict[str, Bom], name: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom.text(bills[name])) is None


def test_an_image_has_the_same_bill_of_materials_each_time(bills: dict[str, Bom], inside: dict[str, Contents]) -> None:
    again = sbom.bill("modeldeployment-controller", inside["controller"])
    assert sbom.text(again) == sbom.text(bills["controller"])


@pytest.mark.parametrize("name", ["server", "controller"])
def test_the_bill_of_materials_names_what_python_finds_in_the_image(
    engine: Engine, loaded: dict[str, str], bills: dict[str, Bom], name: str
) -> None:
    script = "import importlib.metadata as m, json; print(json.dumps([(d.name, d.version) for d in m.distributions()]))"
    locked_up = ("--network=none", "--read-only", f"--user={ANYBODY}", "--cap-drop=ALL", "--entrypoint=python")
    found = json.loads(engine("run", "--rm", *locked_up, loaded[name], "-W", "ignore", "-c", script))
    assert {canonicalize_name(distribution): version for distribution, version in found} == python_distributions(bills[name])


@pytest.mark.parametrize("name", OURS)
def test_the_bill_of_materials_names_the_system_and_what_is_linked_into_wheels(bills: dict[str, Bom], name: str) -> None:
    types = {component.purl.type for component in bills[name].components if component.purl}
    assert types >= {"deb", "pypi"}
    (glibc,) = [component for component in bills[name].components if component.name == "libc6"]
    assert glibc.purl
    assert glibc.purl.to_string().startswith("pkg:deb/debian/libc6@2.")
    crates = {
        part.name for component in bills[name].components if component.name == "pydantic-core" for part in component.components
    }
    assert "serde" in crates


@pytest.mark.parametrize(("name", "room"), [("server", "server"), ("server-sklearn-1.8", "server"), ("controller", "controller")])
def test_an_image_holds_its_own_room_only(inside: dict[str, Contents], name: str, room: str) -> None:
    rooms = {path.split("/")[1] for path in inside[name].files if path.startswith("app/")}
    assert rooms == {room, "LICENSE"}
    assert not inside[name].below("mlflow") + inside[name].below("training")


def test_the_server_says_how_its_health_is_asked(inside: dict[str, Contents]) -> None:
    assert inside["server"].configuration["Healthcheck"]["Test"] == ["CMD", "python", "-m", "server", "healthcheck"]
    assert inside["server"].configuration["Entrypoint"] == ["python", "-m", "server"]


def test_the_server_becomes_healthy_and_predicts_under_docker(engine: Engine, loaded: dict[str, str], tmp_path: Path) -> None:
    model = factories.forest(tmp_path / "model")
    model.parent.chmod(0o755)
    port, management_port = free_port(), free_port()
    told = {**factories.value(model), "modelDir": "/model", "port": port, "managementPort": management_port}
    limits = ("--memory=1g", "--cpus=2", "--read-only", f"--user={ANYBODY}", "--cap-drop=ALL", "--tmpfs=/tmp")
    mounts = ("--network=host", f"--volume={model}:/model:ro", f"--env=MLSERVING_SETTINGS={json.dumps(told)}")
    container = engine("run", "--detach", *limits, *mounts, loaded["server"]).strip()
    try:

        def health() -> str:
            state = json.loads(engine("inspect", container))[0]["State"]
            assert state["Running"], engine("logs", container)
            return str(state["Health"]["Status"])

        until("a healthy container", lambda: health() == "healthy", 60)
        body = json.dumps(factories.FOREST_ROW).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["prediction"] == 0
        used = engine("stats", "--no-stream", "--format={{.MemUsage}}", container)
        assert re.search(r"/ 1GiB$", used.strip()), used
        engine("stop", "--time=20", container)
        assert json.loads(engine("inspect", container))[0]["State"]["ExitCode"] == 0, engine("logs", container)
    finally:
        engine("rm", "--force", container)


def python_distributions(bom: Bom) -> dict[str, str | None]:
    return {each.name: each.version for each in bom.components if each.purl and each.purl.type == "pypi"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
