"""Every metric of the operator, but those of each ModelDeployment (`controller.resource_metrics`).

The operator is two processes, and each shows a registry of its own: `registry` the one that reconciles, `store_registry` the
one that serves the store.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double every series, and nothing here asks for them

registry, store_registry = CollectorRegistry(), CollectorRegistry()
for each in (registry, store_registry):
    ProcessCollector(registry=each)
    PlatformCollector(registry=each)

api_requests = Counter(
    "modeldeployment_api_requests_total", "Requests to the API server.", ["verb", "resource", "code"], registry=registry
)
registry_requests = Counter(
    "modeldeployment_registry_requests_total", "Requests to MLflow.", ["registry", "code"], registry=registry
)
reconciles = Counter("modeldeployment_reconciles_total", "Reconciles by result.", ["result"], registry=registry)
reconcile_seconds = Histogram("modeldeployment_reconcile_seconds", "Duration of a reconcile.", registry=registry)
queue_oldest = Gauge(
    "modeldeployment_queue_oldest_seconds", "Since when the resource waits that waits for longest.", registry=registry
)
watch_age = Gauge(
    "modeldeployment_watch_age_seconds",
    "Seconds since the quietest watch of a resource heard something, bookmarks included.",
    ["resource"],
    registry=registry,
)
queue_depth = Gauge("modeldeployment_queue_depth", "Resources that wait for a reconcile.", registry=registry)
pulls = Counter("modeldeployment_pulls_total", "Model versions pulled into the store.", ["source", "result"], registry=registry)
store_registry.register(pulls)  # a pod that asks for what is not here has it fetched from another replica
store_bytes = Gauge("modeldeployment_store_bytes", "Bytes of model files in this replica's store.", registry=registry)
store_limit_bytes = Gauge("modeldeployment_store_limit_bytes", "Bytes that the store may have.", registry=registry)
store_versions = Gauge("modeldeployment_store_versions", "Model versions in this replica's store.", registry=registry)
store_dropped = Counter(
    "modeldeployment_store_dropped_versions_total", "Model versions dropped since nothing named them.", registry=registry
)
store_refusals = Counter(
    "modeldeployment_store_refusals_total",
    "Requests that the store refused for want of a right.",
    ["code"],
    registry=store_registry,
)
store_damaged = Counter(
    "modeldeployment_store_damaged_files_total", "Files that were not what their names say any more.", registry=store_registry
)
leader = Gauge("modeldeployment_leader", "1 on the replica that leads.", registry=registry)
