"""Settings from a TOML file: the same names as on the command line, which goes over them."""

import argparse
import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from pathlib import Path
from types import UnionType
from typing import Any

from training.errors import InputError

BETWEEN = {"require": ":"}
"""What stands between name and value of options that are a table in the file; an equals sign for all others."""
OWN = ("help", "config")
"""Options that make no sense in a file."""
KINDS: Mapping[type, tuple[type | UnionType, str]] = {
    int: (int, "a whole number"),
    float: (int | float, "a number"),
    Path: (str, "the name of a file, in quotes"),
    str: (str | int, "a text, in quotes"),
}
"""What an option takes: in TOML, and in words."""


def add(command: argparse.ArgumentParser) -> None:
    """To a subcommand whose options can be in a file."""
    command.add_argument("--config", type=Path, metavar="FILE", help="options from a TOML file; those given here go over it")
    command.set_defaults(known={action.dest.replace("_", "-"): action for action in command._actions if action.dest not in OWN})


def parsed(parser: argparse.ArgumentParser, given: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, and before them those of its file."""
    asked = parser.parse_args(given)
    path: Path | None = getattr(asked, "config", None)
    return asked if path is None else parser.parse_args([given[0], *_options(path, asked.known), *given[1:]])


def _options(path: Path, known: Mapping[str, argparse.Action]) -> Iterator[str]:
    for key, value in _read(path).items():
        name = key.replace("_", "-")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f'Did you mean "{close[0]}"?' if close else f"There are {', '.join(sorted(known))}."
            raise InputError(f'{path}: there is no setting "{key}". {hint}')
        action = known[name]
        if _is_switch(action):
            if not isinstance(value, bool):
                raise InputError(f'{path}: "{key}" is {_shown(value)}, and must be true or false.')
            yield from [f"--{name}"] if value else []
        elif isinstance(action.default, list):
            yield from (f"--{name}={one}" for one in _several(path, key, value, BETWEEN.get(name, "=")))
        else:
            yield f"--{name}={_one(path, key, value, action)}"


def _is_switch(action: argparse.Action) -> bool:
    return isinstance(action, argparse.BooleanOptionalAction)


def _one(path: Path, key: str, value: Any, action: argparse.Action) -> Any:
    """The value of an option that has one."""
    types, expected = KINDS[action.type if isinstance(action.type, type) else str]
    if isinstance(value, bool) or not isinstance(value, types):
        raise InputError(f'{path}: "{key}" is {_shown(value)}, and must be {expected}.')
    if action.choices is not None and value not in action.choices:
        raise InputError(f'{path}: "{key}" is {_shown(value)}, and must be {" or ".join(map(_shown, action.choices))}.')
    return value


def _several(path: Path, key: str, value: Any, between: str) -> Iterator[str]:
    """Those of an option that can be given several times: a list, a table of names, or just one."""
    if isinstance(value, dict):
        found = [(f"{key}.{name}", f"{name}{between}", one) for name, one in value.items()]
    else:
        found = [(key, "", one) for one in (value if isinstance(value, list) else [value])]
    for called, before, one in found:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise InputError(f'{path}: "{called}" is {_shown(one)}, and must be a text or a number.')
        yield f"{before}{one}"


def _shown(value: Any) -> str:
    """As TOML writes it, more or less."""
    return str(value) if isinstance(value, date | time) else json.dumps(value, ensure_ascii=False, default=str)[:80]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as e:
        raise InputError(f"{path} can't be read: {e.strerror}.") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise InputError(f"{path} is no TOML file: {e}.") from e
