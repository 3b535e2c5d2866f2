"""What a spec may say of its pods: the part of `controller.api` that follows the pod of Kubernetes."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from controller.schema import Spec, rule, rules

# Keys that the operator writes itself: on pods they are what selects them, or tell what runs in them.
_OWN_PREFIX = "mlserving.dev/"
_OWN_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "pod-template-hash")

_NOT_OWN = rule(f"self.all(key, !key.startsWith('{_OWN_PREFIX}'))", f"keys that begin with {_OWN_PREFIX} are the operator's own")
_LABELS = rules(
    _NOT_OWN,
    rule(
        f"!self.exists(key, key in {list(_OWN_LABELS)})",
        f"the operator sets {', '.join(_OWN_LABELS[:-1])} and {_OWN_LABELS[-1]} itself; choose other keys",
    ),
    rule(
        "self.all(key, self[key].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))",
        "a label's value has letters, digits, '-', '_' and '.', and begins and ends with a letter or digit",
    ),
)
LabelValue = Annotated[str, Field(max_length=63)]
_LABEL_MAP = {"type": "object", "maxProperties": 64, "additionalProperties": {"type": "string", "maxLength": 63}}
LabelKey = Annotated[str, Field(min_length=1, max_length=316)]
Labels = Annotated[dict[str, LabelValue], WithJsonSchema({**_LABEL_MAP, **_LABELS})]
NodeLabels = Annotated[dict[str, LabelValue], WithJsonSchema(_LABEL_MAP)]
Annotations = Annotated[
    dict[str, str],
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": "string", "maxLength": 65536},
            "maxProperties": 64,
            **rules(_NOT_OWN),
        }
    ),
]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Raw = dict[str, Any]
"""A part that Kubernetes defines: taken as it is, and checked by the API server when it is written into the pods."""


class SecretReference(Spec):
    """A Secret in the namespace of the ModelDeployment."""

    name: ObjectName = Field(description="Name of the Secret.")


class Toleration(Spec):
    """A taint of nodes that the pods tolerate, as in a pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
                "a toleration without key needs operator Exists: it tolerates every taint",
            ),
            rule(
                "!has(self.value) || !has(self.operator) || self.operator != 'Exists'",
                "a toleration with operator Exists has no value: the key alone has to match",
            ),
        )
    )

    key: str | None = Field(default=None, min_length=1, max_length=316, description="Key of the taint; without it, every taint.")
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="Equal (the value too has to match; default) or Exists (the key alone)."
    )
    value: LabelValue | None = Field(default=None, description="Value of the taint, for operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; without it, every effect."
    )
    toleration_seconds: int | None = Field(
        default=None, description="How long a pod stays on a node that gets a taint of effect NoExecute; without it, for ever."
    )


class TopologySpreadConstraint(Spec):
    """How the pods are to be spread over nodes or zones, as in a pod."""

    topology_key: str = Field(
        min_length=1,
        max_length=316,
        description="Label of nodes whose values are the places to spread over, such as topology.kubernetes.io/zone.",
    )
    max_skew: int = Field(default=1, ge=1, description="By how many pods two places may differ.")
    when_unsatisfiable: Literal["ScheduleAnyway", "DoNotSchedule"] = Field(
        default="ScheduleAnyway", description="Whether a pod that cannot be placed so is placed all the same."
    )
    min_domains: int | None = Field(default=None, ge=1, description="How many places there are to be, for DoNotSchedule.")
    match_label_keys: list[LabelKey] | None = Field(
        default=None,
        max_length=16,
        description="Labels of which only pods with the same value are counted; pod-template-hash counts each rollout apart.",
    )
    label_selector: Raw | None = Field(default=None, description="The pods that are counted. Default: those of this model.")


class Affinity(Spec):
    """On which nodes, and beside or away from which pods, the pods are to run, as in a pod."""

    node_affinity: Raw | None = Field(default=None, description="Nodes that are required or preferred, as in a pod.")
    pod_affinity: Raw | None = Field(default=None, description="Pods to run beside, as in a pod.")
    pod_anti_affinity: Raw | None = Field(default=None, description="Pods to run away from, as in a pod.")


class PodFields(Spec):
    """What the serving pods get besides what the operator gives them. A change rolls them out anew."""

    labels: Labels | None = Field(default=None, description="Labels of the pods, such as a cost center.")
    annotations: Annotations | None = Field(default=None, description="Annotations of the pods, such as those of a service mesh.")
    service_account_name: ObjectName | None = Field(
        default=None,
        description="ServiceAccount of the pods. Its token is not mounted: the server talks to nobody but the operator's store."
        " Default: the namespace's default account.",
    )
    image_pull_secrets: list[SecretReference] | None = Field(
        default=None, max_length=16, description="Secrets to pull the server image with. Default: those of the ServiceAccount."
    )
    node_selector: NodeLabels | None = Field(default=None, description="Labels that a node must have.")
    tolerations: list[Toleration] | None = Field(default=None, max_length=64, description="Taints of nodes that are tolerated.")
    affinity: Affinity | None = Field(default=None, description="Nodes and neighbors that are required or preferred.")
    topology_spread_constraints: list[TopologySpreadConstraint] | None = Field(
        default=None, max_length=16, description="How the pods are spread over nodes or zones. Default: the scheduler's."
    )
    priority_class_name: ObjectName | None = Field(
        default=None, description="PriorityClass of the pods: who has to give way when nodes are full."
    )
