"""Settings from a TOML file: the same names as on the command line, which goes over them."""

import argparse
import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from training.errors import InputError

BETWEEN = {"require": ":"}
"""What stands between name and value of options that are a table in the file; an equals sign for all others."""


def add(command: argparse.ArgumentParser) -> None:
    """To a subcommand whose options can be in a file."""
    command.add_argument("--config", type=Path, metavar="FILE", help="options from a TOML file; those given here go over it")


def parsed(parser: argparse.ArgumentParser, given: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, and before them those of its file."""
    asked = parser.parse_args(given)
    path: Path | None = getattr(asked, "config", None)
    if path is None:
        return asked
    known = {name.replace("_", "-"): default for name, default in vars(asked).items() if name not in ("do", "config")}
    return parser.parse_args([given[0], *_options(path, known), *given[1:]])


def _options(path: Path, known: dict[str, Any]) -> Iterator[str]:
    for key, value in _read(path).items():
        name = key.replace("_", "-")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f'Did you mean "{close[0]}"?' if close else f"There are {', '.join(sorted(known))}."
            raise InputError(f'{path}: there is no setting "{key}". {hint}')
        if isinstance(value, bool):
            if not isinstance(known[name], bool):
                raise InputError(f'{path}: "{key}" is neither true nor false, but takes a value.')
            yield from [f"--{name}"] if value else []
            continue
        if isinstance(known[name], bool):
            raise InputError(f'{path}: "{key}" is true or false, not {value!r}.')
        if isinstance(value, dict):
            value = [f"{one}{BETWEEN.get(name, '=')}{setting}" for one, setting in value.items()]
        if isinstance(value, list) and not isinstance(known[name], list):
            raise InputError(f'{path}: "{key}" takes one value, not a list of {len(value)}.')
        yield from (f"--{name}={one}" for one in (value if isinstance(value, list) else [value]))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as e:
        raise InputError(f"{path} can't be read: {e.strerror}.") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise InputError(f"{path} is no TOML file: {e}.") from e
