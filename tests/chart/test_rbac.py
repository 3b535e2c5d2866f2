"""The operator may do what it does, and nothing else; people may use ModelDeployments by the roles they have."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

from controller import api, cluster
from tests.chart.rendering import CHART, CLUSTER_WIDE_NAME, NAME, NAMESPACE, Helm, Object, Rendered

READ = {"get", "list", "watch"}

WORK = {  # (API group, resource): verbs, wherever ModelDeployments are served
    (api.GROUP, api.PLURAL): READ,
    (api.GROUP, f"{api.PLURAL}/status"): {"update"},
    (api.GROUP, f"{api.PLURAL}/finalizers"): {"update"},
    ("apps", "deployments"): READ | {"create", "patch"},
    ("apps", "deployments/scale"): {"patch"},
    ("apps", "replicasets"): {"list", "patch", "delete"},
    ("", "pods"): {"list", "watch"},
    ("", "services"): READ | {"create", "patch"},
    ("autoscaling", "horizontalpodautoscalers"): READ | {"create", "patch", "delete"},
    ("policy", "poddisruptionbudgets"): READ | {"create", "patch", "delete"},
    ("networking.k8s.io", "networkpolicies"): READ | {"create", "patch", "delete"},
    ("monitoring.coreos.com", "servicemonitors"): READ | {"create", "patch", "delete"},
    ("", "events"): {"create"},
}
STORE = {("authentication.k8s.io", "tokenreviews"): {"create"}}
LEASE = {("coordination.k8s.io", "leases"): {"create", "get", "update"}}


def granted(rules: Iterable[Object]) -> dict[tuple[str, str], set[str]]:
    rights: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                rights[group, resource] |= set(rule["verbs"])
    return dict(rights)


def roles(rendered: Rendered) -> list[Object]:
    return [*rendered.all("ClusterRole"), *rendered.all("Role")]


def test_the_operator_has_exactly_the_rights_it_needs(rendered: Rendered) -> None:
    assert granted(rendered.one("ClusterRole", CLUSTER_WIDE_NAME)["rules"]) == WORK
    assert granted(rendered.one("Role", f"{NAME}-lease")["rules"]) == LEASE
    assert granted(rendered.one("ClusterRole", f"{CLUSTER_WIDE_NAME}-store")["rules"]) == STORE


def test_the_rights_cover_every_kind_that_the_operator_talks_about() -> None:
    def group(prefix: str) -> str:
        return prefix.split("/")[2] if prefix.startswith("/apis/") else ""

    talked_about = {(group(prefix), plural) for prefix, plural in cluster._PATHS.values()}
    assert {key for key in WORK | LEASE | STORE if "/" not in key[1]} == talked_about


def test_the_readme_says_what_it_may_do_where_it_serves() -> None:
    table = (CHART / "README.md").read_text().split("## What it may do")[1].split("| everywhere |")[0]
    rows = re.findall(r"^\|[^|]*\| ([a-z/, ]+) \| ([a-z, ]+) \|$", table, re.MULTILINE)
    told = {resource: set(verbs.split(", ")) for resources, verbs in rows for resource in resources.split(", ")}
    assert told == {resource: verbs for (_, resource), verbs in WORK.items()}


def test_no_wildcards(helm: Helm, rendered: Rendered) -> None:
    for role in [*roles(rendered), *roles(helm.render(watchNamespaces=["team"]))]:
        for rule in role["rules"]:
            assert not any("*" in word for words in rule.values() for word in words), role["metadata"]["name"]


def test_only_its_own_lease_can_be_taken(rendered: Rendered) -> None:
    for rule in rendered.one("Role", f"{NAME}-lease")["rules"]:
        if rule["verbs"] != ["create"]:  # a name that is not there yet cannot be granted
            assert rule["resourceNames"] == [NAME]


def test_the_rights_go_to_the_account_of_the_pods(helm: Helm) -> None:
    cases: dict[str, dict[str, Any]] = {
        NAME: {},
        "mine": {"name": "mine"},
        "default": {"create": False},
        "given": {"create": False, "name": "given"},
    }
    for expected, account in cases.items():
        rendered = helm.render(serviceAccount=account)
        assert rendered.pod["serviceAccountName"] == expected
        created = [found["metadata"]["name"] for found in rendered.all("ServiceAccount")]
        assert created == ([expected] if account.get("create", True) else [])
        for binding in [*rendered.all("ClusterRoleBinding"), *rendered.all("RoleBinding")]:
            assert binding["subjects"] == [{"kind": "ServiceAccount", "name": expected, "namespace": NAMESPACE}]


def test_the_account_carries_its_annotations(helm: Helm) -> None:
    rendered = helm.render(serviceAccount={"annotations": {"team": "platform"}})
    assert rendered.one("ServiceAccount")["metadata"]["annotations"] == {"team": "platform"}


def test_with_namespaces_there_is_no_right_outside_of_them(helm: Helm) -> None:
    rendered = helm.render(watchNamespaces=["team-a", "team-b"])
    (tokens,) = rendered.all("ClusterRoleBinding")
    assert tokens["roleRef"]["name"] == f"{CLUSTER_WIDE_NAME}-store", "whose token a pod shows: a token belongs to no namespace"
    assert not [role for role in rendered.all("ClusterRole") if role["metadata"]["name"] == CLUSTER_WIDE_NAME]
    for namespace in ("team-a", "team-b"):
        assert granted(rendered.one("Role", namespace=namespace)["rules"]) == WORK
        binding = rendered.one("RoleBinding", namespace=namespace)
        assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
    assert {role["metadata"]["namespace"] for role in rendered.all("Role")} == {"team-a", "team-b", NAMESPACE}
    assert len(rendered.all("Role")) == len(rendered.all("RoleBinding")) == 3


def test_its_own_namespace_can_be_one_that_it_serves(helm: Helm) -> None:
    rendered = helm.render(watchNamespaces=[NAMESPACE])
    assert {role["metadata"]["name"] for role in rendered.all("Role")} == {NAME, f"{NAME}-lease"}


def test_nothing_cluster_wide_where_nothing_may_be(helm: Helm) -> None:
    rendered = helm.render(
        watchNamespaces=["team"], rbac={"aggregateRoles": False}, crds={"enabled": False}, store={"authentication": False}
    )
    assert not [found["kind"] for found in rendered.objects if "namespace" not in found["metadata"]]


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["team-a"]}])
def test_two_releases_of_one_name_have_nothing_in_common_but_the_definition(helm: Helm, values: dict[str, Any]) -> None:
    def cluster_wide(rendered: Rendered) -> set[tuple[str, str]]:
        return {(each["kind"], each["metadata"]["name"]) for each in rendered.objects if "namespace" not in each["metadata"]}

    one, other = (helm.render("--namespace", namespace, **values) for namespace in (NAMESPACE, "another"))
    assert cluster_wide(one) & cluster_wide(other) == {("CustomResourceDefinition", f"{api.PLURAL}.{api.GROUP}")}
    for rendered in (one, other):
        roles_there = {role["metadata"]["name"] for role in rendered.all("ClusterRole")}
        assert {binding["roleRef"]["name"] for binding in rendered.all("ClusterRoleBinding")} <= roles_there


def test_people_use_modeldeployments_by_the_roles_they_have(rendered: Rendered) -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"

    def of(role: str) -> dict[tuple[str, str], set[str]]:
        return granted(
            rule
            for candidate in rendered.all("ClusterRole")
            if candidate["metadata"]["labels"].get(f"{prefix}{role}") == "true"
            for rule in candidate["rules"]
        )

    resource, scale, status = ((api.GROUP, f"{api.PLURAL}{part}") for part in ("", "/scale", "/status"))
    assert of("view") == {resource: READ, scale: {"get"}, status: {"get"}}
    assert of("edit") == of("admin")
    assert of("edit")[resource] == READ | {"create", "update", "patch", "delete", "deletecollection"}
    assert of("edit")[scale] == {"get", "update", "patch"}, "kubectl scale mdep/NAME"
    assert of("edit")[status] == {"get"}, "status is the operator's"
