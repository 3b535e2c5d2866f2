"""What a model was logged with: its scikit-learn and its Python, read as text from the files that MLflow writes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from controller.text import bounded

MAX_FILE_BYTES = 256 * 1024
_SCIKIT_LEARN = re.compile(r"^\s*(?:-\s*)?scikit-learn={1,2}(\d[\w.]*)", re.MULTILINE)
_PYTHON = re.compile(r"^\s*(?:-\s*)?python(?:\s*:|={1,2})\s*['\"]?(\d[\w.]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Environment:
    """Versions as they were recorded; empty where they were not."""

    scikit_learn: str = ""
    python: str = ""


def environment(flavors: dict[str, Any], read: Callable[[str], str]) -> Environment:
    """The flavors say what wrote the model, so they come first; the files are what a person may have edited.

    `read` answers the text of a file of the model, or nothing.
    """
    return Environment(
        scikit_learn=_said(flavors, "sklearn", "sklearn_version")
        or _found(_SCIKIT_LEARN, read, "requirements.txt", "conda.yaml"),
        python=_said(flavors, "python_function", "python_version") or _found(_PYTHON, read, "python_env.yaml", "conda.yaml"),
    )


def _said(flavors: dict[str, Any], flavor: str, key: str) -> str:
    told = flavors.get(flavor)
    version = told.get(key) if isinstance(told, dict) else None
    return bounded(str(version), 30) if isinstance(version, str | float | int) else ""


def _found(pattern: re.Pattern[str], read: Callable[[str], str], *paths: str) -> str:
    return next((bounded(match[1], 30) for path in paths if (match := pattern.search(read(path))) is not None), "")
