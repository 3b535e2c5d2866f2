"""One ModelDeployment: is it well, what serves, how fast and how right, and what happened when."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from charts.dashboards import answers, pods
from charts.dashboards.boards import CHOSEN, chosen, whole
from charts.dashboards.panels import BAD, PLAIN, WARNING, Panel, name, now, number, yes_or_no

UID = "mlserving-modeldeployment"
BUDGET_LEFT = ((0, WARNING), (0.25, "green"))


def condition(kind: str) -> str:
    return f'max(modeldeployment_status_condition{{{CHOSEN}, condition="{kind}", status="true"}})'


def budget_left(of: str, spent: str) -> str:
    """Of the budget of 30 days, or of as many of them as Prometheus keeps."""
    return f"""
        1 - sum by (namespace, modeldeployment) (sum_over_time({spent}{{{CHOSEN}}}[30d:5m]))
          / on (namespace, modeldeployment) (sum by (namespace, modeldeployment) (
              sum_over_time(modeldeployment:ml_requests:rate5m{{{CHOSEN}}}[30d:5m])) > 0)
          / on (namespace, modeldeployment) {of}:error_budget{{{CHOSEN}}}"""


def well() -> list[Panel]:
    return [
        yes_or_no(
            "Available",
            "Whether any pod answers. No: every request fails; `kubectl describe mdep` says why.",
            now(condition("Available")),
        ),
        yes_or_no(
            "Ready",
            "Whether what the spec asks for serves. No: something else does, or nothing; the reason stands beside this.",
            now(condition("Ready")),
        ),
        name(
            "Reason",
            "Reason of the condition Ready. controller/README.md lists each, with its way out.",
            now(f"max by (reason) (modeldeployment_status_ready_reason{{{CHOSEN}}})", "{{reason}}"),
        ),
        name(
            "Version",
            "The model version that serves alone.",
            now(f'max by (version) (modeldeployment_info{{{CHOSEN}, version!=""}})', "{{version}}"),
            width=3,
            none="none",
        ),
        name(
            "Asked for",
            "What spec.model asks for. Another version than the one that serves: a rollout is on its way, waits or was taken"
            " back.",
            now(f"max by (requested) (modeldeployment_info{{{CHOSEN}}})", "{{requested}}"),
        ),
        name(
            "Held by",
            "Who keeps something else than what is asked for: a Person (kubectl rollout undo) or the Operator (a rollout failed)."
            " `kubectl describe mdep` has the command to go on.",
            now(f"max by (by) (modeldeployment_status_hold{{{CHOSEN}}}) == 1", "{{by}}"),
            width=3,
            none="nobody",
        ),
        number(
            "Serving since",
            "Since when what serves serves alone.",
            units.DateTimeFromNow,
            now(f"1000 * max(modeldeployment_status_serving_since_timestamp_seconds{{{CHOSEN}}})"),
            width=4,
            first=PLAIN,
            none="never",
        ),
        number(
            "Budget of failures left",
            "Share of the budget of failed requests that is left of 30 days (monitoring.slo.availability), or of as many of them"
            " as Prometheus keeps. Below 0 the promise is broken: roll nothing risky out, and look at what fails.",
            units.PercentUnit,
            now(budget_left("modeldeployment:slo_availability", "modeldeployment:ml_request_errors:rate5m")),
            thresholds=BUDGET_LEFT,
            first=BAD,
            none="none promised",
        ),
        number(
            "Budget of late answers left",
            "The same for answers that took longer than monitoring.slo.latencyMilliseconds: 1 of 100 may.",
            units.PercentUnit,
            now(budget_left("modeldeployment:slo_latency", "modeldeployment:ml_slow_requests:rate5m")),
            thresholds=BUDGET_LEFT,
            first=BAD,
            none="none promised",
        ),
        number(
            "Pods that answer",
            "Pods that are ready. Fewer than asked for over a longer time: `kubectl describe pods` says what they wait for.",
            units.NoUnit,
            now(f"max(modeldeployment_status_ready_replicas{{{CHOSEN}}})"),
            thresholds=((1, "green"),),
            first=BAD,
        ),
        number(
            "Versions quarantined",
            "Versions that failed and are not tried again by themselves; `kubectl describe mdep` lists them under Quarantined.",
            units.NoUnit,
            now(f"max(modeldeployment_status_quarantined_versions{{{CHOSEN}}})"),
            thresholds=((1, WARNING),),
        ),
        yes_or_no(
            "Condition ModelResolved",
            "Whether the registry was found and knows the version. No: what serves goes on; see the registry's panel of the"
            " operator.",
            now(condition("ModelResolved")),
            width=4,
        ),
        yes_or_no(
            "Condition GatesPassed",
            "Whether the version that is asked for meets spec.gates. No: its message in `kubectl describe mdep` names the gate.",
            now(condition("GatesPassed")),
            width=4,
        ),
    ]


def board() -> Dashboard:
    return whole(
        UID,
        "ModelDeployment",
        "One ModelDeployment. It needs monitoring.podMonitor and monitoring.prometheusRule of the chart, and the model's"
        " ServiceMonitor.",
        [
            chosen("namespace", "Namespace", "modeldeployment_info"),
            chosen("modeldeployment", "ModelDeployment", 'modeldeployment_info{namespace="$namespace"}'),
        ],
        {
            "How it is": well(),
            "Traffic": answers.traffic(),
            "Latency": answers.latency(),
            "Predictions": answers.predictions(),
            "Versions and rollouts": pods.versions(),
            "Saturation": pods.saturation(),
            "Objectives (spec.monitoring.slo)": answers.objectives(),
        },
        [pods.ROLLOUTS, pods.TAKEN_BACK, pods.UNDONE],
    )
