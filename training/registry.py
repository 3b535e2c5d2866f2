"""MLflow: the only place of this room that talks to it."""

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException, RestException
from mlflow.models import Model

from server import manifest
from training.errors import InputError, RegistryError
from training.names import without_secret
from training.saving import Saved
from training.settings import CHECK_SECONDS, DEFAULT_TRACKING_URI, LOOK_AFTER, MLFLOW_ENVIRONMENT, REQUEST_SECONDS, RETRIES

LOGGED_MODEL = re.compile(r"models:/(m-\w+)")
"""The source of a version whose model MLflow 3 has logged."""
BATCH = 500
"""Models or runs that are asked about in one request."""
ADDED_BY_DOWNLOAD = "registered_model_meta"
"""MLflow's client writes it beside what it has downloaded; the version does not have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered version, and where to look at it."""

    name: str
    number: str
    run_id: str
    digest: str
    """sha256 over all its files, as spec.model.digest of a ModelDeployment has it."""
    url: str | None
    """Of the version's page; None where MLflow is a file and no server."""
    not_compiled: str | None = None
    """Why the server will answer with scikit-learn itself; None: it will with the faster, compiled form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """An MLflow that has answered."""

    client: MlflowClient
    uri: str

    def register(
        self,
        saved: Saved,
        *,
        name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        description: str,
        files: Path | None = None,
        version_tags: Mapping[str, str] | None = None,
    ) -> Version:
        """A run with all there is to know, and a new version. No alias moves: that is what deploys."""
        with self.told(), self._run(name, tags) as run_id:
            told = self.client.get_run(run_id).data.params  # by a notebook, or of an earlier model: a run keeps what it has
            mlflow.log_params({key: str(value)[:6000] for key, value in params.items() if key not in told}, run_id=run_id)
            if files is not None:
                mlflow.log_artifacts(str(files), run_id=run_id)
            logged = Model.log(
                artifact_path=None, name="model", flavor=saved, flavor_name="sklearn", run_id=run_id, validate_serving_input=False
            )
            # After the model: what a run has before, MLflow would ask for and write again, a request for each figure.
            mlflow.log_metrics(dict(metrics), run_id=run_id, model_id=logged.model_id)
            version = self._version(name, logged, run_id, {**tags, **(version_tags or {})}, description)
            try:
                digest = self.digest(version)
            except RegistryError as e:
                raise RegistryError(f'Version {version.version} of "{name}" is registered; no alias has moved. {e}') from e
        return Version(
            name=name,
            number=str(version.version),
            run_id=run_id,
            digest=digest,
            url=self.page(name, str(version.version)),
            not_compiled=saved.compiling.reason,
        )

    def version(self, name: str, number: str) -> ModelVersion:
        """One version of a model."""
        with self.told():
            try:
                return self.client.get_model_version(name, number)
            except MlflowException as e:
                if e.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                numbers = [version.version for version in self.versions(name)]
                raise InputError(f'There is no version {number} of "{name}"; there are {_listed(numbers)}.') from e

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model with their aliases, the newest first."""
        with self.told():
            try:
                aliases = self.client.get_registered_model(name).aliases
            except MlflowException as e:
                if e.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                raise InputError(f'There is no model "{name}" at {without_secret(self.uri)}.') from e
            found, token = [], None
            while True:
                page = self.client.search_model_versions(f"name = '{_quoted(name)}'", page_token=token)
                found.extend(page)
                token = page.token
                if not token:
                    break
            for version in found:
                version._aliases = [alias for alias, number in aliases.items() if str(number) == str(version.version)]
        return sorted(found, key=lambda version: int(version.version), reverse=True)

    def at(self, name: str, alias: str) -> ModelVersion | None:
        """The version that has an alias now; None where there is none."""
        with self.told():
            try:
                return self.client.get_model_version_by_alias(name, alias)
            except MlflowException as e:
                if e.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def move(self, name: str, alias: str, number: str) -> None:
        """Let an alias name this version."""
        try:
            with self.told():
                self.client.set_registered_model_alias(name, alias, number)
        except RegistryError as e:
            raise RegistryError(f'Version {number} of "{name}" is registered, but "{alias}" has not moved to it. {e}') from e

    def metrics(self, version: ModelVersion) -> dict[str, float]:
        """What was measured of it; where nobody says of which model, in its run."""
        return self.metrics_of([version])[0]

    def metrics_of(self, versions: Sequence[ModelVersion]) -> list[dict[str, float]]:
        """The same of many, in a few requests, however many they are."""
        logged = [matched[1] if (matched := LOGGED_MODEL.fullmatch(version.source or "")) else "" for version in versions]
        with self.told():
            everywhere = self._experiments()
            own = {
                model.model_id: {metric.key: metric.value for metric in model.metrics or ()}
                for some in _batches(logged)
                for model in self.client.search_logged_models(everywhere, f"model_id IN {some}", max_results=BATCH)
            }
            unknown = [version.run_id or "" for version, model in zip(versions, logged, strict=True) if not own.get(model)]
            runs = {
                run.info.run_id: dict(run.data.metrics)
                for some in _batches(unknown)
                for run in self.client.search_runs(everywhere, f"run_id IN {some}", ViewType.ALL, max_results=BATCH)
            }
        return [own.get(model) or runs.get(version.run_id or "", {}) for version, model in zip(versions, logged, strict=True)]

    def params(self, version: ModelVersion) -> dict[str, str]:
        """What its run was told."""
        run = self._run_of(version)
        return {} if run is None else dict(run.data.params)

    def download(self, version: ModelVersion, directory: Path) -> Path:
        """Its files, and nothing else."""
        with self.told():
            found = Path(
                mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=str(directory))
            )
        (found / ADDED_BY_DOWNLOAD).unlink(missing_ok=True)
        return found

    def digest(self, version: ModelVersion) -> str:
        """As the operator finds it: of the files that MLflow hands out."""
        with tempfile.TemporaryDirectory() as scratch:
            return manifest.of_directory(self.download(version, Path(scratch))).digest

    def page(self, name: str, number: str) -> str | None:
        """Where a person looks at a version."""
        uri = without_secret(self.uri).rstrip("/")
        return f"{uri}/#/models/{quote(name, safe='')}/versions/{number}" if uri.startswith("http") else None

    @contextmanager
    def told(self) -> Iterator[None]:
        """What goes wrong with MLflow, as one sentence."""
        with _told(self.uri):
            yield

    def _run_of(self, version: ModelVersion) -> Any:
        """None where it has none any more: a run can be deleted, and its version stays."""
        if not version.run_id:
            return None
        with self.told():
            try:
                return self.client.get_run(version.run_id)
            except MlflowException as e:
                if e.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None

    @contextmanager
    def _run(self, name: str, tags: Mapping[str, str]) -> Iterator[str]:
        """The run that a notebook has open; else a new one, in an experiment of the model's name."""
        if open_run := mlflow.active_run():
            mlflow.set_tags(dict(tags))
            yield open_run.info.run_id
            return
        with mlflow.start_run(experiment_id=self._experiment(name), run_name=name, tags=dict(tags)) as run:
            yield run.info.run_id

    def _experiments(self) -> list[str]:
        """All of them: nobody says in which one a version's run is."""
        found, token = list[str](), None
        while True:
            page = self.client.search_experiments(ViewType.ALL, page_token=token)
            found.extend(experiment.experiment_id for experiment in page)
            token = page.token
            if not token:
                return found

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self.client.create_experiment(name))
            except MlflowException as e:
                found = self.client.get_experiment_by_name(name)  # somebody else was first
                if e.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                    raise
        return str(found.experiment_id)

    def _version(self, name: str, logged: Any, run_id: str, tags: Mapping[str, str], description: str) -> ModelVersion:
        try:
            self.client.create_registered_model(name)
        except MlflowException as e:
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        for wait in LOOK_AFTER:
            try:
                with _once():
                    return self.client.create_model_version(
                        name, logged.model_uri, run_id=run_id, tags=dict(tags), model_id=logged.model_id, description=description
                    )
            except RestException:  # an answer of MLflow's own
                raise
            except MlflowException as e:
                lost = e
            time.sleep(wait)
            if made := self.client.search_model_versions(f"name = '{_quoted(name)}' and source_path = '{logged.model_uri}'"):
                return made[0]
        said = " ".join(str(lost).replace(self.uri, without_secret(self.uri)).split())
        raise RegistryError(
            f'MLflow has the files of "{name}", but does not answer when it is to make a version of them. See with '
            f"`versions {name}` whether it did after all, before you register again. {said[:300]}"
        ) from lost


def connect(uri: str) -> Registry:
    """An MLflow that answers within seconds, or an error that says why not."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(RETRIES)
    MLFLOW_HTTP_REQUEST_TIMEOUT.set(CHECK_SECONDS)
    with _told(uri):
        mlflow.set_tracking_uri(uri)
        client = MlflowClient()
        client.search_registered_models(max_results=1)
    MLFLOW_HTTP_REQUEST_TIMEOUT.set(REQUEST_SECONDS)
    return Registry(client=client, uri=uri)


def tracking_uri_of(asked: str | None) -> str:
    """Where MLflow answers: what was asked for, what this process or its environment has set, or where it is by default."""
    return asked or (mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else DEFAULT_TRACKING_URI)


@contextmanager
def borrowed() -> Iterator[None]:
    """In somebody's notebook: MLflow's settings are theirs again afterwards."""
    log, level, before = logging.getLogger("mlflow"), logging.getLogger("mlflow").level, dict(os.environ)
    uri = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        log.setLevel(level)
        os.environ.clear()
        os.environ.update(before)
        mlflow.set_tracking_uri(uri or "")


@contextmanager
def _told(uri: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, OSError) as e:
        text = str(e).replace(uri, without_secret(uri))
        uri = without_secret(uri)
        refused = re.search(r"Max retries exceeded.*?(Connection refused|Name or service not known|timed out)", text)
        if refused:
            raise RegistryError(
                f"MLflow does not answer at {uri} ({refused[1].lower()}). Give the address of a running MLflow with "
                "--tracking-uri or MLFLOW_TRACKING_URI."
            ) from e
        if re.search(r"<(!doctype )?html", text, re.IGNORECASE):
            raise RegistryError(f"What answers at {uri} is no MLflow: it sent a page, not JSON.") from e
        raise RegistryError(f"MLflow at {uri} refused: {' '.join(text.split())[:500]}") from e


@contextmanager
def _once() -> Iterator[None]:
    """A request that MLflow's client does not repeat by itself: an answer that is lost says nothing of what was done."""
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(0)
    try:
        yield
    finally:
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(RETRIES)


def _quoted(name: str) -> str:
    """As MLflow's filters have it."""
    return name.replace("'", "''")


def _batches(identities: Iterable[str]) -> Iterator[str]:
    """As MLflow's filters have lists, without those that are empty."""
    known = sorted({identity for identity in identities if identity})
    for first in range(0, len(known), BATCH):
        quoted = [f"'{identity}'" for identity in known[first : first + BATCH]]
        yield f"({', '.join(quoted)})"


def _listed(numbers: list[Any]) -> str:
    return ", ".join(map(str, numbers[:10])) + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")
