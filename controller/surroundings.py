"""What a spec may say of what stands around its pods: Service, autoscaler, monitoring, network policy, disruption budget."""

from pydantic import ConfigDict, Field

from controller.pods import Annotations, Labels, Raw
from controller.schema import Spec, rule, rules

DEFAULT_CPU_UTILIZATION = 70


class Autoscaling(Spec):
    """A HorizontalPodAutoscaler that the operator creates and then leaves alone."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.minReplicas <= self.maxReplicas", "minReplicas must not be above maxReplicas"),
            rule(
                "!has(self.metrics) || !has(self.targetCPUUtilizationPercentage)",
                "set metrics or targetCPUUtilizationPercentage, not both: CPU can be one of the metrics",
            ),
        )
    )

    min_replicas: int = Field(default=2, ge=1, le=1000, description="Lower bound of the number of pods.")
    max_replicas: int = Field(ge=1, le=1000, description="Upper bound of the number of pods.")
    target_cpu_utilization_percentage: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        alias="targetCPUUtilizationPercentage",
        description="Average CPU use of the pods, in percent of their CPU request, that the autoscaler aims at."
        f" Default: {DEFAULT_CPU_UTILIZATION}, where no metrics are set.",
    )
    metrics: list[Raw] | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        description="What to scale on instead of CPU: metrics as in a HorizontalPodAutoscaler of autoscaling/v2.",
    )
    behavior: Raw | None = Field(
        default=None,
        description="How fast to scale, as in a HorizontalPodAutoscaler of autoscaling/v2. Default: up when it was wanted for 30"
        " seconds, since loading a model takes CPU too.",
    )


class ServiceSettings(Spec):
    """The Service in front of the pods; it has the name of the ModelDeployment."""

    port: int = Field(default=80, ge=1, le=65535, description="Port of the Service.")
    annotations: Annotations | None = Field(
        default=None, description="Annotations of the Service, such as those of an ingress controller or a mesh."
    )


class ServiceMonitorSettings(Spec):
    """A ServiceMonitor of the Prometheus Operator, where the cluster has it."""

    enabled: bool | None = Field(
        default=None,
        description="Whether to create it. Default: the operator's settings, true. Nothing where its CRD is missing.",
    )
    labels: Labels | None = Field(
        default=None, description="Labels beside those of the operator's settings, such as those that a Prometheus selects by."
    )


class Objectives(Spec):
    """What is promised of the model's answers; alerts look at it. Without it there are none about availability and latency."""

    availability: float | None = Field(
        default=None,
        ge=50,
        le=100,
        description="Percent of requests that are answered without a fault of the server, such as 99.9.",
        json_schema_extra=rules(rule("self < 100.0", "availability is a percentage from 50 to below 100, such as 99.9")),
    )
    latency_milliseconds: int | None = Field(
        default=None, ge=1, le=60000, description="Time in which 99 of 100 requests are answered."
    )


class Monitoring(Spec):
    """How the model is watched."""

    service_monitor: ServiceMonitorSettings | None = Field(default=None, description="The ServiceMonitor of the pods.")
    slo: Objectives | None = Field(default=None, description="What is promised: the service level objectives.")


class NetworkPeer(Spec):
    """Who may send requests, as in a NetworkPolicy of networking.k8s.io/v1."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",
                "set either ipBlock, or podSelector and namespaceSelector, or one of these two",
            )
        )
    )

    pod_selector: Raw | None = Field(default=None, description="Pods with these labels: matchLabels and matchExpressions.")
    namespace_selector: Raw | None = Field(
        default=None, description="In namespaces with these labels; without it, in the namespace of the ModelDeployment."
    )
    ip_block: Raw | None = Field(default=None, description="Addresses: cidr and except.")


class NetworkPolicySettings(Spec):
    """A NetworkPolicy: who may reach the pods, and that they reach nothing but DNS and the operator's store."""

    enabled: bool | None = Field(default=None, description="Whether to create it. Default: the operator's settings, true.")
    ingress_from: list[NetworkPeer] | None = Field(
        default=None, max_length=64, description="Who may send requests. Default: everybody who can reach the pods."
    )


class DisruptionBudgetSettings(Spec):
    """A PodDisruptionBudget: a drain of nodes takes one pod at a time."""

    enabled: bool | None = Field(default=None, description="Whether to create it. Default: the operator's settings, true.")
