"""MLflow's model registry through its REST API: which version a reference means, who may ask, and what it has.

MLflow itself stays out of the operator: its client would cost more memory than everything else here together, and it
loads models. Answers are remembered for a poll interval, so a thousand resources that follow one alias cost one request.
"""

import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from controller import registry_files, registry_refusals
from controller.api import ModelReference
from controller.errors import ReconcileError, Stalling, Waiting
from controller.origins import Origin
from controller.registry_client import API, NotThere, RegistryClient
from controller.registry_refusals import CutShort, Need
from controller.settings import RegistrySettings
from controller.text import bounded

MAX_VERSION_DIGITS = 10
MAX_ENTRIES = 1000
"""Of a version's tags, and of its metrics; MLflow itself has no bound."""
LOGGED_MODEL_SCHEME = "models:/"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A registered model version, as the registry describes it."""

    registry: str
    name: str
    version: str
    run_id: str
    model_id: str
    created: str
    """When it was registered: a model that was deleted and made anew has another one."""
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The version's own tags, not its model's; a person may change them at any time."""

    @property
    def identity(self) -> str:
        """The same for the same registration, and for no other, whatever tags it gets."""
        return "\n".join((self.registry, self.name, self.version, self.run_id, self.model_id, self.created))

    @property
    def origin(self) -> Origin:
        return Origin(registry=self.registry, model=self.name)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a version: path below the model's directory, size in bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a reference meant when it was last asked: a version, or why there is none."""

    result: ModelVersion | ReconcileError
    asked_at: float


_Results = dict[ModelReference, ModelVersion | ReconcileError]


@dataclass(frozen=True, slots=True)
class _Measured:
    """The metrics of a version when they were last asked for."""

    metrics: Mapping[str, float]
    asked_at: float


class Registry:
    """The registries of the operator's settings; `directory` holds what is secret about them. `close` it."""

    def __init__(self, registries: Iterable[RegistrySettings], poll_seconds: float, directory: Path) -> None:
        # No cookies: one registry's session is no other's, and none is needed. A proxy is found by the environment.
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=True)
        self._clients = {
            registry.name: RegistryClient(registry, directory / str(place), self._session)
            for place, registry in enumerate(registries)
        }
        self._default = next(iter(self._clients))
        self._poll_seconds = poll_seconds
        self._answers: dict[ModelReference, _Answer] = {}
        self._polled: dict[str, _Results] = {}  # by registry: what followers were last told
        self._measured: dict[str, _Measured] = {}

    async def close(self) -> None:
        await self._session.close()

    @property
    def names(self) -> tuple[str, ...]:
        """The registries that were declared."""
        return tuple(self._clients)

    def name_of(self, reference: ModelReference) -> str:
        """The name of the registry that `reference` is about."""
        return reference.registry_ref.name if reference.registry_ref else self._default

    def permit(self, reference: ModelReference, namespace: str) -> None:
        """Raises Stalling (RegistryForbidden, RegistryUnknown) where a resource in `namespace` may not ask for `reference`.

        Apart from `resolve`, whose answers are shared: who may have one is asked each time.
        """
        refused = registry_refusals.forbidden(self._client_of(reference).settings, namespace, reference.name)
        if refused is not None:
            raise refused

    async def resolve(self, reference: ModelReference) -> ModelVersion:
        """The version that `reference` means now.

        Raises Waiting (ModelNotFound, ModelNotReady, RegistryUnavailable, ...) or Stalling (RegistryUnknown).
        """
        known = self._answers.get(reference)
        if known is None or time.monotonic() - known.asked_at > self._fresh_for(known):
            known = await self._ask(reference)
        if isinstance(known.result, ReconcileError):
            raise known.result.with_traceback(None)
        return known.result

    async def poll(self, name: str, references: Iterable[ModelReference]) -> set[ModelReference]:
        """Ask the registry `name` again what its `references` mean; those that mean something else now.

        One registry and not all of them: a slow one keeps the followers of the others from nothing.
        """
        before, after = self._polled.get(name, {}), _Results()
        for reference in references:
            after[reference] = (await self._ask(reference)).result
        self._polled[name] = after  # and nothing of who follows no longer
        return {reference for reference, now in after.items() if reference not in before or _differs(before[reference], now)}

    async def metrics(self, version: ModelVersion) -> Mapping[str, float]:
        """What was measured of a version: the metrics of its run, and those of its logged model that the run has not got."""
        known = self._measured.get(version.identity)
        if known is not None and time.monotonic() - known.asked_at <= self._poll_seconds:
            return known.metrics
        client = self._clients[version.registry]
        found: dict[str, float] = {}
        questions = [
            ("model", version.model_id, f"{API}/logged-models/{quote(version.model_id, safe='')}", {}),
            ("run", version.run_id, f"{API}/runs/get", {"run_id": version.run_id}),
        ]
        for kind, known_id, path, query in questions:
            if not known_id:
                continue
            try:
                found |= _latest(await client.json(path, query, Need.to_read_run(version.run_id)), kind)
            except NotThere:
                continue  # a run can be deleted, and its version stay
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise registry_refusals.odd(client.settings, error) from error
        now = time.monotonic()
        self._measured = {key: each for key, each in self._measured.items() if now - each.asked_at <= self._poll_seconds}
        self._measured[version.identity] = _Measured(found, now)
        return found

    async def files(self, version: ModelVersion) -> list[RemoteFile]:
        """The files of a version, from its artifact directory downwards."""
        client = self._clients[version.registry]
        query = {"name": version.name, "version": version.version}
        location = await client.json(f"{API}/model-versions/get-download-uri", query, Need.to_read_model(version.name))
        artifact_uri = str(location.get("artifact_uri", ""))
        try:
            found = await registry_files.listed(client, artifact_uri, version.run_id, version.model_id)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise registry_refusals.odd(client.settings, error) from error
        return [RemoteFile(path, size) for path, size in found.items()]

    async def download(self, version: ModelVersion, path: str) -> AsyncIterator[bytes]:
        """The bytes of one file of a version, in chunks."""
        client = self._clients[version.registry]
        query = {"name": version.name, "version": version.version, "path": path}
        try:
            async for chunk in client.download(
                "/model-versions/get-artifact", query, replace(Need.to_read_model(version.name), files=True)
            ):
                yield chunk
        except NotThere as error:
            raise registry_refusals.artifacts_unreachable(client.settings, error.said) from error
        except CutShort as error:
            label = f"{version.name} version {version.version}"
            raise registry_refusals.download_cut_short(client.settings, path, label, error) from error

    def _client_of(self, reference: ModelReference) -> RegistryClient:
        name = self.name_of(reference)
        if name not in self._clients:
            raise Stalling(
                "RegistryUnknown",
                f"spec.model.registryRef names {name!r}; the operator's administrator declared: {', '.join(self._clients)}",
            )
        return self._clients[name]

    def _fresh_for(self, answer: _Answer) -> float:
        """Seconds. A refusal is asked about again when its resource comes back, and once for all that met it meanwhile."""
        return answer.result.delay / 2 if isinstance(answer.result, Waiting) else self._poll_seconds

    async def _ask(self, reference: ModelReference) -> _Answer:
        result: ModelVersion | ReconcileError
        try:
            client = self._client_of(reference)
            try:
                result = await self._look_up(client, reference)
            except ReconcileError:
                raise
            except Exception as error:  # an answer that nobody thought of must stop neither the poll nor the process
                log.exception("RegistryOdd", extra={"reference": reference.label})
                result = registry_refusals.odd(client.settings, error)
        except ReconcileError as error:
            result = error
        answer = _Answer(result, time.monotonic())
        self._answers.pop(reference, None)
        self._answers[reference] = answer  # the last, so that the first are the oldest
        while answer.asked_at - (oldest := next(iter(self._answers.items())))[1].asked_at > 2 * self._poll_seconds:
            del self._answers[oldest[0]]  # nobody follows it any more
        return answer

    async def _look_up(self, client: RegistryClient, reference: ModelReference) -> ModelVersion:
        registry = client.settings.name
        if reference.alias:
            path, query = f"{API}/registered-models/alias", {"name": reference.name, "alias": reference.alias}
        else:
            path, query = f"{API}/model-versions/get", {"name": reference.name, "version": str(reference.version)}
        try:
            answer = await client.json(path, query, Need.to_read_model(reference.name))
        except NotThere as error:
            raise _not_found(reference, registry, error.said) from error
        found: dict[str, Any] = answer.get("model_version") or {}
        status = bounded(str(found.get("status", "READY")), 50)
        if status == "FAILED_REGISTRATION":
            failed = f"the registration of {reference.label} failed in MLflow (registry {registry}); register it again"
            raise Waiting("ModelNotReady", failed, registry_refusals.PATIENCE)
        if status != "READY":
            raise Waiting("ModelNotReady", f"{reference.label} is {status} in registry {registry}, not READY yet")
        version = str(found.get("version", ""))
        if not (version.isascii() and version.isdigit() and len(version) <= MAX_VERSION_DIGITS):
            raise Waiting("RegistryUnavailable", f"registry {registry!r} answers with no model version in it; is it an MLflow?")
        return ModelVersion(
            registry=registry,
            name=reference.name,
            version=version,
            run_id=bounded(str(found.get("run_id", "")), 100),
            model_id=_model_id(found),
            created=bounded(str(found.get("creation_timestamp", "")), 50),
            tags=_tags(found.get("tags") or []),
        )


def _model_id(found: dict[str, Any]) -> str:
    """The logged model behind a version: MLflow 3 names it only as the version's source, `models:/m-...`."""
    source = str(found.get("source", ""))
    named = source.removeprefix(LOGGED_MODEL_SCHEME) if source.startswith(LOGGED_MODEL_SCHEME) else ""
    return bounded(str(found.get("model_id") or named), 100)


def _tags(entries: list[dict[str, Any]]) -> dict[str, str]:
    return {bounded(str(tag["key"]), 250): bounded(str(tag.get("value", "")), 500) for tag in entries[:MAX_ENTRIES]}


def _latest(answer: dict[str, Any], kind: str) -> dict[str, float]:
    """The metrics in a run or a logged model; of those of one name, which have other data sets, the latest."""
    entries: list[dict[str, Any]] = ((answer.get(kind) or {}).get("data") or {}).get("metrics") or []
    entries = sorted(entries[:MAX_ENTRIES], key=lambda entry: (int(entry.get("timestamp", 0)), int(entry.get("step", 0))))
    return {bounded(str(entry["key"]), 250): float(entry["value"]) for entry in entries}


def _differs(before: ModelVersion | ReconcileError, after: ModelVersion | ReconcileError) -> bool:
    if isinstance(before, ModelVersion) or isinstance(after, ModelVersion):
        return before != after
    return before.reason != after.reason


def _not_found(reference: ModelReference, registry: str, said: str) -> Waiting:
    wanted = f"alias {reference.alias!r}" if reference.alias else f"version {reference.version}"
    return Waiting(
        "ModelNotFound",
        f"registry {registry!r} has no model {reference.name!r} with {wanted} (MLflow: {said});"
        " it is deployed as soon as it is registered there",
    )
