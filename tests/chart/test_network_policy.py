"""The operator's NetworkPolicy: it lets in whom the operator serves, and out to what the operator asks."""

from typing import Any

from controller.resources.deployment import HTTP_PORT
from controller.resources.identity import Owner, selector
from controller.settings import Settings
from tests.chart.rendering import NAME, REGISTRIES, Helm, Object, Rendered

MONITORING = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
DNS = {53, 5353}
API_SERVER = {443, 6443}


def policy(helm: Helm, **values: Any) -> tuple[Rendered, Object]:
    rendered = helm.render(**{"networkPolicy": {"enabled": True}, **values})
    spec: Object = rendered.one("NetworkPolicy")["spec"]
    return rendered, spec


def ports(rule: Object) -> set[int | str]:
    return {port["port"] for port in rule["ports"]}


def selected(peer: Object, labels: dict[str, str]) -> bool:
    wanted = peer.get("podSelector", {})
    there = all(expression["key"] in labels for expression in wanted.get("matchExpressions", []))
    return there and wanted.get("matchLabels", {}).items() <= labels.items()


def allowed(rules: list[Object], labels: dict[str, str], *, elsewhere: bool) -> set[int | str]:
    """The ports that a pod with these labels may reach, in the operator's namespace or in another."""
    found: set[int | str] = set()
    for rule in rules:
        if any(selected(peer, labels) and ("namespaceSelector" in peer or not elsewhere) for peer in rule["from"]):
            found |= ports(rule)
    return found


def test_there_is_none_unless_it_is_wanted(rendered: Rendered) -> None:
    assert not rendered.all("NetworkPolicy")


def test_it_is_about_the_operators_pods_both_ways(helm: Helm) -> None:
    rendered, spec = policy(helm)
    template = rendered.one("StatefulSet")["spec"]
    assert spec["podSelector"]["matchLabels"] == template["selector"]["matchLabels"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    names = {port["name"] for name in ("controller", "store") for port in rendered.container(name)["ports"]}
    for rule in spec["ingress"]:
        assert ports(rule) <= names


def test_models_fetch_from_the_store_and_from_nothing_else(helm: Helm) -> None:
    rendered, spec = policy(helm, networkPolicy={"enabled": True, "monitoringFrom": []})
    model = selector(Owner(namespace="team", name="fraud", uid="1"))
    assert allowed(spec["ingress"], model, elsewhere=True) == {"store"}
    assert allowed(spec["ingress"], {"app": "web"}, elsewhere=True) == set()
    own = rendered.one("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert allowed(spec["ingress"], own, elsewhere=False) == {"store"}
    assert allowed(spec["ingress"], own, elsewhere=True) == set()
    assert HTTP_PORT not in {port for rule in spec["ingress"] for port in ports(rule)}


def test_metrics_are_for_the_monitoring(helm: Helm) -> None:
    _, spec = policy(helm, networkPolicy={"enabled": True, "monitoringFrom": [MONITORING]})
    (rule,) = [rule for rule in spec["ingress"] if MONITORING in rule["from"]]
    assert ports(rule) == {"health", "store-metrics"}


def test_helms_test_reaches_what_it_asks(helm: Helm) -> None:
    rendered, spec = policy(helm, networkPolicy={"enabled": True, "monitoringFrom": []})
    labels = rendered.one("Pod", f"{NAME}-test")["metadata"]["labels"]
    assert allowed(spec["ingress"], labels, elsewhere=False) == {"health", "store"}


def test_the_way_out_leads_to_dns_replicas_api_server_and_registries(helm: Helm) -> None:
    more = [
        {"name": "tls", "uri": "https://mlflow.example/base"},
        {"name": "plain", "uri": "http://mlflow.example"},
        {"name": "port", "uri": "https://[2001:db8::1]:8443"},
    ]
    rendered, spec = policy(helm, registries=[*REGISTRIES, *more])
    dns, replicas, asked = spec["egress"]
    assert (ports(dns), {port["protocol"] for port in dns["ports"]}) == (DNS, {"UDP", "TCP"})
    assert replicas["to"] == [{"podSelector": spec["podSelector"]}]
    assert ports(replicas) == {"store"}
    assert "to" not in asked
    assert ports(asked) == API_SERVER | {5000, 80, 8443}
    assert Settings.model_validate_json(rendered.settings()).store_port not in ports(asked)


def test_and_where_the_platform_says(helm: Helm) -> None:
    rule = {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 3128}]}
    _, spec = policy(helm, networkPolicy={"enabled": True, "egress": [rule]})
    assert spec["egress"][-1] == rule
