"""A registry in memory: versions with their files, aliases that move, and days on which it is away."""

from collections.abc import AsyncIterator, Mapping

from controller.api import ModelReference
from controller.errors import Stalling, Waiting
from controller.registry import ModelVersion, RemoteFile

MLMODEL = """
flavors:
  sklearn: {pickled_model: model.pkl, serialization_format: cloudpickle, sklearn_version: 1.9.1}
saved_input_example_info: {artifact_path: input_example.json, type: dataframe}
metadata: {mlserving: {format: 1, example: {predictions: [0, 1]}}}
"""


def model_files(version: int, mlmodel: str = MLMODEL) -> dict[str, bytes]:
    return {"MLmodel": mlmodel.encode(), "model.pkl": b"pickle %d" % version, "input_example.json": b"{}"}


class FakeRegistry:
    """`versions`, `aliases`, `tags`, `measured` and `created` (by version) are what tests change; `away` makes every request
    fail, `breaks_off` those for files."""

    def __init__(self, *versions: int) -> None:
        self.versions = {str(version): model_files(version) for version in versions}
        self.aliases = {"champion": str(versions[0])} if versions else {}
        self.tags: dict[str, dict[str, str]] = {}
        self.measured: dict[str, dict[str, float]] = {}
        self.created: dict[str, str] = {}
        self.forbidden_to: set[str] = set()
        self.away = self.breaks_off = False
        self.away_for = "RegistryUnavailable"  # the reason that is given then
        self.downloads = 0

    def name_of(self, reference: ModelReference) -> str:
        return reference.registry_ref.name if reference.registry_ref else "main"

    def permit(self, reference: ModelReference, namespace: str) -> None:
        if namespace in self.forbidden_to:
            raise Stalling("RegistryForbidden", f"registry 'main' is not for namespace {namespace!r}")

    async def resolve(self, reference: ModelReference) -> ModelVersion:
        self._reach()
        version = self.aliases.get(reference.alias) if reference.alias else reference.version
        if version is None or version not in self.versions:
            raise Waiting("ModelNotFound", f"registry 'main' has no {reference.label}")
        return ModelVersion(
            registry=self.name_of(reference),
            name=reference.name,
            version=version,
            run_id=f"run{version}",
            model_id="m",
            created=self.created.get(version, "1"),
            tags=self.tags.get(version, {}),
        )

    async def metrics(self, version: ModelVersion) -> Mapping[str, float]:
        self._reach()
        return self.measured.get(version.version, {})

    async def files(self, version: ModelVersion) -> list[RemoteFile]:
        self._reach()
        return [RemoteFile(path, len(content)) for path, content in self.versions[version.version].items()]

    async def download(self, version: ModelVersion, path: str) -> AsyncIterator[bytes]:
        self._reach()
        self.downloads += 1
        if self.breaks_off:
            raise Waiting("RegistryUnavailable", "registry 'main' broke off")
        yield self.versions[version.version][path]

    def _reach(self) -> None:
        if self.away:
            raise Waiting(self.away_for, "registry 'main' cannot be reached")
