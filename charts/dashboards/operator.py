"""The operator: who leads, whether it keeps up, and what it asks of the API server, the registries and its store."""

from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models.dashboard import Dashboard

from charts.dashboards.boards import chosen, whole
from charts.dashboards.panels import BAD, PLAIN, WARNING, Panel, bands, graph, heat_map, now, number, query

UID = "mlserving-operator"
OURS = 'namespace="$namespace"'
OF_OUR_PODS = f"and on (namespace, pod) modeldeployment_leader{{{OURS}}}"
FAILED = "none|3..|401|403|407|429|5.."
"""As the alert ModelDeploymentRegistryUnreachable counts them."""


def rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{OURS}}}[$__rate_interval]))"


def well() -> list[Panel]:
    return [
        number(
            "Leaders",
            "Replicas that lead. 0 for ten minutes: nothing is rolled out or back (ModelDeploymentOperatorDown). 2 for a moment"
            " is a change of leader seen by two scrapes.",
            units.NoUnit,
            now(f"sum(modeldeployment_leader{{{OURS}}})"),
            thresholds=((1, "green"), (2, WARNING)),
            first=BAD,
        ),
        number(
            "Replicas",
            "Replicas that are scraped; each serves the store. With one alone, no model can start while it restarts.",
            units.NoUnit,
            now(f"count(modeldeployment_leader{{{OURS}}})"),
            thresholds=((1, WARNING), (2, "green")),
            first=BAD,
        ),
        number(
            "ModelDeployments",
            "Resources that the leader has told of.",
            units.NoUnit,
            now("count(max by (namespace, modeldeployment) (modeldeployment_info)) or vector(0)"),
            first=PLAIN,
        ),
        number(
            "Resources that wait",
            "Length of the queue. A peak after a start is ordinary; one that stays means reconciles are slower than the changes.",
            units.NoUnit,
            now(f"sum(modeldeployment_queue_depth{{{OURS}}})"),
            thresholds=((100, WARNING),),
        ),
        number(
            "Quietest watch",
            "Since when the watch that heard least has heard nothing; 75 s are ordinary. The process is restarted at 240 s.",
            units.Seconds,
            now(f"max(modeldeployment_watch_age_seconds{{{OURS}}})"),
            thresholds=((90, WARNING), (150, BAD)),
        ),
        number(
            "Store used",
            "Bytes in the fullest store of what it may have. At 1 it takes no further version: raise store.sizeLimit.",
            units.PercentUnit,
            now(f"max(modeldeployment_store_bytes{{{OURS}}} / modeldeployment_store_limit_bytes{{{OURS}}})"),
            thresholds=((0.8, WARNING), (0.95, BAD)),
        ),
    ]


def reconciles() -> list[Panel]:
    buckets = rate("modeldeployment_reconcile_seconds_bucket", "le")
    return [
        graph(
            "Reconciles",
            "By result: ok; conflict, where somebody wrote in between and it is tried again; error, which nobody foresaw. Errors"
            " are alerted on: the log has ReconcileFailed with the exception.",
            units.OpsPerSecond,
            query(rate("modeldeployment_reconciles_total", "result"), "{{result}}"),
            width=8,
            stacked=common.StackingMode.NORMAL,
        ),
        graph(
            "Duration of a reconcile",
            "Within which time that share of them was done. When it rises, what they wait for is below: the API server, a"
            " registry, a pull.",
            units.Seconds,
            *(query(f"histogram_quantile({quantile}, {buckets})", f"quantile {quantile}") for quantile in (0.5, 0.9, 0.99)),
            width=8,
        ),
        heat_map(
            "Duration, every reconcile",
            "How many reconciles a second took how long. The slow band is the pulls.",
            units.Seconds,
            query(buckets, "{{le}}"),
            width=8,
        ),
        graph(
            "Queue",
            "Resources that wait for a reconcile.",
            units.NoUnit,
            query(f"sum by (pod) (modeldeployment_queue_depth{{{OURS}}})", "{{pod}}"),
            width=8,
        ),
        graph(
            "Longest wait",
            "How long the resource has waited that waits for longest. Minutes: changes take effect that much later.",
            units.Seconds,
            query(f"max by (pod) (modeldeployment_queue_oldest_seconds{{{OURS}}})", "{{pod}}"),
            width=8,
            thresholds=((60, WARNING),),
        ),
        bands(
            "Who leads",
            "The replica that holds the Lease. Many changes: it is killed, or the API server is too slow to renew it.",
            query(f"max by (pod) (modeldeployment_leader{{{OURS}}})", "{{pod}}"),
            width=8,
        ),
    ]


def cluster() -> list[Panel]:
    return [
        graph(
            "Age of the watches",
            "Since when the quietest watch of each kind has heard something. Above the line for five minutes there is an alert.",
            units.Seconds,
            query(f"max by (resource) (modeldeployment_watch_age_seconds{{{OURS}}})", "{{resource}}"),
            width=8,
            thresholds=((150, BAD),),
        ),
        graph(
            "Requests to the API server",
            "By verb and resource. In a steady state there are but reads and the Lease: a write that goes on and on is a fight"
            " with somebody over a field.",
            units.RequestsPerSecond,
            query(rate("modeldeployment_api_requests_total", "verb, resource"), "{{verb}} {{resource}}"),
            width=8,
        ),
        graph(
            "Answers of the API server",
            "By status. 409 is a conflict, tried again; 403 a right that the chart's roles lack; 429 and 5xx an API server in"
            " trouble.",
            units.RequestsPerSecond,
            query(rate("modeldeployment_api_requests_total", "code"), "{{code}}"),
            width=8,
        ),
    ]


def registries() -> list[Panel]:
    failed = f'sum by (registry) (rate(modeldeployment_registry_requests_total{{{OURS}, code=~"{FAILED}"}}[$__rate_interval]))'
    every = rate("modeldeployment_registry_requests_total", "registry")
    return [
        graph(
            "Requests to MLflow",
            "By registry and status; none: it did not answer.",
            units.RequestsPerSecond,
            query(rate("modeldeployment_registry_requests_total", "registry, code"), "{{registry}} {{code}}"),
            width=8,
        ),
        graph(
            "Share of requests to MLflow that fail",
            "Above the line for ten minutes there is an alert: what serves goes on, nothing new is found. 401 and 403: its"
            " credentials.",
            units.PercentUnit,
            query(f"({failed} or 0 * {every}) / on (registry) ({every} > 0)", "{{registry}}"),
            width=8,
            thresholds=((0.5, BAD),),
            most=1,
        ),
        graph(
            "Pulls within an hour",
            "Versions that were brought into the store: from the registry, or from another replica. Failed ones name their cause"
            " in the resource's condition ModelResolved.",
            units.NoUnit,
            query(f"sum by (source, result) (increase(modeldeployment_pulls_total{{{OURS}}}[1h]))", "{{source}}, {{result}}"),
            width=8,
        ),
    ]


def store() -> list[Panel]:
    return [
        graph(
            "Bytes in the store",
            "Model files of each replica, and what it may have. Near it, what nothing names is dropped; at it, no version is"
            " taken.",
            units.BytesIEC,
            query(f"max by (pod) (modeldeployment_store_bytes{{{OURS}}})", "{{pod}}"),
            query(f"min(modeldeployment_store_limit_bytes{{{OURS}}})", "limit"),
            width=8,
        ),
        graph(
            "Versions in the store",
            "Of each replica, and how many were dropped within an hour since nothing named them any more.",
            units.NoUnit,
            query(f"max by (pod) (modeldeployment_store_versions{{{OURS}}})", "{{pod}}"),
            query(f"sum(increase(modeldeployment_store_dropped_versions_total{{{OURS}}}[1h]))", "dropped"),
            width=8,
        ),
        graph(
            "Refusals and damage within an hour",
            "Requests that the store refused for want of a right: somebody asks for a model that is not theirs, or"
            " allowedNamespaces was narrowed. Files that were not what their names say: a disk that loses data; they are fetched"
            " again.",
            units.NoUnit,
            query(f"sum(increase(modeldeployment_store_refusals_total{{{OURS}}}[1h])) or vector(0)", "refused"),
            query(f"sum(increase(modeldeployment_store_damaged_files_total{{{OURS}}}[1h]))", "damaged"),
            width=8,
            thresholds=((1, WARNING),),
        ),
        graph(
            "CPU",
            "Cores that each process uses.",
            units.NoUnit,
            query(f"rate(process_cpu_seconds_total{{{OURS}}}[$__rate_interval]) {OF_OUR_PODS}", "{{pod}} {{container}}"),
        ),
        graph(
            "Memory",
            "Resident memory of each process: grows with the number of resources. The chart's controller.resources and"
            " store.resources limit it.",
            units.BytesIEC,
            query(f"process_resident_memory_bytes{{{OURS}}} {OF_OUR_PODS}", "{{pod}} {{container}}"),
        ),
    ]


def board() -> Dashboard:
    return whole(
        UID,
        "ModelDeployment operator",
        "The operator itself. It needs monitoring.podMonitor of the chart.",
        [chosen("namespace", "Namespace of the operator", "modeldeployment_leader")],
        {
            "How it is": well(),
            "Reconciles": reconciles(),
            "Kubernetes": cluster(),
            "Registries": registries(),
            "Store and processes": store(),
        },
    )
