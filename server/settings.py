"""What a pod is told: one JSON value in one environment variable, parsed once. Nothing else reads the environment."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AnyHttpUrl, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from server.errors import SettingsInvalid

VARIABLE = "MLSERVING_SETTINGS"

TERMINATION_LOG = Path("/dev/termination-log")
"""Where Kubernetes reads a container's last words unless its spec says otherwise."""

MAX_TREE_NODES = 2_000_000

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class _Told(BaseModel):
    """Frozen, camelCase as in every Kubernetes object; an unknown key is a mistake, not a wish."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class Resource(_Told):
    """The ModelDeployment that this pod belongs to."""

    namespace: str
    name: str


class ModelVersion(_Told):
    """Which model to serve. `digest` decides; name and version are how people call it."""

    name: str
    version: str
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Trust(_Told):
    """What the model may bring along."""

    pickle: Literal["Allow", "Deny"] = "Allow"
    """Whether a file may be loaded that executes what its author put into it."""
    skops_types: tuple[str, ...] = ()
    """Types that a skops file may have beside those that people have reviewed (server.trust)."""


class Gates(_Told):
    """By what this pod judges its model, while the model is new."""

    max_load_seconds: Annotated[float, Field(gt=0)] | None = None
    """Loading, the recorded example included."""
    max_latency_p95_milliseconds: Annotated[float, Field(gt=0)] | None = Field(default=None, alias="maxLatencyP95Milliseconds")
    """Of the predictions of one row before the pod is ready."""
    until: AwareDatetime
    """A pod that starts later is not judged: it is one more of many, perhaps on a busy node."""


class Batching(_Told):
    """How requests for an engine that is slower than a thread hop share its calls."""

    max_size: Annotated[int, Field(ge=1)] = 64
    """Rows in one call, unless a single request has more. 1: each request is asked about alone."""
    max_waiting: Annotated[int, Field(ge=1)] = 256
    """Requests in line, however short the wait; the next one is told at once to try elsewhere."""


class Auth(_Told):
    """Who may ask."""

    token_files: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Each holds one bearer token, or is a directory of such files, as a mounted Secret is. Any of them opens the port for
    clients. They are read again when they change."""
    secret: str | None = None
    """The name of that Secret, for whoever has to create it."""


class Settings(_Told):
    """All that a pod is told. Only the model is required."""

    model: ModelVersion
    resource: Resource | None = None
    """Absent where no cluster is involved; only metrics and the logs repeat it."""
    store_urls: tuple[AnyHttpUrl, ...] = ()
    """Where the init step gets the model from, in this order."""
    store_token_file: Path | None = None
    """A token that the stores are shown. It rotates, so it is read again for each attempt."""
    model_dir: Path = Path("/model")
    port: Port = 8080
    management_port: Port = 8081
    request_timeout_seconds: Annotated[Seconds, Field(gt=0)] = 30
    """How long a body may take to arrive, and then how long an answer may take."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 2 * 1024 * 1024
    out_of_range: Literal["Flag", "Reject"] = "Flag"
    """What becomes of a number outside the range that training has seen: answered and flagged, or refused."""
    ui: Literal["Enabled", "Disabled"] = "Enabled"
    """Whether there is a page for people at /."""
    trust: Trust = Trust()
    engine: Literal["Auto", "Compiled", "Native"] = "Auto"
    """What answers: a compiled form of the model where there is one that answers like it, only such a one, or scikit-learn."""
    compiled_dir: Path | None = None
    """Where the init step writes the compiled form; None: beside `model_dir`, whose content the digest names to the last file."""
    max_tree_nodes: Annotated[int, Field(ge=0)] = MAX_TREE_NODES
    """More than so many nodes in all trees are not compiled."""
    compile_timeout_seconds: Annotated[Seconds, Field(gt=0)] = 120
    """How long compiling may take before the model is served as it is."""
    gates: Gates | None = None
    drain_seconds: Seconds = 5
    """How long a pod that must go still answers, so that every load balancer has noticed."""
    batching: Batching = Batching()
    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """How protocols with names in their paths call the model; else the resource's name, else the registered model's."""
    auth: Auth | None = None
    fetch_timeout_seconds: Seconds = 300
    """How long the init step tries to get the model."""
    log_level: Literal["Info", "Warning", "Error"] = "Info"
    """What is less is not logged."""
    access_logs_per_second: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 1
    """So many requests that went well are logged at most; mistakes always are, up to a limit of their own."""
    termination_message_path: Path = TERMINATION_LOG
    """The field of the same name of the container."""

    @property
    def served_name(self) -> str:
        """The model's name in paths."""
        return self.model_name or (self.resource.name if self.resource else self.model.name)

    @property
    def compiled(self) -> Path:
        """The directory of the compiled form."""
        return self.compiled_dir or self.model_dir.with_name(self.model_dir.name + "-compiled")


def parse(environment: Mapping[str, str]) -> Settings:
    """The settings, or a sentence on what is wrong with them. Values are never repeated: they may be secret one day."""
    text = environment.get(VARIABLE)
    if text is None:
        raise SettingsInvalid(f"The environment variable {VARIABLE} is not set. server/README.md says what it holds.")
    try:
        return Settings.model_validate(json.loads(text))
    except ValidationError as e:
        mistakes = (f"{'.'.join(map(str, x['loc'])) or 'value'}: {x['msg']}" for x in e.errors(include_input=False))
        raise SettingsInvalid(f"{VARIABLE} is wrong: {'; '.join(mistakes)}.") from e
    except (ValueError, RecursionError) as e:
        raise SettingsInvalid(f"{VARIABLE} is not JSON: {e}.") from e
