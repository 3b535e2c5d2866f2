"""The wheel, beside a folder of the user's own that is called `training` too."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.contract.training_registry import Registry

CHECKOUT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment's bin: the wheel, on top of the packages that these tests run with."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], check=True)
    (wheel,) = place.glob("*.whl")
    target = [sys.executable, "-m", "pip", "--python", str(place / "venv"), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(target, check=True, capture_output=True)
    (packages,) = (place / "venv").glob("lib/*/site-packages")
    (packages / "these.pth").write_text(sysconfig.get_path("purelib"))
    return place / "venv" / "bin"


@pytest.fixture(scope="module")
def editable(installed: Path) -> Path:
    """The command of `pip install -e .`, beside that of the wheel."""
    place = installed.parents[1] / "editable"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel:editable", "-d", str(place)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    target = ["--target", str(place / "packages"), "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "install", *target], check=True, capture_output=True)
    return place / "packages"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the user works: with packages that have the names of ours in the checkout."""
    for name in ("training", "server"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('this is the user\\'s own')\n")
    return tmp_path


def test_the_script_and_a_notebook_use_the_wheel_and_not_the_folder(installed: Path, home: Path, registry: Registry) -> None:
    def run(*command: str, code: int = 0) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    script = str(installed / "mdep-train")
    assert run(script, "--help").startswith("usage: mdep-train [-h] COMMAND")
    assert "There is no file" in run(script, "run", "--data", "t.csv", "--target", "y", "--name", "wheel", code=2)
    cell = (
        "from modeldeployment import training; from sklearn.datasets import load_iris; "
        "from sklearn.linear_model import LogisticRegression; X, y = load_iris(return_X_y=True, as_frame=True); "
        "training.register(LogisticRegression(max_iter=500).fit(X, y), X, name='wheel')"
    )
    assert "wheel version 1" in run(str(installed / "python"), "-c", cell)


def test_an_editable_installation_has_the_script_and_the_package_too(editable: Path, home: Path) -> None:
    paths = [str(editable), (next(editable.glob("*.pth")).read_text().strip())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    for command in (
        [str(editable / "bin" / "mdep-train"), "--help"],
        [sys.executable, "-P", "-c", "from modeldeployment import training; print('usage: mdep-train', training.adopt)"],
    ):
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
        assert done.stdout.startswith("usage: mdep-train"), done.stderr


def test_it_holds_training_and_of_the_server_only_what_compiles(installed: Path) -> None:
    (wheel,) = installed.parents[1].glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name.removeprefix("modeldeployment/").removesuffix(".py") for name in file.namelist()}
    assert {"training/notebook", "training/__main__", "server/compilation", "server/model"} <= names
    assert not any(name.startswith("controller") or name in ("server/app", "server/serve", "server/__main__") for name in names)
