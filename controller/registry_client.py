"""One MLflow server over HTTP: logged in, over TLS that is checked, and with refusals that name their remedy.

What is secret is in files that Kubernetes keeps up to date, by the registry's place in the settings:

    <directory>/<place>/username, password    of auth.basicSecret
    <directory>/<place>/token                 of auth.bearerSecret
    <directory>/<place>/header-<place>        of a header's secret
    <directory>/<place>/ca.crt                of caSecret or caConfigMap

They are a few bytes in memory, so they are read for each request: what is rotated is used at once. Redirects are not
followed: they could carry what is secret to another host. What a server says of a request may repeat what is secret in it
("access token expired: <token>"), and everybody who reads a resource reads it: it is masked before it gets anywhere.
"""

import base64
import json
import re
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from controller import metrics, registry_refusals
from controller.errors import Waiting
from controller.registry_refusals import Need, NoAnswer
from controller.settings import RegistrySettings
from controller.text import bounded

API = "/api/2.0/mlflow"
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=15)  # seconds, for one answer in JSON
DOWNLOAD_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=15, sock_read=60)  # a file takes as long as bytes keep coming
MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_SECRET_BYTES = 1024 * 1024
CHUNK_BYTES = 1024 * 1024
OUTAGE_SECONDS = 5.0  # less than the delay of the error, so that who comes back after it asks anew
NOT_THERE = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
"""MLflow answers 404 for a model that it does not have, and 400 for an alias that it does not have."""


SECRET_PART = re.compile(r"[^\s;,=]{8,}")
"""What a server may repeat of a secret alone: of `Bearer <token>` the token, of a cookie its value."""
MASK = "***"


class NotThere(Waiting):
    """MLflow has nothing of that name; who asked knows what that means."""

    def __init__(self, registry: str, said: str) -> None:
        super().__init__("ModelNotFound", f"registry {registry!r} has it no longer (MLflow: {said})")
        self.said = said


class Outage:
    """While a registry gives no answer, a question every few seconds finds out whether it is back; others are told at once.

    Otherwise a registry that hangs would hold every worker for the length of a timeout, resource after resource.
    """

    def __init__(self) -> None:
        self._error: NoAnswer | None = None
        self._asking_since = 0.0

    @contextmanager
    def spared(self) -> Iterator[None]:
        """Ask in here. Raises what the last question met, where it is too early to ask again."""
        now = time.monotonic()
        if self._error is not None and now - self._asking_since < OUTAGE_SECONDS:
            raise self._error.with_traceback(None)
        self._asking_since = now
        try:
            yield
        except NoAnswer as error:
            self._error, self._asking_since = error, time.monotonic()
            raise
        except Waiting:
            self._error = None  # whatever it said, it answered
            raise
        self._error = None


@dataclass(frozen=True, slots=True)
class Login:
    """Whom the operator is for one request, and the headers that prove it."""

    user: str
    headers: dict[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    def masked(self, said: str) -> str:
        """What a server said, without what is secret: as it was sent, and as JSON, HTML and URLs write it."""
        parts = {part for secret in self.secrets for part in (secret, *SECRET_PART.findall(secret))}
        spelled = {
            spelling
            for part in parts
            for spelling in (part, json.dumps(part)[1:-1], escape(part), quote(part), quote(part, safe=""))
        }
        if not spelled:
            return said
        longest_first = sorted(spelled, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), MASK, said, flags=re.IGNORECASE)


class RegistryClient:
    """Asks one registry. The session is everybody's: nothing of a registry is kept in it."""

    def __init__(self, settings: RegistrySettings, directory: Path, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self._directory = directory
        self._session = session
        self._trusted: tuple[bytes, ssl.SSLContext] | None = None
        self._outage = Outage()

    async def json(self, path: str, query: dict[str, str], needs: Need) -> dict[str, Any]:
        """MLflow's answer to a question that takes the permission `needs`. Raises NotThere or another Waiting."""
        with self._outage.spared():
            return await self._ask(path, query, needs)

    async def _ask(self, path: str, query: dict[str, str], needs: Need) -> dict[str, Any]:
        text = b""
        async with aclosing(self._get(path, query, needs, REQUEST_TIMEOUT)) as chunks:
            async for chunk in chunks:
                text += chunk
                if len(text) > MAX_ANSWER_BYTES:
                    raise registry_refusals.no_json(self.settings, "")
        answer = _parse(text)
        if answer is None:
            raise registry_refusals.no_json(self.settings, text.decode(errors="replace"))
        return answer

    def download(self, path: str, query: dict[str, str], needs: Need) -> AsyncIterator[bytes]:
        """A file, in chunks. Raises CutShort where it breaks off, or another Waiting."""
        return self._get(path, query, needs, DOWNLOAD_TIMEOUT)

    async def _get(
        self, path: str, query: dict[str, str], needs: Need, limits: aiohttp.ClientTimeout
    ) -> AsyncGenerator[bytes, None]:
        login, trusted, url = self._login(), self._trust(), f"{self.settings.uri}{path}"
        answered = False
        try:
            async with self._session.get(
                url, params=query, headers=login.headers, ssl=trusted, timeout=limits, allow_redirects=False
            ) as response:
                answered = True
                metrics.registry_requests.labels(registry=self.settings.name, code=str(response.status)).inc()
                if response.status != HTTPStatus.OK:
                    text = await _beginning(response)
                    described = _parse(text) or {}
                    said = login.masked(str(described.get("message") or text.decode(errors="replace")))
                    if described.get("error_code") in NOT_THERE:
                        raise NotThere(self.settings.name, bounded(said, 300))
                    location = login.masked(response.headers.get("Location", ""))
                    raise registry_refusals.refusal(self.settings, login.user, response.status, said, location, needs)
                try:
                    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                        yield chunk
                except aiohttp.ClientError as error:
                    raise registry_refusals.cut_short(self.settings, _told_by(error)) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            if not answered:
                metrics.registry_requests.labels(registry=self.settings.name, code="none").inc()
            raise registry_refusals.unreachable(self.settings, error, _told_by(error)) from error

    def _login(self) -> Login:
        headers, secrets = dict[str, str](), list[str]()
        for place, header in enumerate(self.settings.headers):
            if header.secret is None:
                headers[header.name] = str(header.value)
            else:
                headers[header.name] = self._secret(f"header-{place}", "Secret", header.secret.name, header.secret.key)
                secrets.append(headers[header.name])
        auth, user = self.settings.auth, ""
        if auth is not None and auth.basic_secret is not None:
            user, password = (self._secret(key, "Secret", auth.basic_secret.name, key) for key in ("username", "password"))
            if ":" in user:
                raise registry_refusals.secret_unusable(self.settings, "Secret", auth.basic_secret.name, "username", "has a ':'")
            encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {encoded}"
            secrets += [password, encoded, encoded.rstrip("=")]
        if auth is not None and auth.bearer_secret is not None:
            token = self._secret("token", "Secret", auth.bearer_secret.name, auth.bearer_secret.key)
            headers["Authorization"] = f"Bearer {token}"
            secrets.append(token)
        return Login(user, headers, tuple(secrets))

    def _trust(self) -> ssl.SSLContext | bool:
        """What vouches for the registry's certificate; the context is made anew only when the file has changed."""
        kind, source = (
            ("Secret", self.settings.ca_secret) if self.settings.ca_secret else ("ConfigMap", self.settings.ca_config_map)
        )
        if source is None:
            return True
        bundle = self._secret("ca.crt", kind, source.name, source.key, lines=True)
        if self._trusted is None or self._trusted[0] != bundle.encode():
            try:
                self._trusted = (bundle.encode(), ssl.create_default_context(cadata=bundle))
            except (ssl.SSLError, ValueError) as error:
                why = "has no certificates as PEM"
                raise registry_refusals.secret_unusable(self.settings, kind, source.name, source.key, why) from error
        return self._trusted[1]

    def _secret(self, file: str, kind: str, name: str, key: str, lines: bool = False) -> str:
        """What a Secret or ConfigMap says, without the line break that editors and `echo` leave at its end."""
        try:
            with (self._directory / file).open("rb") as stream:
                text = stream.read(MAX_SECRET_BYTES).decode().strip("\r\n")
        except (OSError, ValueError) as error:
            why = "is not there" if isinstance(error, OSError) else "is no text"
            raise registry_refusals.secret_unusable(self.settings, kind, name, key, why) from None  # it would quote the text
        if not text:
            raise registry_refusals.secret_unusable(self.settings, kind, name, key, "is empty")
        if not lines and not text.isprintable():
            raise registry_refusals.secret_unusable(self.settings, kind, name, key, "has line breaks or control characters in it")
        return text


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Enough of a refusal to say what it says."""
    content = b""
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        content += chunk
        if len(content) > CHUNK_BYTES:
            break
    return content


def _told_by(error: Exception) -> str:
    """What an error of the connection says; never what the server sent, which those of HTTP quote in ways of their own."""
    if isinstance(error, OSError | aiohttp.InvalidURL):
        return str(error) or "no answer in time"
    if isinstance(error, aiohttp.ClientResponseError):
        return "what answers there speaks no HTTP"
    return "the connection was closed too early"


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
