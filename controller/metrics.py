"""Every metric of the controller."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

registry = CollectorRegistry()
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)

api_requests = Counter(
    "modeldeployment_api_requests_total", "Requests to the API server.", ["verb", "resource", "code"], registry=registry
)
registry_requests = Counter(
    "modeldeployment_registry_requests_total", "Requests to MLflow.", ["registry", "code"], registry=registry
)
reconciles = Counter("modeldeployment_reconciles_total", "Reconciles by result.", ["result"], registry=registry)
reconcile_seconds = Histogram("modeldeployment_reconcile_seconds", "Duration of a reconcile.", registry=registry)
queue_depth = Gauge("modeldeployment_queue_depth", "Resources that wait for a reconcile.", registry=registry)
pulls = Counter("modeldeployment_pulls_total", "Model versions pulled into the store.", ["source", "result"], registry=registry)
leader = Gauge("modeldeployment_leader", "1 on the replica that leads.", registry=registry)
