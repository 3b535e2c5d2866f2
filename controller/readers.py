"""Who may read which model: a pod shows the token of its ServiceAccount, made for the store and for nothing else.

The API server says whose token it is (TokenReview). A namespace reads the versions that the status of one of its
ModelDeployments names, as far as the registry that they came from is open to it: a status says what somebody's annotations
say. The operator's own pods, which copy from each other, read all. While the API server is away nobody new is let in, and who
was let in goes on.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from controller.cluster import ApiError
from controller.origins import open_to
from controller.ports import Object
from controller.resource import naming
from controller.resources.deployment import STORE_AUDIENCE
from controller.settings import RegistrySettings
from controller.store import Store

FRESH_SECONDS = 60.0  # a token that was reviewed is not reviewed again
STALE_SECONDS = 600.0  # while the API server is away, no longer than the shortest life of a token
LIST_SECONDS = 2.0  # a namespace is not listed more often, whatever its pods ask for
REVIEWS_AT_ONCE = 16
MAX_KNOWN = 20_000

_ACCOUNT = re.compile(r"system:serviceaccount:([^:]+):[^:]+")
_API_AWAY = (ApiError, aiohttp.ClientError, TimeoutError, OSError)


class Refused(Exception):
    """An HTTP status and a sentence for who asked."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class Cluster(Protocol):
    async def review_token(self, token: str, audience: str) -> str | None: ...
    def each(self, kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[Object]: ...


@dataclass(frozen=True, slots=True)
class _Reviewed:
    user: str | None
    at: float


@dataclass(slots=True)
class _Named:
    """What the statuses of a namespace named when it was last listed."""

    digests: frozenset[str] = frozenset()
    at: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Readers:
    """Lets in whom the API server knows, to what their namespace may read. `own` is the operator's own user."""

    def __init__(
        self, cluster: Cluster, store: Store, registries: Sequence[RegistrySettings], own: str, namespaces: tuple[str, ...]
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._registries = registries
        self._own = own
        self._namespaces = namespaces
        self._reviewed: dict[bytes, _Reviewed] = {}
        self._named: dict[str, _Named] = {}
        self._reviews = asyncio.Semaphore(REVIEWS_AT_ONCE)

    async def admit(self, authorization: str, digest: str | None = None, *, replica: bool = False) -> None:
        """Return where the bearer may read `digest`, or a file whose hash it knows; with `replica`, where it is one of us.

        Raises Refused.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refused(401, f"send the token of a ServiceAccount for the audience {STORE_AUDIENCE}, as Authorization: Bearer")
        user = await self._user(token)
        if user is None:
            raise Refused(401, f"the API server does not know this token, or it is not for the audience {STORE_AUDIENCE}")
        if user == self._own:
            return
        if replica:
            raise Refused(403, f"only {self._own} may read this")
        account = _ACCOUNT.fullmatch(user)
        if account is None or (self._namespaces and account[1] not in self._namespaces):
            raise Refused(403, f"{user} is in no namespace that this operator serves")
        if digest is not None and not await self._names(account[1], digest):
            raise Refused(403, f"no ModelDeployment in namespace {account[1]} names {digest}")
        if digest is not None and not await self._may_have(account[1], digest):
            raise Refused(
                403,
                f"{digest} comes from no registry that is open to namespace {account[1]} for its model, as far as the operator"
                " knows (chart values registries[].allowedNamespaces and allowedModels)",
            )

    async def _user(self, token: str) -> str | None:
        key = hashlib.sha256(token.encode()).digest()
        known = self._reviewed.get(key)
        if known is not None and time.monotonic() - known.at < FRESH_SECONDS:
            return known.user
        try:
            async with self._reviews:
                user = await self._cluster.review_token(token, STORE_AUDIENCE)
        except _API_AWAY as error:
            if known is not None and known.user is not None and time.monotonic() - known.at < STALE_SECONDS:
                return known.user
            raise Refused(503, "the API server, which knows the token, does not answer; try again") from error
        if len(self._reviewed) >= MAX_KNOWN:
            self._forget()
        self._reviewed[key] = _Reviewed(user, time.monotonic())
        return user

    def _forget(self) -> None:
        """Make room for half as many as are known, the oldest first: whoever sends many tokens costs no memory."""
        newest = sorted(self._reviewed.items(), key=lambda known: known[1].at, reverse=True)
        self._reviewed = dict(newest[: MAX_KNOWN // 2])

    async def _may_have(self, namespace: str, digest: str) -> bool:
        """Whether a registry that `digest` came from is open to `namespace`; another replica may know of one more."""
        if open_to(namespace, self._store.origins(digest), self._registries):
            return True
        await self._store.fetch_origins_from_peers(digest)
        return open_to(namespace, self._store.origins(digest), self._registries)

    async def _names(self, namespace: str, digest: str) -> bool:
        """Whether a status in `namespace` names `digest`; what is not known is looked up, and only then."""
        named = self._named.setdefault(namespace, _Named())
        if digest in named.digests and time.monotonic() - named.at < FRESH_SECONDS:
            return True
        async with named.lock:  # one list for a thousand pods
            since = time.monotonic() - named.at
            if since >= FRESH_SECONDS or (since >= LIST_SECONDS and digest not in named.digests):
                try:
                    found = {each async for _, digests in naming(self._cluster, [namespace]) for each in digests}
                except _API_AWAY as error:
                    if digest in named.digests:
                        return True
                    raise Refused(503, "the API server, which knows who names the model, does not answer; try again") from error
                named.digests, named.at = frozenset(found), time.monotonic()
        return digest in named.digests
