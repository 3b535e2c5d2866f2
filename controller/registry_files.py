"""Which files a version has: MLflow lists them in three ways, and each version is in one of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

from controller import registry_refusals
from controller.errors import Stalling
from controller.registry_client import API, RegistryClient
from controller.registry_refusals import Need
from controller.text import bounded

MAX_FILES = 10_000
PROXIED_SCHEME = "mlflow-artifacts:"


@dataclass(frozen=True, slots=True)
class _Listing:
    """A part of MLflow's API that lists a directory."""

    path: str
    parameter: str
    """The one that names the directory."""
    root: str
    """The directory of the model."""
    query: Mapping[str, str]
    needs: Need


async def listed(client: RegistryClient, artifact_uri: str, run_id: str, model_id: str) -> dict[str, int]:
    """The sizes of the files at `artifact_uri`, by their path below it.

    Raises Waiting (ArtifactsUnreachable, ...) or Stalling (TooManyFiles); KeyError and the like where MLflow's answer is odd.
    """
    listing = await _listing(client, artifact_uri, run_id, model_id)
    files: dict[str, int] = {}
    directories, asked = [""], 0
    while directories:
        directory, asked = directories.pop(), asked + 1
        where = {listing.parameter: "/".join(part for part in (listing.root, directory) if part)}
        answer = await client.json(listing.path, {**listing.query, **where}, replace(listing.needs, files=True))
        for entry in answer.get("files") or []:
            # With artifact proxying MLflow answers with names, without it with paths from the root.
            name = str(entry["path"]).rsplit("/", 1)[-1]
            path = f"{directory}/{name}" if directory else name
            if entry.get("is_dir"):
                directories.append(path)
            else:
                files[path] = int(entry.get("file_size") or 0)
        if len(files) + len(directories) + asked > MAX_FILES:
            raise Stalling("TooManyFiles", f"the model has more than {MAX_FILES} files; a scikit-learn model has about ten")
    if not files:
        raise registry_refusals.artifacts_unreachable(
            client.settings, f"MLflow finds none at {bounded(artifact_uri, 200)}, as on a disk that only the trainer has"
        )
    return files


async def _listing(client: RegistryClient, artifact_uri: str, run_id: str, model_id: str) -> _Listing:
    """Through the artifact proxy; else as files of a logged model (MLflow 3), or of a run (MLflow 2)."""
    if artifact_uri.startswith(PROXIED_SCHEME):
        root = artifact_uri.removeprefix(PROXIED_SCHEME).lstrip("/")
        needs = Need.to_read_experiment(root.split("/", 1)[0])
        return _Listing("/api/2.0/mlflow-artifacts/artifacts", "path", root, {}, needs)
    needs = Need.to_read_run(run_id)
    if model_id:
        path = f"{API}/logged-models/{quote(model_id, safe='')}/artifacts/directories"
        return _Listing(path, "artifact_directory_path", "", {}, needs)
    if run_id:
        query = {"run_id": run_id}
        run = await client.json(f"{API}/runs/get", query, needs)
        above = f"{run['run']['info']['artifact_uri'].rstrip('/')}/"
        if artifact_uri.startswith(above):
            return _Listing(f"{API}/artifacts/list", "path", artifact_uri.removeprefix(above).rstrip("/"), query, needs)
    raise registry_refusals.artifacts_unreachable(
        client.settings, f"MLflow lists what a run or a logged model has, and {bounded(artifact_uri, 200)} is of neither"
    )
