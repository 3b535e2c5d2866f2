"""What the operator may do, and what it did: the API server's audit log of everything that ran before this, which runs last.

A right that nobody ever used is one too many, and a request that no right of the chart is for is a right too few. Models have no
rights at all.
"""

import json
from collections.abc import Iterator

import pytest

from tests.clusters.local.cluster import Local
from tests.clusters.provider import chosen
from tests.clusters.settings import Settings
from tests.installation import RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import Kubernetes, Object

Right = tuple[str, str]
"""RESOURCE[/SUBRESOURCE].GROUP, and the verb."""

CHILDREN = (
    "services.",
    "horizontalpodautoscalers.autoscaling",
    "poddisruptionbudgets.policy",
    "networkpolicies.networking.k8s.io",
    "servicemonitors.monitoring.coreos.com",
)
PERHAPS_UNUSED = {
    ("modeldeployments/finalizers.mlserving.dev", "update"): "asked about by OwnerReferencesPermissionEnforcement, not requested",
    **{(child, "get"): "read only where a write has met what the watch had not told yet" for child in CHILDREN},
}


@pytest.fixture(scope="module")
def audited() -> list[Object]:
    """Each request of a service account that is not Kubernetes' own."""
    provider = chosen(Settings.read())
    if not isinstance(provider, Local):
        pytest.skip("only a cluster of our own shows its audit log")
    logs = sorted(provider.audit_log.parent.glob(f"{provider.audit_log.stem}*{provider.audit_log.suffix}"))
    return [json.loads(line) for log in logs for line in log.read_text().splitlines()]


def test_every_right_of_the_operator_is_used_and_no_other_is_needed(cluster: Kubernetes, audited: list[Object]) -> None:
    requests = [event for event in audited if user(event) == f"system:serviceaccount:{SYSTEM_NAMESPACE}:{RELEASE}"]
    requests = [event for event in requests if "objectRef" in event]  # not those for the API's own description
    asked = {right_of(event) for event in requests}
    used = {right_of(event) for event in requests if event["annotations"]["authorization.k8s.io/decision"] == "allow"}
    granted = set(rights(cluster))
    assert asked - granted == set()
    assert granted - used <= PERHAPS_UNUSED.keys() <= granted


def test_nobody_but_operators_asks_the_api_server(audited: list[Object]) -> None:
    others = {user(event) for event in audited if not user(event).endswith(f":{RELEASE}")}
    assert others == set()


def rights(cluster: Kubernetes) -> Iterator[Right]:
    """What the roles of the release grant."""
    for kind, namespace in (("clusterrole", ""), ("role", SYSTEM_NAMESPACE)):
        scope = ("-n", namespace) if namespace else ()
        selected = cluster.kubectl("get", kind, *scope, "-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "json")
        for role in json.loads(selected)["items"]:
            if any(label.startswith("rbac.authorization.k8s.io/aggregate-to-") for label in role["metadata"]["labels"]):
                continue  # for people
            for rule in role["rules"]:
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        yield from ((f"{resource}.{group}", verb) for verb in rule["verbs"])


def right_of(event: Object) -> Right:
    about = event["objectRef"]
    subresource = f"/{about['subresource']}" if "subresource" in about else ""
    return f"{about['resource']}{subresource}.{about.get('apiGroup', '')}", event["verb"]


def user(event: Object) -> str:
    name: str = event["user"]["username"]
    return name
