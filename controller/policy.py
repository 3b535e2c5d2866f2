"""The parts of the spec that say what a model must meet before it serves, and how its server behaves."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from controller.pods import SecretReference
from controller.schema import Size, Spec, VersionNumber, rule, rules

AUTO_RUNTIME = "Auto"

EngineChoice = Literal["Auto", "Compiled", "Native"]
Switch = Literal["Enabled", "Disabled"]
LogLevel = Literal["Info", "Warning", "Error"]

TypeName = Annotated[
    str,
    Field(
        max_length=300,
        description="A type with its module, such as mypackage.transformers.LogTransformer.",
        json_schema_extra=rules(
            rule(
                "self.matches('^[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z_][A-Za-z0-9_]*)+$')",
                "a type is written with its module, such as mypackage.transformers.LogTransformer",
            )
        ),
    ),
]

GateName = Literal["Size", "Environment", "Signature", "Tags", "Metrics", "Trust", "Load", "Latency"]


def _map_by(key: str) -> dict[str, Any]:
    """A list whose entries have names of their own, so that two who apply can each own some."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


# The API server compares a whole number with the whole part of a minimum, and so takes a 0 for 0.001.
_NOT_ZERO = rules(rule("self > 0.0", "should be greater than 0"))


class RequiredTag(Spec):
    """A tag that the model version must carry in the registry."""

    key: str = Field(min_length=1, max_length=250, description="Key of the tag, such as validation_status.")
    value: str = Field(max_length=5000, description="Value that it must have, such as approved.")


class RequiredMetric(Spec):
    """A metric of the run that made the version, and the range in which it must lie."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.min) || has(self.max)", "set min, max, or both: a metric without a bound checks nothing"),
            rule("!has(self.min) || !has(self.max) || self.min <= self.max", "min must not be above max"),
        )
    )

    name: str = Field(min_length=1, max_length=250, description="Name of the metric in MLflow, such as test_f1.")
    min: float | None = Field(default=None, description="Lowest value that passes.")
    max: float | None = Field(default=None, description="Highest value that passes.")


class Waiver(Spec):
    """One gate that one version need not pass, and why. It stays visible in the message of GatesPassed."""

    version: VersionNumber = Field(description="Number of the model version that is let through.")
    gate: GateName = Field(
        description="The gate that it need not pass: Size, Environment, Signature, Tags, Metrics, Trust (a pickle), Load"
        " (maxLoadSeconds) or Latency (maxLatencyP95Milliseconds). That the files are those that were registered, and that the"
        " model answers its recorded example, cannot be waived."
    )
    reason: str = Field(min_length=1, max_length=500, description="Why, for whoever reads it later.")


class Gates(Spec):
    """What a version must meet before it takes the place of the one that serves. A version that is in status.history was
    checked when it came and is not checked again, so that a rollback is always possible."""

    max_size: Size | None = Field(
        default=None,
        description="Most bytes that the version's files may have, such as 500Mi; a larger one is not even downloaded."
        " Default: the operator's settings.",
    )
    environment: Literal["Strict", "Warn"] | None = Field(
        default=None,
        description="What follows where no server image has the minor version of scikit-learn, or of Python, that the model was"
        " logged with. Strict: it is refused. Warn: it is served by the default image, and GatesPassed says so."
        " Default: the operator's settings, Strict unless they say otherwise.",
    )
    signature: Literal["Compatible", "Any"] | None = Field(
        default=None,
        description="Compatible: every request that the version that serves now takes is valid for the new one too, and answers"
        " keep their type; a new optional input or a wider number is fine. Any: the signature is not compared."
        " Default: the operator's settings, Compatible unless they say otherwise.",
    )
    tags: list[RequiredTag] = Field(
        default=[],
        max_length=20,
        description="Tags that the model version must have in the registry, such as validation_status=approved.",
        json_schema_extra=_map_by("key"),
    )
    metrics: list[RequiredMetric] = Field(
        default=[],
        max_length=20,
        description="Metrics of the version's MLflow run, and the range in which each must lie.",
        json_schema_extra=_map_by("name"),
    )
    max_load_seconds: float | None = Field(
        default=None,
        ge=0.001,
        le=3600,
        description="Longest time that a pod may take to load the model, its recorded example included. Judged until a"
        " version's files have served once, so that a busy node later ends no pod.",
        json_schema_extra=_NOT_ZERO,
    )
    max_latency_p95_milliseconds: float | None = Field(
        default=None,
        ge=0.001,
        le=60_000,
        alias="maxLatencyP95Milliseconds",
        description="Longest time within which 95 of 100 predictions of one row of the recorded example must be made before"
        " the pod takes requests. Judged until a version's files have served once. Needs a recorded example.",
        json_schema_extra=_NOT_ZERO,
    )
    waivers: list[Waiver] = Field(
        default=[], max_length=20, description="Gates that single versions need not pass, each with its reason."
    )

    def with_defaults(self, defaults: "Gates") -> "Gates":
        """These, and the operator's where they say nothing."""
        said = {name: value for name in type(self).model_fields if (value := getattr(self, name)) not in (None, [])}
        return defaults.model_copy(update=said)

    def waiver(self, version: str, gate: GateName) -> Waiver | None:
        """Why `version` need not pass `gate`, if somebody said so."""
        return next((waiver for waiver in self.waivers if (waiver.version, waiver.gate) == (version, gate)), None)


class Trust(Spec):
    """Loading a pickle executes whatever its author put into it; loading a skops file builds only types that are trusted. The
    lists of trusted types are the operator's and this one, never what a model's own files say."""

    pickle: Literal["Allow", "Deny"] | None = Field(
        default=None,
        description="Deny: only models that were logged with serialization_format='skops' are served."
        " Default: the operator's settings, Allow unless they say otherwise.",
    )
    skops_types: list[TypeName] = Field(
        default=[],
        max_length=100,
        description="Types that a skops file of this model may contain beside those that the operator trusts, such as"
        " mypackage.transformers.LogTransformer. A refusal shows the list to put here; review it before you do.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )

    def with_defaults(self, defaults: "Trust") -> "Trust":
        """These, and the operator's: its list of types is added."""
        types = sorted({*defaults.skops_types, *self.skops_types})
        return Trust(pickle=self.pickle or defaults.pickle or "Allow", skops_types=types)


class EnvironmentVariable(Spec):
    """An environment variable of the server's container."""

    name: str = Field(
        max_length=253,
        description="Its name.",
        json_schema_extra=rules(
            rule("self.matches('^[A-Za-z_][A-Za-z0-9_]*$')", "a name has letters, digits and '_', and begins with no digit"),
            rule(
                "!self.matches('^(MLSERVING_.*|PYTHON.*|LD_.*|PATH|HOME|KUBERNETES_.*)$')",
                "MLSERVING_*, PYTHON*, LD_*, KUBERNETES_*, PATH and HOME are what the server itself stands on; use another name",
            ),
        ),
    )
    value: str = Field(default="", max_length=32768, description="Its value, as it stands.")


class Auth(Spec):
    """Who may send requests."""

    token_secret_ref: SecretReference = Field(
        description="A Secret with bearer tokens. The value of each of its keys is one, so to replace a token: add another key,"
        " move the clients, take the first key away; pods notice within two minutes. Requests without a token are answered 401."
    )


class Batching(Spec):
    """How requests share the calls of an estimator that is not compiled: while it works, those that come wait for the next."""

    max_size: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Most rows in one call, unless a single request has more; 1 asks about each request alone. Default: 64.",
    )
    max_waiting: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Most requests in line; the next one is told at once to try elsewhere. Default: 256.",
    )


class ServerDefaults(Spec):
    """What holds where `spec.server` does not say."""

    engine: EngineChoice = "Auto"
    ui: Switch = "Enabled"
    log_level: LogLevel = "Info"
    access_logs_per_second: float = Field(default=1, ge=0, le=1000)


class Server(Spec):
    """The server in the pods. A change of any of these is a rollout."""

    runtime: str = Field(
        default=AUTO_RUNTIME,
        min_length=1,
        max_length=63,
        description="Which server image of the operator's catalogue serves the model. Auto: the one with the model's own minor"
        " version of scikit-learn. Or the name of one, which then serves every version.",
    )
    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="A server image of your own, made from the operator's: wins over runtime. What it has inside is yours to"
        " know, so the environment gate does not apply.",
        json_schema_extra=rules(rule("!self.matches('[[:space:]]')", "an image reference has no spaces")),
    )
    request_timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        le=3600,
        description="How long a request's body may take to arrive, and then how long its answer may take. Default: 30. A pod that"
        " must go waits so long for what is in flight.",
    )
    max_body_size: Size | None = Field(
        default=None,
        description="Most bytes that the body of a request may have, such as 2Mi. Default: 2Mi; more is answered 413.",
    )
    out_of_range: Literal["Flag", "Reject"] = Field(
        default="Flag",
        description="What follows when a number lies outside the range that training has seen. Flag: it is answered, counted and"
        " named in the header X-Out-Of-Range. Reject: it is answered 400.",
    )
    engine: EngineChoice | None = Field(
        default=None,
        description="What computes the answers. Auto: the model is compiled before its server starts, and the compiled engine"
        " answers where it was proved to answer as scikit-learn does; otherwise scikit-learn itself does, and"
        " status.serving.engineReason says why. Compiled: a version that cannot be compiled is refused. Native: always"
        " scikit-learn itself. Default: the operator's settings, Auto.",
    )
    model_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="How clients of the Open Inference Protocol and of KServe's V1 protocol call the model in their paths, such"
        " as /v2/models/NAME/infer. Default: the name of the ModelDeployment.",
        json_schema_extra=rules(
            rule(
                "self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')",
                "a name in paths has letters, digits, '.', '_' and '-', and begins with a letter or digit",
            )
        ),
    )
    auth: Auth | None = Field(default=None, description="Who may send requests. Default: everybody who can reach the pods.")
    ui: Switch | None = Field(
        default=None,
        description="The page for people at /: what model this is, and a form to try it. Disabled: there is none."
        " Default: the operator's settings, Enabled.",
    )
    log_level: LogLevel | None = Field(
        default=None,
        description="What is less is not logged. Info: all there is. Warning: what went wrong. Error: what somebody has to look"
        " at. Default: the operator's settings, Info.",
    )
    access_logs_per_second: float | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="How many requests that went well each pod logs at most in a second: method, path, status, duration and ids,"
        " never what was asked. Mistakes are logged besides. 0: mistakes alone. Default: the operator's settings, 1.",
    )
    batching: Batching | None = Field(
        default=None, description="How requests share the calls of an estimator that is not compiled."
    )
    env: list[EnvironmentVariable] = Field(
        default=[],
        max_length=50,
        description="Environment variables of the server's container.",
        json_schema_extra=_map_by("name"),
    )
