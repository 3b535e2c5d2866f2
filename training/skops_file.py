"""skops files: whether a model fits into one that every server reads, and the same bytes for the same model.

skops numbers what it writes by addresses in memory and stamps it with the time; both are put in order here.
"""

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import skops.io

from server import trust

SCHEMA = "schema.json"
_NUMBER = re.compile(rb'("__id__": |"file": ")([0-9a-f-]{5,})')
"""In a text inside the schema the quotation marks would have backslashes."""


def types_of(model: Any) -> list[str] | None:
    """The types that a reader has to trust; None where skops can't write the model, or a server would not trust it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = skops.io.dumps(model)
        untrusted = skops.io.get_untrusted_types(data=content)
        if not set(untrusted) <= set(trust.TRUSTED):
            return None
        read = skops.io.loads(content, trusted=untrusted)
    except Exception:  # it refuses in many ways, and what it refuses can still be pickled
        return None
    return None if trust.has_broken_tree(read) else sorted(untrusted)


def put_in_order(path: Path) -> None:
    """Write the file anew: numbered from 0 in the order of the schema, without times, compressed."""
    with zipfile.ZipFile(path) as file:
        schema = file.read(SCHEMA)
        numbers: dict[bytes, bytes] = {}
        for found in _NUMBER.finditer(schema):
            numbers.setdefault(found[2], str(len(numbers)).encode())
        ordered = _NUMBER.sub(lambda found: found[1] + numbers[found[2]], schema)
        content = dict(_members(file, numbers))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name in sorted(content):
            file.writestr(_stamped(name), content[name])
        file.writestr(_stamped(SCHEMA), ordered)
    path.write_bytes(buffer.getvalue())


def _members(file: zipfile.ZipFile, numbers: dict[bytes, bytes]) -> Iterator[tuple[str, bytes]]:
    for name in file.namelist():
        if name != SCHEMA:
            stem, _, suffix = name.partition(".")
            yield f"{numbers[stem.encode()].decode()}.{suffix}", file.read(name)


def _stamped(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
