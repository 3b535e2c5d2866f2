"""The operator's settings: one JSON value in the environment, parsed once, passed down.

The chart writes it; `python -m controller` refuses to start on a key that it does not know.
"""

import os
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from controller.policy import Gates, ServerDefaults, Trust
from controller.quantity import bytes_of

ENVIRONMENT_VARIABLE = "MLSERVING_OPERATOR_SETTINGS"


class SettingsInvalid(Exception):
    """The operator cannot start with what it is told."""


class _Settings(BaseModel):
    model_config = ConfigDict(
        alias_generator=AliasGenerator(to_camel),
        validate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # where somebody put a password into a setting, the complaint must not repeat it
    )


class SecretName(_Settings):
    """A Secret in the operator's namespace."""

    name: str = Field(min_length=1)


class SecretKey(SecretName):
    """A key of a Secret, or of a ConfigMap, in the operator's namespace."""

    key: str = Field(min_length=1)


class AuthSettings(_Settings):
    """How the operator logs in to a registry: one of the two."""

    basic_secret: SecretName | None = None
    """Its keys `username` and `password`, as in the type kubernetes.io/basic-auth."""
    bearer_secret: SecretKey | None = None
    """A token."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.basic_secret is None) == (self.bearer_secret is None):
            raise ValueError("auth takes exactly one of basicSecret and bearerSecret")
        return self


class HeaderSettings(_Settings):
    """A header of every request to a registry; its value is given, or is in a Secret."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    value: str | None = None
    secret: SecretKey | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.value is None) == (self.secret is None):
            raise ValueError(f"the header {self.name} takes exactly one of value and secret")
        if self.value is not None and self.name.lower() in {"authorization", "proxy-authorization", "cookie"}:
            raise ValueError(f"the header {self.name} lets its holder in: put its value into a Secret, and name that in secret")
        return self


class RegistrySettings(_Settings):
    """An MLflow registry that resources may name. What is secret is in files, see `controller.registry_client`."""

    name: str
    """How `spec.model.registryRef` names it."""
    uri: str = Field(pattern=r"^https?://[^/?#]+[^?#]*$")
    """Base address of the MLflow server, such as http://mlflow.mlflow.svc:5000."""
    auth: AuthSettings | None = None
    """How to log in; without it nobody is asked to."""
    headers: tuple[HeaderSettings, ...] = ()
    """Sent with every request, such as what a gateway before MLflow asks for."""
    ca_secret: SecretKey | None = None
    """The certificates, as PEM, that vouch for the registry's own, instead of those that the image knows."""
    ca_config_map: SecretKey | None = None
    """The same from a ConfigMap."""
    allowed_namespaces: tuple[str, ...] = ()
    """Patterns, with * and ?, of the namespaces whose ModelDeployments may name it; empty: all."""
    allowed_models: tuple[str, ...] = ()
    """Patterns of the registered models that they may name; empty: all."""

    @field_validator("uri")
    @classmethod
    def _names_nobody(cls, uri: str) -> str:
        if "@" in urlsplit(uri).netloc:
            raise ValueError("uri holds a user name: put name and password into a Secret, and name that in auth.basicSecret")
        return uri.rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ca_secret is not None and self.ca_config_map is not None:
            raise ValueError("set one of caSecret and caConfigMap")
        names = [header.name.lower() for header in self.headers] + (["authorization"] if self.auth else [])
        if len(set(names)) < len(names):
            raise ValueError("headers name one header twice; Authorization is what auth sends")
        return self


class RolloutDefaults(_Settings):
    """What holds for a resource whose `spec.rollout` does not say."""

    mode: Literal["Automatic", "Manual", "Paused"] = "Automatic"
    """Whether another version is rolled out by itself, waits for a person, or is not rolled out at all."""
    progress_deadline_seconds: int = Field(default=300, ge=30, le=7200)
    """A rollout that makes no progress for so long has failed."""
    on_failure: Literal["RollBack", "Hold"] = "RollBack"
    """Whether a failed rollout is taken back."""


class DisruptionBudgetDefaults(_Settings):
    """What holds where `spec.disruptionBudget` does not say."""

    enabled: bool = True
    """Whether there is one."""


class NetworkPolicyDefaults(_Settings):
    """What holds where `spec.networkPolicy` does not say."""

    enabled: bool = True
    """Whether there is one."""
    monitoring_from: tuple[dict[str, Any], ...] = ({"namespaceSelector": {}},)
    """Who may reach the pods' metrics, as in a NetworkPolicy."""


class ServiceMonitorDefaults(_Settings):
    """What holds where `spec.monitoring.serviceMonitor` does not say."""

    enabled: bool = True
    """Whether there is one, where its CRD is installed."""
    labels: dict[str, str] = {}
    """Labels that the cluster's Prometheus selects by."""


class ChildDefaults(_Settings):
    """What holds for the children beside the Deployment where the spec does not say."""

    disruption_budget: DisruptionBudgetDefaults = DisruptionBudgetDefaults()
    """PodDisruptionBudget."""
    network_policy: NetworkPolicyDefaults = NetworkPolicyDefaults()
    """NetworkPolicy."""
    service_monitor: ServiceMonitorDefaults = ServiceMonitorDefaults()
    """ServiceMonitor."""


class ServerUpdate(_Settings):
    """What becomes of running pods when the operator brings another server image."""

    policy: Literal["OnNextRollout", "Rolling"] = "OnNextRollout"
    """OnNextRollout: nothing, until their next rollout. Rolling: they are moved to it."""
    max_concurrent: int = Field(default=2, ge=1)
    """With Rolling: how many resources at once."""


class RuntimeSettings(_Settings):
    """A server image beside the default one, and what it has inside."""

    name: str = Field(min_length=1, max_length=63)
    """How `spec.server.runtime` names it."""
    image: str
    """The image."""
    image_pull_policy: str = "IfNotPresent"
    """imagePullPolicy of its pods."""
    scikit_learn: str
    """Its minor version of scikit-learn, such as 1.8."""
    python: str
    """Its minor version of Python, such as 3.11."""


class Settings(_Settings):
    """Everything that the operator is told."""

    namespace: str
    """Namespace of the operator itself: its Lease is there."""
    identity: str
    """Name of this replica's pod."""
    lease_name: str = "modeldeployment-operator"
    """Name of the Lease that makes one replica the leader."""
    watch_namespaces: tuple[str, ...] = ()
    """Namespaces whose ModelDeployments are served; empty: all."""
    registries: tuple[RegistrySettings, ...] = Field(min_length=1)
    """MLflow registries; the first is the default."""
    registries_dir: Path = Path("/etc/registries")
    """Directory of what is secret about them, see `controller.registry_client`."""
    server_image: str
    """Image of the serving pods."""
    server_image_pull_policy: str = "IfNotPresent"
    """imagePullPolicy of the serving pods."""
    server_scikit_learn: str = "1.9"
    """The minor version of scikit-learn in that image."""
    server_python: str = "3.11"
    """The minor version of Python in that image."""
    runtimes: tuple[RuntimeSettings, ...] = ()
    """Other images, for models of another scikit-learn."""
    default_gates: Gates = Gates()
    """Gates of a resource whose spec does not set them."""
    default_trust: Trust = Trust()
    """What a resource whose spec does not say trusts; the list of types is added to the spec's."""
    default_server: ServerDefaults = ServerDefaults()
    """What holds where `spec.server` does not say."""
    compile_memory: str = "1Gi"
    """Memory that the step which fetches and compiles a model may take, where its server may not take more."""
    default_resources: dict[str, Any] = {
        "requests": {"cpu": "250m", "memory": "256Mi"},
        "limits": {"cpu": "2", "memory": "1Gi"},
    }
    """Resources of a serving pod whose spec sets none."""
    default_rollout: RolloutDefaults = RolloutDefaults()
    """What holds where `spec.rollout` does not say."""
    default_children: ChildDefaults = ChildDefaults()
    """What holds for the other children where the spec does not say."""
    server_update: ServerUpdate = ServerUpdate()
    """What becomes of running pods when the server image is another one."""
    store_dir: Path = Path("/store")
    """Directory of the artifact store."""
    store_url: str
    """Address at which pods reach the store."""
    store_port: int = 8082
    """Port of the store."""
    store_metrics_port: int = 8083
    """Port of the store's /metrics."""
    store_pods: dict[str, str] = {}
    """Labels of the pods that serve the store, in the operator's namespace: whom a NetworkPolicy lets the pods reach."""
    store_peers: tuple[str, ...] = ()
    """Addresses of the replicas' stores, this one's included."""
    store_authentication: bool = True
    """Whether the store asks the API server whose token a pod shows."""
    store_token_file: Path | None = None
    """The token that this replica shows to the others' stores."""
    service_account: str = "default"
    """The operator's own ServiceAccount: its pods may read everything."""
    store_size_limit: str = "20Gi"
    """Size of the store's volume. The store keeps a tenth below it: a volume that is full is worse than a store that is."""
    store_keep_unused_seconds: float = Field(default=3600.0, ge=600)
    """A version that nothing names any more is dropped so long after it was last used; never at once: nothing names yet what is
    being pulled."""
    health_port: int = 8080
    """Port of /healthz and /metrics."""
    poll_seconds: float = Field(default=30.0, gt=0)
    """How often an alias is looked up."""
    max_model_bytes: int = Field(default=2 * 1024**3, gt=0)
    """A version with more bytes than this is not pulled."""
    concurrency: int = Field(default=8, ge=1)
    """Reconciles at the same time."""

    @field_validator("store_size_limit", "compile_memory")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        bytes_of(value)
        return value

    @property
    def max_store_bytes(self) -> int:
        """What the store itself takes of its volume."""
        return bytes_of(self.store_size_limit) * 9 // 10


def load() -> Settings:
    """The settings of this process. Raises SettingsInvalid, with a sentence, where they are missing or wrong."""
    text = os.environ.get(ENVIRONMENT_VARIABLE)
    if not text:
        raise SettingsInvalid(f"{ENVIRONMENT_VARIABLE} is not set: it holds the operator's settings as JSON; the chart sets it")
    try:
        return Settings.model_validate_json(text)
    except ValueError as error:
        raise SettingsInvalid(f"{ENVIRONMENT_VARIABLE} is wrong: {error}") from error
