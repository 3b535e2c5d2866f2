"""What goes into the wheel: `training`, and the part of the project that compiles for it, under a name that is in nobody's way.

In the checkout the rooms are packages of their own. Installed, `training` and `server` would hide behind a folder of the same
name in which a notebook happens to lie, so they become `modeldeployment.training` and `modeldeployment.server`.
"""

import ast
import re
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "modeldeployment"
ROOMS = ("server", "training")
IMPORT = re.compile(rf"^(\s*)from ({'|'.join(ROOMS)})\b", re.MULTILINE)
"""The only form in which these rooms import each other and themselves."""

EDITABLE = '''"""The checkout's own `training`, under the name that it has in the wheel."""

import sys

import training

sys.modules[f"{__name__}.training"] = training
'''
"""An editable installation is the checkout as it is, which pip puts on the path."""


class CustomBuildHook(BuildHookInterface[Any]):
    """Called by `pip install`, `pip wheel` and `hatchling build`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Lay out the package, and let the wheel need what training needs."""
        build_data["dependencies"] = self.metadata.core.optional_dependencies["training"]
        whole = Path(self._place().name) / NAME
        if version == "editable":
            whole.mkdir()
            (whole / "__init__.py").write_text(EDITABLE)
            build_data["force_include_editable"][str(whole)] = NAME
            return
        for source in needed(Path(self.root)):
            place = whole / source.parent.name / source.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(IMPORT.sub(rf"\1from {NAME}.\2", source.read_text()))
        (whole / "__init__.py").write_text('"""From a fitted scikit-learn model to a version that a ModelDeployment serves."""\n')
        build_data["force_include"][str(whole)] = NAME

    def _place(self) -> "tempfile.TemporaryDirectory[str]":
        self._scratch = tempfile.TemporaryDirectory()  # kept until the builder is done with the hook
        return self._scratch


def needed(root: Path) -> list[Path]:
    """All of training, and the modules of the server that these import, directly or not."""
    found: set[Path] = set()
    rest = [*(root / "training").glob("*.py"), root / "server" / "__init__.py"]
    while rest:
        source = rest.pop()
        if source in found or not source.is_file():
            continue
        found.add(source)
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ROOMS:
                place = root.joinpath(*node.module.split("."))
                rest += [place.with_suffix(".py"), *(place / f"{alias.name}.py" for alias in node.names)]
    return sorted(found)
