"""The children beside the Deployment as they are built: what the spec says, and what holds where it does not."""

from typing import Any

from controller.api import ModelDeploymentSpec
from controller.resources.autoscaler import autoscaler
from controller.resources.disruption_budget import disruption_budget
from controller.resources.identity import Owner, labels
from controller.resources.network_policy import NetworkSurroundings, network_policy
from controller.resources.service import service
from controller.resources.service_monitor import service_monitor

OWNER = Owner(namespace="team", name="fraud", uid="u")
NETWORK = NetworkSurroundings(
    by_default=True,
    monitoring_from=[{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}],
    operator_namespace="mlserving-system",
    store_pods={"app": "operator"},
    store_port=8082,
)
BOUNDS = {"minReplicas": 2, "maxReplicas": 5}


def spec(**fields: Any) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate({"model": {"name": "fraud", "alias": "champion"}, **fields})


class TestAutoscaler:
    def test_is_there_only_where_the_spec_wants_one(self) -> None:
        assert autoscaler(OWNER, spec()) is None

    def test_aims_at_the_cpu_of_the_server(self) -> None:
        built = autoscaler(OWNER, spec(autoscaling=BOUNDS))
        assert built is not None
        target = {"type": "Utilization", "averageUtilization": 70}
        cpu = {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "server", "target": target}}
        assert built["spec"]["metrics"] == [cpu]
        assert built["spec"]["behavior"] == {"scaleUp": {"stabilizationWindowSeconds": 30}}

    def test_scales_on_what_the_spec_names(self) -> None:
        metrics = [{"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "9"}}}]
        behavior = {"scaleDown": {"stabilizationWindowSeconds": 600}}
        built = autoscaler(OWNER, spec(autoscaling={**BOUNDS, "metrics": metrics, "behavior": behavior}))
        assert built is not None
        assert (built["spec"]["metrics"], built["spec"]["behavior"]) == (metrics, behavior)


class TestDisruptionBudget:
    def test_takes_one_pod_at_a_time_and_a_single_one_keeps_no_node_from_being_drained(self) -> None:
        built = disruption_budget(OWNER, spec(replicas=1), by_default=True)
        assert built is not None
        assert built["spec"]["maxUnavailable"] == 1
        assert "minAvailable" not in built["spec"]
        assert built["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"

    def test_the_spec_wins_over_the_default(self) -> None:
        assert disruption_budget(OWNER, spec(disruptionBudget={"enabled": False}), by_default=True) is None
        assert disruption_budget(OWNER, spec(disruptionBudget={"enabled": True}), by_default=False) is not None
        assert disruption_budget(OWNER, spec(disruptionBudget={}), by_default=False) is None


class TestNetworkPolicy:
    def policy(self, **fields: Any) -> dict[str, Any]:
        built = network_policy(OWNER, spec(networkPolicy=fields), NETWORK)
        assert built is not None
        found: dict[str, Any] = built["spec"]
        return found

    def test_requests_come_from_everybody_and_metrics_go_to_the_monitoring(self) -> None:
        requests, metrics = self.policy()["ingress"]
        assert requests == {"ports": [{"port": 8080, "protocol": "TCP"}]}
        assert metrics == {"ports": [{"port": 8081, "protocol": "TCP"}], "from": list(NETWORK.monitoring_from)}

    def test_requests_come_from_whom_the_spec_names(self) -> None:
        peers = [{"podSelector": {"matchLabels": {"app": "shop"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]
        requests, _ = self.policy(ingressFrom=peers)["ingress"]
        assert requests["from"] == peers

    def test_pods_reach_dns_and_the_store_and_nobody_else(self) -> None:
        dns, store = self.policy()["egress"]
        assert {(port["port"], port["protocol"]) for port in dns["ports"]} >= {(53, "UDP"), (53, "TCP")}
        assert store == {
            "ports": [{"port": 8082, "protocol": "TCP"}],
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mlserving-system"}},
                    "podSelector": {"matchLabels": {"app": "operator"}},
                }
            ],
        }
        assert self.policy()["policyTypes"] == ["Ingress", "Egress"]

    def test_the_spec_can_do_without(self) -> None:
        assert network_policy(OWNER, spec(networkPolicy={"enabled": False}), NETWORK) is None


class TestServiceMonitor:
    def test_scrapes_a_port_that_the_service_does_not_publish(self) -> None:
        built = service_monitor(OWNER, spec(), by_default=True, labels={})
        assert built is not None
        (endpoint,) = built["spec"]["endpoints"]
        (published,) = service(OWNER, spec())["spec"]["ports"]
        assert endpoint["targetPort"] == "management" != published["targetPort"]
        assert built["spec"]["selector"]["matchLabels"].items() <= service(OWNER, spec())["metadata"]["labels"].items()

    def test_series_carry_the_name_of_the_resource(self) -> None:
        built = service_monitor(OWNER, spec(), by_default=True, labels={})
        assert built is not None
        source = "__meta_kubernetes_service_label_mlserving_dev_modeldeployment"
        (endpoint,) = built["spec"]["endpoints"]
        assert endpoint["relabelings"] == [{"sourceLabels": [source], "targetLabel": "modeldeployment"}]

    def test_labels_are_those_of_the_operator_and_of_the_spec(self) -> None:
        said = spec(monitoring={"serviceMonitor": {"labels": {"tier": "gold"}}})
        built = service_monitor(OWNER, said, by_default=True, labels={"release": "stack", "tier": "none"})
        assert built is not None
        assert built["metadata"]["labels"] == {"release": "stack", "tier": "gold", **labels(OWNER)}

    def test_the_spec_wins_over_the_default(self) -> None:
        off, on = ({"serviceMonitor": {"enabled": enabled}} for enabled in (False, True))
        assert service_monitor(OWNER, spec(monitoring=off), by_default=True, labels={}) is None
        assert service_monitor(OWNER, spec(monitoring=on), by_default=False, labels={}) is not None
