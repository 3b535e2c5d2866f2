"""Which types a skops file is made of, read as text: nothing of it is ever built here.

A skops file is a zip with a schema.json that names every type. Whether the file may be loaded is decided in the pod, by skops
itself; what is certain without it is told before a pod starts: a type from elsewhere than the libraries below is on no list but
ours and the spec's.
"""

import re
import zipfile
import zlib
from pathlib import Path

from controller.text import bounded

MAX_SCHEMA_BYTES = 16 * 1024 * 1024  # a forest of 500 trees has 12 MB; of a larger one only the pod knows
MAX_TYPES = 100
_LIBRARIES = {"builtins", "numpy", "scipy", "sklearn", "collections", "functools", "operator", "datetime"}
_TYPE = re.compile(rb'"__class__":\s*"([\w.]{1,200})",\s*"__module__":\s*"([\w.]{1,200})"')


def foreign_types(path: Path) -> tuple[str, ...]:
    """The types in the file that come from none of the libraries, sorted; none where it cannot be read: the pod will say so."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("schema.json") as stream:
            content = stream.read(MAX_SCHEMA_BYTES + 1)
    except (OSError, KeyError, ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error, zipfile.BadZipFile):
        return ()
    if len(content) > MAX_SCHEMA_BYTES:
        return ()
    found = {(module.decode(), name.decode()) for name, module in _TYPE.findall(content)}
    foreign = sorted(f"{module}.{name}" for module, name in found if module.split(".")[0] not in _LIBRARIES)
    return tuple(bounded(name, 300) for name in foreign[:MAX_TYPES])
