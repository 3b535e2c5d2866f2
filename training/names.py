"""What MLflow takes as names. Pure."""

import re

from training.errors import InputError


def insist(name: str, alias: str | None = None) -> None:
    """On a name of a model, and of an alias if there is one."""
    if not name.strip() or "/" in name or ":" in name or name in {".", ".."}:
        raise InputError(f'MLflow takes no model name like "{name}": it must not be empty or have "/" or ":" in it.')
    if alias is None:
        return
    if not re.fullmatch(r"[\w-]{1,255}", alias) or alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias):
        raise InputError(f'MLflow takes no alias like "{alias}": letters, digits, "-" and "_", and neither "latest" nor "v1".')
