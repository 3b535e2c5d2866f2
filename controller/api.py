"""The ModelDeployment as types: strict for what a person writes, lenient for what we wrote earlier.

`controller.crd` turns these types into the CustomResourceDefinition, so a description here is what
`kubectl explain` shows, and a rule here is what `kubectl apply` says. Only structural defaults live
in the schema; what a platform may want to choose comes from the operator's settings.
"""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from controller.pods import PodFields
from controller.policy import Gates, Server, Trust
from controller.schema import Quantity, VersionNumber
from controller.schema import Spec as _Spec
from controller.schema import Status as _Status
from controller.schema import rule as _rule
from controller.schema import rules as _rules
from controller.surroundings import (
    Autoscaling,
    DisruptionBudgetSettings,
    Monitoring,
    NetworkPolicySettings,
    ServiceSettings,
)

GROUP = "mlserving.dev"
API_VERSION = "v1alpha1"
KIND = "ModelDeployment"
PLURAL = "modeldeployments"
SHORT_NAME = "mdep"
CATEGORY = "mlserving"

# Labels and annotations. The selector uses NAME_LABEL alone: a selector can never be changed.
NAME_LABEL = f"{GROUP}/modeldeployment"
VERSION_LABEL = f"{GROUP}/model-version"
MANAGED_BY = "modeldeployment-operator"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
RETRY_ANNOTATION = f"{GROUP}/retry"
APPROVE_ANNOTATION = f"{GROUP}/approve"
RECONCILE_ANNOTATION = f"{GROUP}/reconcile"
DISABLED = "disabled"  # the one value of RECONCILE_ANNOTATION that means something

QUARANTINE_LIMIT = 10
HISTORY_LIMIT = 10  # entries in status.history, and the Deployment's revisionHistoryLimit


class RegistryReference(_Spec):
    """One of the registries that the operator's administrator declared."""

    name: str = Field(min_length=1, max_length=63, description="Name of a registry in the operator's settings.")


class ModelReference(_Spec):
    """Which registered model to serve: a fixed version, or whatever an alias points to."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            _rule(
                "has(self.version) != has(self.alias)",
                "set exactly one of version and alias: a version stays what it is, an alias is followed",
            ),
            _rule(
                "!has(self.digest) || has(self.version)",
                "digest goes with version only: an alias may move to a version with another digest",
            ),
        )
    )

    name: str = Field(
        min_length=1,
        max_length=200,
        description="Name of the registered model in MLflow.",
        json_schema_extra=_rules(
            _rule(
                "!self.contains('/') && !self.contains(':')",
                "a registered model's name has no '/' and no ':'; version and alias are fields of their own",
            )
        ),
    )
    version: VersionNumber | None = Field(
        default=None,
        description="Number of the model version to serve, such as 3. Set it to an older one to roll back."
        " Exactly one of version and alias is set.",
    )
    alias: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Alias to follow, such as champion: when it moves to another version, that version is pulled,"
        " checked and rolled out. Exactly one of version and alias is set.",
        json_schema_extra=_rules(
            _rule(
                "self.matches('^[A-Za-z0-9_-]+$') && !self.matches('^(latest|v[0-9]+)$')",
                "an alias has letters, digits, '_' and '-', and is neither 'latest' nor like 'v3' (MLflow reserves them);"
                " for a fixed version, use version instead",
            )
        ),
    )
    digest: str | None = Field(
        default=None,
        max_length=71,
        description="sha256 digest of the version's files, as shown in status.serving.digest."
        " When set, anything else is refused. Only with version.",
        json_schema_extra=_rules(
            _rule("self.matches('^sha256:[0-9a-f]{64}$')", "a digest is 'sha256:' and 64 hexadecimal digits")
        ),
    )
    registry_ref: RegistryReference | None = Field(
        default=None, description="Registry that holds the model. Default: the first in the operator's settings."
    )

    @property
    def label(self) -> str:
        """How people write it: `fraud@champion`, `fraud/3`. Different references have different labels."""
        wanted = f"{self.name}@{self.alias}" if self.alias else f"{self.name}/{self.version}"
        pinned = f" {self.digest}" if self.digest else ""
        return f"{wanted}{pinned}{f' in {self.registry_ref.name}' if self.registry_ref else ''}"


class ResourceAmounts(_Spec):
    """Amounts of CPU and memory."""

    cpu: Quantity | None = Field(default=None, description="CPU, such as 250m or 2.")
    memory: Quantity | None = Field(default=None, description="Memory, such as 512Mi.")


def _limit_not_below_request(name: str) -> dict[str, str]:
    def amount(of: str) -> str:
        return f"quantity(type(self.{of}.{name}) == int ? string(self.{of}.{name}) : self.{of}.{name})"

    both = f"has(self.requests) && has(self.limits) && has(self.requests.{name}) && has(self.limits.{name})"
    return _rule(
        f"!({both}) || {amount('limits')}.compareTo({amount('requests')}) >= 0",
        f"the {name} limit is below the {name} request; raise the limit or lower the request",
    )


class Resources(_Spec):
    """CPU and memory of each serving pod."""

    model_config = ConfigDict(json_schema_extra=_rules(_limit_not_below_request("cpu"), _limit_not_below_request("memory")))

    requests: ResourceAmounts | None = Field(default=None, description="What each pod is guaranteed.")
    limits: ResourceAmounts | None = Field(default=None, description="What no pod may exceed.")


class RolloutSettings(_Spec):
    """How another version, or other settings of the pods, are rolled out."""

    mode: Literal["Automatic", "Manual", "Paused"] | None = Field(
        default=None,
        description="Automatic: a version that passes every check is rolled out. Manual: another model version waits until it"
        " is named, as NAME/VERSION, in the annotation mlserving.dev/approve. Paused: no rollout starts; what serves goes on,"
        " and a person can still go back. Default: the operator's settings, Automatic.",
    )
    progress_deadline_seconds: int | None = Field(
        default=None,
        ge=30,
        le=7200,
        description="A rollout that makes no progress for so long has failed. Default: the operator's settings, 300.",
    )
    on_failure: Literal["RollBack", "Hold"] | None = Field(
        default=None,
        description="RollBack: a failed rollout is taken back to what served before. Hold: it is left as it is, for a look;"
        " what served before goes on serving. Default: the operator's settings, RollBack.",
    )


class ModelDeploymentSpec(_Spec):
    """What to serve, and with how much."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            _rule(
                "!(has(self.replicas) && has(self.autoscaling))",
                "set replicas or autoscaling, not both: with autoscaling the number of pods is the autoscaler's",
            )
        )
    )

    model: ModelReference = Field(description="The registered model to serve.")
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="Number of serving pods; 0 stops serving. Without replicas and autoscaling, 2 pods are created and"
        " their number is then left to whoever scales the Deployment.",
    )
    autoscaling: Autoscaling | None = Field(
        default=None, description="Let a HorizontalPodAutoscaler choose the number of pods. Not together with replicas."
    )
    resources: Resources | None = Field(
        default=None,
        description="CPU and memory of each serving pod. Each amount that is not given is the operator's default.",
    )
    pod: PodFields | None = Field(
        default=None, description="Labels, placement and identity of the serving pods, where the defaults do not do."
    )
    service: ServiceSettings = Field(default_factory=ServiceSettings, description="The Service in front of the pods.")
    monitoring: Monitoring | None = Field(default=None, description="How the model is watched.")
    network_policy: NetworkPolicySettings | None = Field(
        default=None, description="Who may reach the pods, and whom they may reach."
    )
    disruption_budget: DisruptionBudgetSettings | None = Field(
        default=None, description="How many pods a drain of nodes may take at once."
    )
    gates: Gates = Field(default_factory=Gates, description="What a version must meet before it serves.")
    trust: Trust = Field(
        default_factory=Trust, description="What a model may bring along that is executed or built when it is loaded."
    )
    server: Server = Field(default_factory=Server, description="The server in the pods: its image, its limits, its environment.")
    rollout: RolloutSettings | None = Field(
        default=None, description="How another version, or other settings of the pods, are rolled out."
    )


ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(_Status):
    """A condition as Kubernetes defines it (metav1.Condition)."""

    type: str = Field(max_length=316)
    status: ConditionStatus
    reason: str = Field(max_length=1024)
    message: str = Field(max_length=32768)
    last_transition_time: datetime
    observed_generation: int


class ServingModel(_Status):
    """The model version that answers now."""

    name: str = Field(description="Registered model.")
    version: str = Field(description="Model version.")
    alias: str | None = Field(default=None, description="Alias that led to it, if one did.")
    registry: str = Field(default="", description="Registry that it came from.")
    run_id: str | None = Field(default=None, alias="runID", description="MLflow run that made the version.")
    digest: str = Field(description="sha256 digest of the version's files; each pod verified it.")
    size_bytes: int = Field(description="Size of the version's files.")
    image: str = Field(description="Server image.")
    runtime: str = Field(default="", description="Name of the server image in the operator's catalogue.")
    verified: str = Field(
        description="What each pod proved before it became ready: Answered (the recorded example, with the recorded"
        " answer), Executed (the example, no answer recorded), Loaded (no example recorded)."
    )
    engine: str | None = Field(
        default=None, description="What computes the answers: Compiled, or Native, which is scikit-learn itself."
    )
    engine_reason: str | None = Field(default=None, description="Why it is that engine.")
    rollout: int | None = Field(default=None, description="Number of its rollout, once that was complete.")
    since: datetime = Field(description="Since when it has been serving alone.")


class TargetModel(_Status):
    """What the spec asks for, where that is not what serves."""

    name: str = Field(description="Registered model.")
    version: str = Field(description="Model version.")
    digest: str | None = Field(default=None, description="Digest of its files, once they were pulled.")


class Hold(_Status):
    """What is kept although the spec asks for something else, and who chose it."""

    by: Literal["Person", "Operator"] = Field(description="A person went back, or the operator took a failed rollout back.")
    reason: str = Field(description="What the person did, or why the rollout failed.")
    version: str = Field(description="The version that is held.")
    digest: str = Field(description="Its digest.")
    request: str = Field(description="The spec.model of that moment; for a person's hold, another one ends it.")
    retry: str = Field(default="", description="The retry annotation of that moment; another one ends the hold.")
    since: datetime = Field(description="Since when.")


class QuarantinedVersion(_Status):
    """A version that failed under the settings of that moment: it is not rolled out with them again, unless asked to."""

    name: str = Field(description="Registered model.")
    version: str = Field(description="Model version.")
    digest: str = Field(description="Digest of its files.")
    registry: str = Field(default="", description="Registry that it came from.")
    reason: str = Field(description="Why its rollout failed.")
    message: str = Field(description="The same in words.")
    time: datetime = Field(description="When it failed.")
    rollout: int = Field(default=0, description="Number of the rollout.")
    inputs: str = Field(
        default="", description="Hash of the settings of the pods under which it failed; others end the quarantine."
    )
    limit: float | None = Field(
        default=None,
        description="For LoadTooSlow and LatencyTooHigh: what the gate allowed. A gate that allows more, or a waiver, ends the"
        " quarantine.",
    )
    retry: str = Field(default="", description="The retry annotation of that moment; another one ends the quarantine.")


class HistoryEntry(_Status):
    """One rollout, newest first."""

    revision: int = Field(description="Revision in `kubectl rollout history`.")
    rollout: int = Field(default=0, description="Number that the operator gave to the template.")
    name: str = Field(description="Registered model.")
    version: str = Field(description="Model version.")
    digest: str = Field(description="Digest of its files.")
    registry: str = Field(default="", description="Registry that it came from.")
    run_id: str | None = Field(default=None, alias="runID", description="MLflow run that made the version.")
    size_bytes: int = Field(default=0, description="Size of its files.")
    verified: str = Field(
        default="Loaded",
        description="What a pod has to prove before it becomes ready: Answered, Executed or Loaded, as in `serving`.",
    )
    image: str = Field(description="Server image.")
    runtime: str = Field(default="", description="Name of the server image in the operator's catalogue.")
    scikit_learn: str = Field(default="", description="Version of scikit-learn that the model was logged with.")
    deployed_at: datetime = Field(description="When the rollout was started.")
    ended_at: datetime | None = Field(default=None, description="When another one took its place.")
    cause: str = Field(
        description="What led to it: Created, ModelChanged, SpecChanged, Undo, Retry, Restart, RolledBack, ServerUpdate."
    )
    message: str = Field(default="", description="The same in words, as `kubectl rollout history` shows it.")
    served: bool = Field(
        default=False,
        description="All of its pods were ready once. Only then gates.maxLoadSeconds and gates.maxLatencyP95Milliseconds are not"
        " asked of its files again.",
    )


class ModelDeploymentStatus(_Status):
    """What the operator saw and did. It can be deleted at any time: everything in it is found again."""

    observed_generation: int | None = Field(default=None, description="Generation of the spec that this status is about.")
    serving: ServingModel | None = Field(default=None, description="What answers now.")
    target: TargetModel | None = Field(default=None, description="What the spec asks for, where that is not what serves.")
    hold: Hold | None = Field(default=None, description="Set while something else than the target is kept on purpose.")
    quarantined: list[QuarantinedVersion] = Field(
        default=[], max_length=QUARANTINE_LIMIT, description="Versions that failed, newest first."
    )
    history: list[HistoryEntry] = Field(default=[], max_length=HISTORY_LIMIT, description="The last rollouts, newest first.")
    replicas: int = Field(default=0, description="Number of pods.")
    ready_replicas: int = Field(default=0, description="Number of pods that answer.")
    selector: str | None = Field(default=None, description="Label selector of the pods, for autoscalers.")
    url: str | None = Field(default=None, description="Where to send requests inside the cluster.")
    conditions: list[Condition] = Field(
        default=[],
        description="Available, Ready, Reconciling, Stalled, ModelResolved, GatesPassed.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type == kind), None)
