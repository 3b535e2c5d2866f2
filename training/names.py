"""Names that will do: those that MLflow takes, files that can be written, addresses that may be shown."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from training.errors import InputError


def insist(name: str, alias: str | None = None) -> None:
    """On a name of a model, and of an alias if there is one."""
    if not name.strip() or "/" in name or ":" in name or name in {".", ".."}:
        raise InputError(f'MLflow takes no model name like "{name}": it must not be empty or have "/" or ":" in it.')
    if alias is None:
        return
    if not re.fullmatch(r"[\w-]{1,255}", alias) or alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias):
        raise InputError(f'MLflow takes no alias like "{alias}": letters, digits, "-" and "_", and neither "latest" nor "v1".')


def insist_on_place(option: str, file: Path) -> Path:
    """On a folder that a file can be written to, before anybody waits for what goes into it."""
    if file.is_dir() or not file.absolute().parent.is_dir():
        why = "is a directory" if file.is_dir() else f"is in a folder that is not there: {file.parent}"
        raise InputError(f"{option} {file} {why}.")
    return file


def without_secret(uri: str) -> str:
    """An address as it may be shown: without user and password."""
    host = urlsplit(uri).netloc.rpartition("@")
    return uri.replace("".join(host[:2]), "", 1)
