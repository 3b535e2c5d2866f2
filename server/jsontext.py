"""JSON as the standard has it: whatever Python takes beyond it is refused, since a client would learn it too late.

A fast parser does the work. Where it stumbles, or can't rule out that a key stands in an object twice, the exact one of the
standard library decides, and finds the words.
"""

import json
from typing import Any

import msgspec

from server.errors import InvalidBody

MAX_SHOWN = 60
"""Characters of what was sent that an error repeats."""

_fast = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def loads(content: bytes, *, nan_is_null: bool = False) -> Any:
    """The value in a body. NaN is refused, or a missing value where a protocol's clients write it for one."""
    try:
        value = _fast.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _exactly(content, nan_is_null=nan_is_null)
    # Each key brings a colon: as many as there are keys in the result means that none was overwritten by a second one.
    return value if content.count(b":") == _keys(value, 3) else _exactly(content, nan_is_null=nan_is_null)


def dumps(value: Any) -> bytes:
    """JSON in UTF-8; a half of a character, which that can't hold, stays escaped."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def _keys(value: Any, depth: int) -> int:
    """How many keys stand in a value, down to some depth. Fewer than there are is harmless: the exact parser has a look."""
    if type(value) is dict:
        inner = [v for v in value.values() if type(v) is dict or type(v) is list] if depth else ()
        return len(value) + sum(_keys(v, depth - 1) for v in inner)
    if type(value) is list and value and type(value[0]) is dict and depth:
        return sum(_keys(v, depth - 1) for v in value)
    return 0


def _exactly(content: bytes, *, nan_is_null: bool) -> Any:
    if not content.strip():
        raise InvalidBody("The body is empty; JSON is expected.")
    try:
        return json.loads(content.decode(), object_pairs_hook=_object, parse_constant=_missing if nan_is_null else _constant)
    except UnicodeDecodeError as e:
        raise InvalidBody("The body is not UTF-8.") from e
    except json.JSONDecodeError as e:
        raise InvalidBody(f"The body is not JSON: {e}.") from e
    except RecursionError as e:
        raise InvalidBody("The body is nested too deeply.") from e
    except ValueError as e:
        raise InvalidBody("The body has a number with too many digits.") from e


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidBody(f"The key {name[:MAX_SHOWN]!r} stands in the body more than once.")
            seen.add(name)
    return value


def _constant(name: str) -> None:
    raise InvalidBody(f"The body has {name}, which is not JSON.")


def _missing(name: str) -> None:
    if name != "NaN":
        _constant(name)
