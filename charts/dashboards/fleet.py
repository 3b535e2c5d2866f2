"""Every ModelDeployment: which of them needs somebody, and a way to each."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from charts.dashboards import model
from charts.dashboards.boards import chosen, whole
from charts.dashboards.panels import (
    BAD,
    GOOD,
    PLAIN,
    WARNING,
    Panel,
    bands,
    columns,
    graph,
    in_unit,
    leading_to,
    now,
    number,
    query,
    rows,
    said_yes_or_no,
)

UID = "mlserving-fleet"
THEIRS = 'namespace=~"$namespace"'
EACH = "by (namespace, modeldeployment)"
MODEL_DASHBOARD = (
    f"/d/{model.UID}?var-datasource=${{datasource}}&var-namespace=${{__data.fields.namespace}}"
    "&var-modeldeployment=${__data.fields.modeldeployment}&${__url_time_range}"
)


def condition(kind: str) -> str:
    return f'max {EACH} (modeldeployment_status_condition{{{THEIRS}, condition="{kind}", status="true"}})'


def held(by: str) -> str:
    return f'max {EACH} (modeldeployment_status_hold{{{THEIRS}, by="{by}"}})'


def how_many(expr: str) -> str:
    return f"count({expr}) or vector(0)"


def counts() -> list[Panel]:
    def count(title: str, says: str, expr: str, color: str) -> Panel:
        return number(title, says, units.NoUnit, now(how_many(expr)), width=3, thresholds=((1, color),))

    behind = f"max {EACH} (modeldeployment_server_image_behind{{{THEIRS}}}) == 1"
    return [
        number(
            "ModelDeployments",
            "All that the operator knows of in these namespaces.",
            units.NoUnit,
            now(how_many(f"max {EACH} (modeldeployment_info{{{THEIRS}}})")),
            width=3,
            first=PLAIN,
        ),
        count("Not available", "No pod of theirs answers, and every request fails.", f"{condition('Available')} == 0", BAD),
        count("Not ready", "What they ask for does not serve; the table says why.", f"{condition('Ready')} == 0", WARNING),
        count(
            "Taken back", "A rollout failed, and the operator put back what served before.", f"{held('Operator')} == 1", WARNING
        ),
        count("Held by a person", "Somebody went back, and has not gone on since.", f"{held('Person')} == 1", "blue"),
        count(
            "Promise broken",
            "The budget of failures of the last three days is spent.",
            f"modeldeployment:slo_availability:burnrate3d{{{THEIRS}}} > 1",
            BAD,
        ),
        count(
            "Too slow",
            "The budget of late answers of the last three days is spent.",
            f"modeldeployment:slo_latency:burnrate3d{{{THEIRS}}} > 1",
            WARNING,
        ),
        count(
            "Server image behind",
            "Their pods have another server image than a rollout would give them (serverUpdate of the chart): they get it with"
            " their next one.",
            behind,
            "blue",
        ),
    ]


def table() -> Panel:
    reason = f"max by (namespace, modeldeployment, reason) (modeldeployment_status_ready_reason{{{THEIRS}}})"
    info = f"max by (namespace, modeldeployment, requested, version, engine) (modeldeployment_info{{{THEIRS}}})"
    left = ((0, WARNING), (0.25, GOOD))
    return rows(
        "Each ModelDeployment",
        "One row each; a click on its name leads to its own dashboard. Budget: what is left of the failures that the promised"
        " availability allows in three days; empty where nothing is promised or nobody asks.",
        [
            columns(info),
            columns(condition("Available")),
            columns(condition("Ready")),
            columns(reason),
            columns(f"max {EACH} (modeldeployment_status_ready_replicas{{{THEIRS}}})"),
            columns(f"1000 * max {EACH} (modeldeployment_status_serving_since_timestamp_seconds{{{THEIRS}}})"),
            columns(f"1 - modeldeployment:slo_availability:burnrate3d{{{THEIRS}}}"),
            columns(f"modeldeployment:ml_requests:rate5m{{{THEIRS}}}"),
            columns(f"max {EACH} (modeldeployment_server_image_behind{{{THEIRS}}})"),
            columns(f"1000 * max {EACH} (modeldeployment_created{{{THEIRS}}})"),
        ],
        {
            "namespace": "namespace",
            "modeldeployment": "modeldeployment",
            "Value #B": "Available",
            "Value #C": "Ready",
            "reason": "Reason",
            "version": "Version",
            "requested": "Asked for",
            "engine": "Engine",
            "Value #E": "Pods",
            "Value #F": "Serving since",
            "Value #G": "Budget",
            "Value #H": "Requests",
            "Value #I": "Image behind",
            "Value #J": "Created",
        },
        [
            leading_to("modeldeployment", "Its dashboard", MODEL_DASHBOARD),
            said_yes_or_no("Available"),
            said_yes_or_no("Ready"),
            in_unit("Pods", units.NoUnit, ((1, PLAIN),), BAD),
            in_unit("Serving since", units.DateTimeFromNow),
            in_unit("Budget", units.PercentUnit, left, BAD),
            in_unit("Requests", units.RequestsPerSecond),
            said_yes_or_no("Image behind", yes=WARNING, no=PLAIN),
            in_unit("Created", units.DateTimeFromNow),
        ],
        height=14,
    )


def loudest() -> list[Panel]:
    at_most = "topk(10, {})"
    of_each = "{{namespace}}/{{modeldeployment}}"
    quantile = f'modeldeployment_quantile:ml_prediction_latency_seconds:histogram_quantile{{{THEIRS}, quantile="0.99"}}'
    return [
        graph(
            "Requests, the ten busiest",
            "Requests that a server could answer.",
            units.RequestsPerSecond,
            query(at_most.format(f"modeldeployment:ml_requests:rate5m{{{THEIRS}}}"), of_each),
            width=8,
        ),
        graph(
            "Share of failures, the ten worst",
            "Of the requests that a server could answer. A click on the name in the table above leads to what fails.",
            units.PercentUnit,
            query(at_most.format(f"modeldeployment:ml_request_errors:ratio_rate5m{{{THEIRS}}}"), of_each),
            width=8,
        ),
        graph(
            "Latency, the ten slowest",
            "Within which time 99 of 100 requests were answered.",
            units.Seconds,
            query(at_most.format(quantile), of_each),
            width=8,
        ),
        bands(
            "Not ready",
            "Since when which of them does not serve what it asks for, and why.",
            query(
                f"""max by (namespace, modeldeployment, reason) (modeldeployment_status_ready_reason{{{THEIRS}}})
                  and on (namespace, modeldeployment) ({condition("Ready")} == 0)""",
                "{{namespace}}/{{modeldeployment}} {{reason}}",
            ),
        ),
        graph(
            "Reasons of Ready",
            "How many ModelDeployments say which reason. Many with the same one have the same cause: a registry, the store, the"
            " nodes.",
            units.NoUnit,
            query(
                "count by (reason) (max by (namespace, modeldeployment, reason)"
                f" (modeldeployment_status_ready_reason{{{THEIRS}}}))",
                "{{reason}}",
            ),
        ),
    ]


def board() -> Dashboard:
    return whole(
        UID,
        "ModelDeployments, all of them",
        "Every ModelDeployment of the chosen namespaces. It needs monitoring.podMonitor and monitoring.prometheusRule of the"
        " chart.",
        [chosen("namespace", "Namespace", "modeldeployment_info", several=True)],
        {"How many": counts(), "Which": [table()], "Loudest": loudest()},
    )
