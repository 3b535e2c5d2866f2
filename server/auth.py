"""Bearer tokens from files of a mounted Secret. Several of them may be valid at once, so that one can be replaced."""

import hmac
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from server.errors import TokensMissing
from server.settings import Settings

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
        valid = tuple(_tokens(self._files))
        if not valid and valid != self._valid:
            log.warning("there is no token: nobody gets in")
        self._valid = valid


def require(settings: Settings) -> None:
    """Raises TokensMissing where tokens are asked for and there is none: nobody could ever get in."""
    asked = settings.auth
    if asked is None or any(_tokens(asked.token_files)):
        return
    place = f" in the namespace {settings.resource.namespace}" if settings.resource else ""
    secret = f"the Secret {asked.secret}{place}" if asked.secret else ", ".join(map(str, asked.token_files))
    raise TokensMissing(
        f"A bearer token is asked for, and none is known: {secret} is not there, or has no token in it. Create it, with a token "
        "under any key."
    )


def _tokens(files: Sequence[Path]) -> Iterator[bytes]:
    """What the files hold, and those of the directories among them. A key of a Secret may come and go at any time."""
    for path in files:
        try:
            # A mounted Secret lies behind links that begin with two dots, which no key of it does.
            found = [each for each in path.iterdir() if not each.name.startswith("..")] if path.is_dir() else [path]
        except OSError:
            continue
        for file in found:
            if token := _token(file):
                yield token


def _token(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError:
        return b""
