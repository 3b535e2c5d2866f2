"""Bearer tokens from files of a mounted Secret. Two of them may be valid at once, so that one can be replaced."""

import hmac
import logging
import time
from collections.abc import Sequence
from pathlib import Path

LOOK_AGAIN_SECONDS = 1.0
"""The kubelet brings a changed Secret within about a minute; a second more is nothing beside it."""

log = logging.getLogger(__name__)


class Tokens:
    """The tokens that are valid now. While no file has one, nobody gets in."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        self._valid: tuple[bytes, ...] | None = None
        self._looked_at = -LOOK_AGAIN_SECONDS

    def allow(self, authorization: bytes | None) -> bool:
        """Whether this header shows a valid token. How long the answer takes tells nothing about how much of it was right."""
        if time.monotonic() - self._looked_at >= LOOK_AGAIN_SECONDS:
            self._read()
        scheme, _, shown = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return False
        shown = shown.strip()
        return bool(sum([hmac.compare_digest(shown, token) for token in self._valid or ()]))

    def _read(self) -> None:
        self._looked_at = time.monotonic()
        valid = tuple(token for token in map(_token, self._files) if token)
        if not valid and valid != self._valid:
            log.warning("there is no token: nobody gets in")
        self._valid = valid


def _token(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError:
        return b""  # the second key of a Secret is there only while tokens are being replaced
