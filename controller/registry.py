"""MLflow's model registry through its REST API: which version a reference means, and that version's files.

MLflow itself stays out of the operator: its client would cost more memory than everything else here together, and it
loads models. Answers are remembered for a poll interval, so a thousand resources that follow one alias cost one request.
"""

import json
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp

from controller import metrics
from controller.api import ModelReference
from controller.errors import ReconcileError, Stalling, Waiting
from controller.settings import RegistrySettings
from controller.text import bounded

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=15)  # seconds, for one answer in JSON
DOWNLOAD_TIMEOUT = aiohttp.ClientTimeout(total=1800, connect=15, sock_read=60)
MAX_ANSWER_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
MAX_FILES = 10_000
MAX_VERSION_DIGITS = 10
MAX_ENTRIES = 1000
"""Of a version's tags, and of its metrics; MLflow itself has no bound."""
log = logging.getLogger(__name__)

PROXIED_SCHEME = "mlflow-artifacts:"


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


@dataclass(frozen=True, slots=True)
class _Measured:
    """The metrics of a version when they were last asked for."""

    metrics: Mapping[str, float]
    asked_at: float


class Registry:
    """The registries of the operator's settings. `close` it."""

    def __init__(self, registries: Iterable[RegistrySettings], poll_seconds: float) -> None:
        self._uris = {registry.name: registry.uri.rstrip("/") for registry in registries}
        self._default = next(iter(self._uris))
        self._poll_seconds = poll_seconds
        self._session = aiohttp.ClientSession()
        self._answers: dict[ModelReference, _Answer] = {}
        self._polled: dict[ModelReference, ModelVersion | ReconcileError] = {}  # what followers were last told
        self._measured: dict[str, _Measured] = {}

    async def close(self) -> None:
        await self._session.close()

    def name_of(self, reference: ModelReference) -> str:
        """The name of the registry that `reference` is about."""
        return reference.registry_ref.name if reference.registry_ref else self._default

    async def resolve(self, reference: ModelReference) -> ModelVersion:
        """The version that `reference` means now.

        Raises Waiting (ModelNotFound, ModelNotReady, RegistryUnavailable) or Stalling (RegistryUnknown, RegistryRefused).
        """
        known = self._answers.get(reference)
        if known is None or time.monotonic() - known.asked_at > self._fresh_for(known):
            known = await self._ask(reference)
        if isinstance(known.result, ReconcileError):
            raise known.result.with_traceback(None)
        return known.result

    async def poll(self, references: Iterable[ModelReference]) -> set[ModelReference]:
        """Ask again what `references` mean; those that mean something else now."""
        changed = set()
        for reference in references:
            before = self._polled.get(reference)
            after = (await self._ask(reference)).result
            if before is None or _differs(before, after):
                changed.add(reference)
            self._polled[reference] = after
        return changed

    async def metrics(self, version: ModelVersion) -> Mapping[str, float]:
        """What was measured of a version: the metrics of its run, and those of its logged model that the run has not got."""
        known = self._measured.get(version.identity)
        if known is not None and time.monotonic() - known.asked_at <= self._poll_seconds:
            return known.metrics
        base = f"{self._uris[version.registry]}/api/2.0/mlflow"
        found: dict[str, float] = {}
        try:
            if version.model_id:
                model = f"{base}/logged-models/{quote(version.model_id, safe='')}"
                found |= _latest(await self._json_or_nothing(version.registry, model, {}), "model")
            if version.run_id:
                run = await self._json_or_nothing(version.registry, f"{base}/runs/get", {"run_id": version.run_id})
                found |= _latest(run, "run")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _odd(version.registry, error) from error
        now = time.monotonic()
        self._measured = {key: each for key, each in self._measured.items() if now - each.asked_at <= self._poll_seconds}
        self._measured[version.identity] = _Measured(found, now)
        return found

    async def files(self, version: ModelVersion) -> list[RemoteFile]:
        """The files of a version, from its artifact directory downwards."""
        uri = self._uris[version.registry]
        location = await self._json(
            version.registry,
            f"{uri}/api/2.0/mlflow/model-versions/get-download-uri",
            {"name": version.name, "version": version.version},
        )
        artifact_uri = str(location.get("artifact_uri", ""))
        if artifact_uri.startswith(PROXIED_SCHEME):
            root = artifact_uri.removeprefix(PROXIED_SCHEME).lstrip("/")
            listing, parameter = f"{uri}/api/2.0/mlflow-artifacts/artifacts", "path"
        elif version.model_id:
            root = ""
            listing = f"{uri}/api/2.0/mlflow/logged-models/{quote(version.model_id, safe='')}/artifacts/directories"
            parameter = "artifact_directory_path"
        else:
            raise Stalling(
                "ArtifactsUnreachable",
                f"the files of {version.name} version {version.version} lie at {bounded(artifact_uri, 200)}, which MLflow"
                " does not hand out: start it with --serve-artifacts, or log the model with MLflow 3",
            )
        try:
            return await self._list(version.registry, listing, parameter, root)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _odd(version.registry, error) from error

    async def download(self, version: ModelVersion, path: str) -> AsyncIterator[bytes]:
        """The bytes of one file of a version, in chunks."""
        url = f"{self._uris[version.registry]}/model-versions/get-artifact"
        query = {"name": version.name, "version": version.version, "path": path}
        try:
            async with self._session.get(url, params=query, timeout=DOWNLOAD_TIMEOUT) as response:
                metrics.registry_requests.labels(registry=version.registry, code=str(response.status)).inc()
                if response.status != HTTPStatus.OK:
                    raise _refusal(version.registry, url, response.status, await _text(response))
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unavailable(version.registry, url, error) from error

    def _fresh_for(self, answer: _Answer) -> float:
        """Seconds. A refusal is asked about again when its resource comes back, and once for all that met it meanwhile."""
        return answer.result.delay / 2 if isinstance(answer.result, Waiting) else self._poll_seconds

    async def _ask(self, reference: ModelReference) -> _Answer:
        result: ModelVersion | ReconcileError
        try:
            result = await self._look_up(reference)
        except ReconcileError as error:
            result = error
        except Exception as error:  # an answer that nobody thought of must stop neither the poll nor the process
            log.exception("RegistryOdd", extra={"reference": reference.label})
            result = _odd(self.name_of(reference), error)
        answer = _Answer(result, time.monotonic())
        self._answers[reference] = answer
        return answer

    async def _look_up(self, reference: ModelReference) -> ModelVersion:
        registry = self.name_of(reference)
        if registry not in self._uris:
            raise Stalling(
                "RegistryUnknown",
                f"spec.model.registryRef names {registry!r}; the operator's administrator declared: {', '.join(self._uris)}",
            )
        base = f"{self._uris[registry]}/api/2.0/mlflow"
        if reference.alias:
            url, query = f"{base}/registered-models/alias", {"name": reference.name, "alias": reference.alias}
        else:
            url, query = f"{base}/model-versions/get", {"name": reference.name, "version": str(reference.version)}
        answer = await self._json(registry, url, query, missing=_not_found(reference, registry))
        found: dict[str, Any] = answer.get("model_version") or {}
        status = bounded(str(found.get("status", "READY")), 50)
        if status != "READY":
            raise Waiting("ModelNotReady", f"{reference.label} is {status} in registry {registry}, not READY yet")
        version = str(found.get("version", ""))
        if not (version.isascii() and version.isdigit() and len(version) <= MAX_VERSION_DIGITS):
            raise _unavailable(registry, url, "the answer has no model version in it")
        return ModelVersion(
            registry=registry,
            name=reference.name,
            version=version,
            run_id=bounded(str(found.get("run_id", "")), 100),
            model_id=bounded(str(found.get("model_id", "")), 100),
            created=bounded(str(found.get("creation_timestamp", "")), 50),
            tags=_tags(found.get("tags") or []),
        )

    async def _list(self, registry: str, listing: str, parameter: str, root: str) -> list[RemoteFile]:
        files: list[RemoteFile] = []
        directories, asked = [""], 0
        while directories:
            directory, asked = directories.pop(), asked + 1
            answer = await self._json(registry, listing, {parameter: "/".join(part for part in (root, directory) if part)})
            for entry in answer.get("files") or []:
                # With artifact proxying MLflow answers with names, without it with paths from the root.
                name = str(entry["path"]).rsplit("/", 1)[-1]
                path = f"{directory}/{name}" if directory else name
                if entry.get("is_dir"):
                    directories.append(path)
                else:
                    files.append(RemoteFile(path, int(entry.get("file_size") or 0)))
            if len(files) + len(directories) + asked > MAX_FILES:
                raise Stalling("TooManyFiles", f"the model has more than {MAX_FILES} files; a scikit-learn model has about ten")
        return files

    async def _json_or_nothing(self, registry: str, url: str, query: dict[str, str]) -> dict[str, Any]:
        """The answer, or an empty one where MLflow has nothing there: a run can be deleted and its version stay."""
        gone = Waiting("ModelNotFound", "")
        try:
            return await self._json(registry, url, query, missing=gone)
        except Waiting as error:
            if error.reason != gone.reason:
                raise
            return {}

    async def _json(self, registry: str, url: str, query: dict[str, str], missing: Waiting | None = None) -> dict[str, Any]:
        try:
            async with self._session.get(url, params=query, timeout=REQUEST_TIMEOUT) as response:
                metrics.registry_requests.labels(registry=registry, code=str(response.status)).inc()
                text = await _text(response)
                if response.status != HTTPStatus.OK:
                    # MLflow answers 404 for a model that it does not have, and 400 for an alias that it does not have.
                    if missing is not None and _error_code(text) in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                        raise Waiting(missing.reason, f"{missing.message} (MLflow: {_message(text)})", missing.delay)
                    raise _refusal(registry, url, response.status, text)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unavailable(registry, url, error) from error
        answer = _parse(text)
        if answer is None:
            raise _unavailable(registry, url, "the answer is no JSON; is this the address of an MLflow server?")
        return answer


async def _text(response: aiohttp.ClientResponse) -> str:
    content = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            return ""
    return content.decode(errors="replace")


def _parse(text: str) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _tags(entries: list[dict[str, Any]]) -> dict[str, str]:
    return {bounded(str(tag["key"]), 250): bounded(str(tag.get("value", "")), 500) for tag in entries[:MAX_ENTRIES]}


def _latest(answer: dict[str, Any], kind: str) -> dict[str, float]:
    """The metrics in a run or a logged model; of those of one name, which have other data sets, the latest."""
    entries: list[dict[str, Any]] = ((answer.get(kind) or {}).get("data") or {}).get("metrics") or []
    entries = sorted(entries[:MAX_ENTRIES], key=lambda entry: (int(entry.get("timestamp", 0)), int(entry.get("step", 0))))
    return {bounded(str(entry["key"]), 250): float(entry["value"]) for entry in entries}


def _error_code(text: str) -> str:
    return str((_parse(text) or {}).get("error_code", ""))


def _message(text: str) -> str:
    return bounded(str((_parse(text) or {}).get("message") or text), 300)


def _differs(before: ModelVersion | ReconcileError, after: ModelVersion | ReconcileError) -> bool:
    if isinstance(before, ModelVersion) or isinstance(after, ModelVersion):
        return before != after
    return before.reason != after.reason


def _not_found(reference: ModelReference, registry: str) -> Waiting:
    wanted = f"alias {reference.alias!r}" if reference.alias else f"version {reference.version}"
    return Waiting(
        "ModelNotFound",
        f"registry {registry!r} has no model {reference.name!r} with {wanted}; it is deployed as soon as it is registered there",
    )


def _refusal(registry: str, url: str, status: int, text: str) -> ReconcileError:
    said = _message(text)
    if status == HTTPStatus.FORBIDDEN and "host" in said.lower():
        return Waiting(
            "RegistryRefused",
            f"MLflow at {url} refuses to be called by that name ({said}); add it to its MLFLOW_SERVER_ALLOWED_HOSTS",
            delay=60,
        )
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Waiting("RegistryRefused", f"registry {registry!r} refused the operator: {status} {said}", delay=60)
    return Waiting("RegistryUnavailable", f"registry {registry!r} at {url} answered {status}: {said}", delay=10)


def _unavailable(registry: str, url: str, why: object) -> Waiting:
    said = bounded(str(why) or type(why).__name__, 300)
    return Waiting("RegistryUnavailable", f"registry {registry!r} at {url} cannot be reached: {said}", delay=10)


def _odd(registry: str, error: Exception) -> Waiting:
    said = bounded(f"{type(error).__name__}: {error}", 200)
    return Waiting("RegistryUnavailable", f"registry {registry!r} answers as no MLflow does ({said}); is it one?", delay=30)
