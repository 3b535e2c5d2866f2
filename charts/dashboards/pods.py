"""The pods of a ModelDeployment: which version they have, what they use of what they may, and when that changed."""

from grafana_foundation_sdk.models import common, units

from charts.dashboards.boards import CHOSEN, mark
from charts.dashboards.panels import BAD, WARNING, Panel, bands, columns, graph, in_unit, query, rows

OF_OUR_PODS = f"and on (namespace, pod) ml_model_info{{{CHOSEN}}}"
SERVER = 'namespace="$namespace", container="server"'


def versions() -> list[Panel]:
    return [
        bands(
            "What serves",
            "The version that serves alone, and what computes its answers. The lines through the graphs are the same moments.",
            query(
                f'max by (version, engine, verified) (modeldeployment_info{{{CHOSEN}, version!=""}})',
                "version {{version}}, {{engine}}, {{verified}}",
            ),
        ),
        bands(
            "Reason of Ready",
            "What the resource said of itself. controller/README.md lists each reason with its way out.",
            query(f"max by (reason) (modeldeployment_status_ready_reason{{{CHOSEN}}})", "{{reason}}"),
        ),
        graph(
            "Pods",
            "Pods that are there, that answer, and that are asked for: a number in the spec, or the bounds of the autoscaler."
            " More than are asked for is a rollout; at the upper bound for long, raise it or the limits.",
            units.NoUnit,
            query(f"max(modeldeployment_status_replicas{{{CHOSEN}}})", "there"),
            query(f"max(modeldeployment_status_ready_replicas{{{CHOSEN}}})", "ready"),
            query(f"max(modeldeployment_spec_replicas{{{CHOSEN}}})", "asked for"),
            query(f"max(modeldeployment_spec_min_replicas{{{CHOSEN}}})", "at least"),
            query(f"max(modeldeployment_spec_max_replicas{{{CHOSEN}}})", "at most"),
            width=8,
        ),
        graph(
            "Pods by version",
            "Pods that have loaded their model, by its version: how far a rollout is.",
            units.NoUnit,
            query(f"count by (model_version) (ml_model_info{{{CHOSEN}}})", "version {{model_version}}"),
            width=8,
            stacked=common.StackingMode.NORMAL,
        ),
        graph(
            "Restarts within 30 minutes",
            "Containers of each pod that were started again. Three are alerted on: `kubectl describe pods` says how they ended.",
            units.NoUnit,
            query(f"sum by (pod) (increase(modeldeployment_pod_restarts_total{{{CHOSEN}}}[30m]))", "{{pod}}"),
            width=8,
            thresholds=((3, BAD),),
        ),
        rows(
            "Pods that serve",
            "What each pod has loaded, how long that took, and the 95th percentile of its first predictions. A pod with another"
            " engine than the others is slower or faster than they are; its reason stands beside it.",
            [
                columns(f"max by (pod, model_version, engine, engine_reason, verified) (ml_model_info{{{CHOSEN}}})"),
                columns(f"max by (pod) (ml_model_load_seconds{{{CHOSEN}}})"),
                columns(f"max by (pod) (ml_warm_up_p95_seconds{{{CHOSEN}}})"),
                columns(f"max by (pod) (modeldeployment_pod_restarts_total{{{CHOSEN}}})"),
            ],
            {
                "pod": "Pod",
                "model_version": "Version",
                "engine": "Engine",
                "engine_reason": "Why this engine",
                "verified": "Verified",
                "Value #B": "Loaded in",
                "Value #C": "First predictions",
                "Value #D": "Restarts",
            },
            [in_unit("Loaded in", units.Seconds), in_unit("First predictions", units.Seconds)],
            height=7,
        ),
    ]


def saturation() -> list[Panel]:
    from_kubelet = "The limit is cAdvisor's: without the kubelet's metrics it is not drawn."
    return [
        graph(
            "Requests in progress",
            "Requests of each pod that wait for a prediction. Steadily above the number of cores, there is more work than the"
            " pods can do: more replicas, or more CPU.",
            units.NoUnit,
            query(f"sum by (pod) (ml_predictions_in_progress{{{CHOSEN}}})", "{{pod}}"),
            width=8,
        ),
        graph(
            "Requests turned away",
            "Share of requests that were refused because too many waited (Overloaded), or given up because they took too long"
            " (PredictionTooSlow). Above 0: clients are told to try again; scale up.",
            units.PercentUnit,
            query(
                f"""(sum by (namespace, modeldeployment) (
                  modeldeployment_error_type:ml_prediction_errors:rate5m{{{CHOSEN}, error_type=~"Overloaded|PredictionTooSlow"}})
                  or 0 * modeldeployment:ml_requests:rate5m{{{CHOSEN}}})
                / on (namespace, modeldeployment) (modeldeployment:ml_requests:rate5m{{{CHOSEN}}} > 0)""",
                "turned away",
            ),
            width=8,
        ),
        graph(
            "CPU throttled",
            "Share of the periods in which the kernel stopped the server for having used up its CPU limit: that is latency. Raise"
            " resources.limits.cpu, or leave it out. This panel needs the kubelet's metrics (cAdvisor).",
            units.PercentUnit,
            query(
                f"""max by (pod) (
                  rate(container_cpu_cfs_throttled_periods_total{{{SERVER}}}[$__rate_interval])
                    / rate(container_cpu_cfs_periods_total{{{SERVER}}}[$__rate_interval]) {OF_OUR_PODS})""",
                "{{pod}}",
            ),
            width=8,
            thresholds=((0.25, WARNING),),
        ),
        graph(
            "CPU",
            f"Cores that each server uses. {from_kubelet} At it, requests wait: raise the limit, or the replicas.",
            units.NoUnit,
            query(f"sum by (pod) (rate(process_cpu_seconds_total{{{CHOSEN}}}[$__rate_interval]))", "{{pod}}"),
            query(
                f"min(container_spec_cpu_quota{{{SERVER}}} / container_spec_cpu_period{{{SERVER}}} {OF_OUR_PODS})",
                "limit",
            ),
        ),
        graph(
            "Memory",
            f"Resident memory of each server. {from_kubelet} Past it the kernel ends the pod (OutOfMemory): raise"
            " resources.limits.memory.",
            units.BytesIEC,
            query(f"max by (pod) (process_resident_memory_bytes{{{CHOSEN}}})", "{{pod}}"),
            query(f"min(container_spec_memory_limit_bytes{{{SERVER}}} {OF_OUR_PODS}) > 0", "limit"),
        ),
    ]


def held(by: str) -> str:
    """For five minutes, so that none is missed where a month is looked at; an operator that was away for a moment is none."""
    hold = f'modeldeployment_status_hold{{{CHOSEN}, by="{by}"}}'
    return f"""(max by (namespace, modeldeployment) ({hold}) == 1)
        and on (namespace, modeldeployment) (min by (namespace, modeldeployment) (min_over_time({hold}[5m])) == 0)"""


ROLLOUTS = mark(
    "Rollout",
    f"""1000 * max by (namespace, modeldeployment) (modeldeployment_status_serving_since_timestamp_seconds{{{CHOSEN}}})
        * on (namespace, modeldeployment) group_right
      max by (namespace, modeldeployment, version, image) (modeldeployment_info{{{CHOSEN}, version!=""}})""",
    "blue",
    "version {{version}} serves alone, on {{image}}",
    at_value=True,
)
TAKEN_BACK = mark(
    "Taken back by the operator",
    held("Operator"),
    "red",
    "a rollout failed, and what served before was put back: kubectl describe mdep",
)
UNDONE = mark(
    "Taken back by a person",
    held("Person"),
    "orange",
    "kubectl rollout undo: the earlier version is held until somebody goes on",
)
