"""The pod template: restricted, bounded, and read back as it was written."""

import json
from typing import Any

import pytest

from controller.api import ModelDeploymentSpec
from controller.policy import ServerDefaults
from controller.resources import deployment as deployments
from controller.resources import rollouts
from controller.resources.identity import Owner
from controller.rollout import Failure, PodGates, Word
from tests.unit.controller.factories import NOW, model, pod_settings

OWNER = Owner(namespace="team", name="fraud", uid="u")


def spec(**fields: Any) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate({"model": {"name": "fraud", "alias": "champion"}, **fields})


def template(**fields: Any) -> dict[str, Any]:
    return deployments.pod_template(OWNER, spec(**fields), model(3), 7, pod_settings())


def test_a_rollout_is_read_back_as_it_was_written() -> None:
    word = Word(request="fraud@champion", retry="x")
    annotations = rollouts.rollout_annotations(word, "hash", held=True, cause="SpecChanged", change_cause="why")
    body = deployments.deployment(OWNER, spec(), template(), annotations, 300)
    found = rollouts.read_rollout(body)
    assert found is not None
    assert (found.number, found.model, found.word, found.inputs, found.held) == (7, model(3), word, "hash", "hash")
    assert (found.cause, found.judged) == ("SpecChanged", None)


def test_what_its_pods_judge_themselves_by_and_the_mark_of_those_who_did_are_read_back() -> None:
    gates = PodGates(max_load_seconds=None, max_latency_p95_milliseconds=20, until=NOW)
    judging = deployments.pod_template(OWNER, spec(), model(3), 7, pod_settings(), gates)
    failure = Failure(reason="LatencyTooHigh", message="m", by_version=True, at=NOW, limit=20)
    found = rollouts.read_rollout(deployments.deployment(OWNER, spec(), judging, rollouts.failure_mark(failure), 300))
    assert found is not None
    assert (found.judged, found.failed) == (gates, failure)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"until": 7}', '{"until": "2030-01-01T00:00:00+00:00", "maxLoadSeconds": "x"}']
)
def test_gates_that_somebody_else_wrote_are_none(text: str) -> None:
    body = deployments.deployment(OWNER, spec(), template(), {}, 300)
    body["spec"]["template"]["metadata"]["annotations"][rollouts.GATES] = text
    found = rollouts.read_rollout(body)
    assert found is not None
    assert found.judged is None


def test_a_template_of_somebody_else_is_no_rollout() -> None:
    assert rollouts.read_rollout({"metadata": {}, "spec": {"template": {"metadata": {}, "spec": {"containers": []}}}}) is None


def test_every_container_is_restricted_and_bounded() -> None:
    pod = template()["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod["initContainers"], *pod["containers"]):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "runAsUser" not in security  # OpenShift assigns it
        assert container["resources"]


def test_no_pod_is_taken_away_before_another_is_ready() -> None:
    body = deployments.deployment(OWNER, spec(), template(), {}, 300)
    assert body["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@pytest.mark.parametrize(
    ("said", "requests", "limits"),
    [
        ({}, {"cpu": "250m"}, {}),
        ({"limits": {"memory": "2Gi"}}, {"cpu": "250m"}, {"memory": "2Gi"}),
        ({"limits": {"cpu": "100m"}}, {"cpu": "100m"}, {"cpu": "100m"}),
        ({"requests": {"cpu": 1}, "limits": {"cpu": "2"}}, {"cpu": "1"}, {"cpu": "2"}),
    ],
)
def test_each_amount_that_the_spec_does_not_say_is_the_default(said: Any, requests: Any, limits: Any) -> None:
    """An autoscaler on CPU needs the request for it, also where somebody has only raised the memory limit."""
    (container,) = template(resources=said)["spec"]["containers"]
    assert {part: amounts for part, amounts in container["resources"].items() if amounts} == {
        part: amounts for part, amounts in (("requests", requests), ("limits", limits)) if amounts
    }


def test_a_default_limit_gives_way_to_a_larger_request() -> None:
    pods = pod_settings(default_resources={"requests": {"memory": "256Mi"}, "limits": {"memory": "1Gi", "cpu": "2"}})
    asked = spec(resources={"requests": {"memory": "4Gi"}})
    (container,) = deployments.pod_template(OWNER, asked, model(3), 7, pods)["spec"]["containers"]
    assert container["resources"] == {"requests": {"memory": "4Gi"}, "limits": {"memory": "4Gi", "cpu": "2"}}


def test_only_what_pods_see_changes_the_hash_of_the_inputs() -> None:
    assert deployments.inputs(spec()) == deployments.inputs(spec(replicas=5, service={"port": 81}))
    assert deployments.inputs(spec()) != deployments.inputs(spec(resources={"limits": {"cpu": "1"}}))
    assert deployments.inputs(spec()) == deployments.inputs(spec(pod={}))
    pods = [{"labels": {"a": "b"}}, {"labels": {"a": "c"}}, {"tolerations": [{"operator": "Exists"}]}, {"priorityClassName": "x"}]
    assert len({deployments.inputs(spec(pod=pod)) for pod in ({}, *pods)}) == len(pods) + 1


def test_a_hash_that_an_earlier_version_wrote_is_found_again() -> None:
    """Another hash for the same spec would roll every model at an upgrade of the operator."""
    assert deployments.inputs(spec()) == "44136fa355b3678a"
    assert deployments.inputs(spec(resources={})) == "3a3e8ddf84d2418c"
    assert deployments.inputs(spec(resources={"limits": {"cpu": 1}})) == "d9538adfcb199398"
    assert deployments.inputs(spec(server={"runtime": "Auto", "outOfRange": "Flag"})) == "44136fa355b3678a"
    assert deployments.inputs(spec(server={"runtime": "sklearn-1.9"})) == "327a4d369869040b"
    env = [{"name": "A", "value": "1"}]
    limits = {"requestTimeoutSeconds": 10, "maxBodySize": "256Ki", "outOfRange": "Reject", "env": env}
    assert deployments.inputs(spec(server=limits)) == "9c47f1337b27edee"
    more: dict[str, Any] = {"trust": {"pickle": "Deny"}, "pod": {"labels": {"a": "b"}}, "resources": {"limits": {"cpu": 1}}}
    assert deployments.inputs(spec(server={"image": "own:1"}, **more)) == "71666c51ec1d003e"


def test_all_that_is_said_of_the_server_changes_the_hash() -> None:
    said: list[dict[str, Any]] = [
        {"engine": "Native"},
        {"engine": "Compiled"},
        {"modelName": "fraud-2"},
        {"auth": {"tokenSecretRef": {"name": "a"}}},
        {"auth": {"tokenSecretRef": {"name": "b"}}},
        {"ui": "Disabled"},
        {"logLevel": "Warning"},
        {"accessLogsPerSecond": 0},
        {"batching": {"maxSize": 1}},
        {"batching": {"maxWaiting": 1}},
    ]
    assert len({deployments.inputs(spec(server=server)) for server in ({}, *said)}) == len(said) + 1


def told(template: dict[str, Any]) -> dict[str, Any]:
    (setting,) = template["spec"]["containers"][0]["env"]
    found: dict[str, Any] = json.loads(setting["value"])
    return found


def test_a_server_is_told_only_what_it_would_not_do_anyway() -> None:
    """An image of somebody's own may be older, and refuses a word that it does not know."""
    new = {"engine", "modelName", "ui", "batching", "auth", "logLevel", "accessLogsPerSecond"}
    assert new.isdisjoint(told(template()))
    usual = {"engine": "Auto", "ui": "Enabled", "batching": {}, "logLevel": "Info", "accessLogsPerSecond": 1}
    assert new.isdisjoint(told(template(server=usual)))
    said: dict[str, Any] = {
        "engine": "Native",
        "modelName": "Auto",
        "ui": "Disabled",
        "batching": {"maxSize": 8},
        "logLevel": "Error",
        "accessLogsPerSecond": 0,
    }
    assert {name: value for name, value in told(template(server=said)).items() if name in new} == said


def test_what_the_platform_wants_holds_where_the_spec_does_not_say() -> None:
    pods = pod_settings(default_server=ServerDefaults(engine="Native", ui="Disabled"))

    def chosen(**server: str) -> tuple[str | None, str | None]:
        found = told(deployments.pod_template(OWNER, spec(server=server), model(3), 7, pods))
        return found.get("engine"), found.get("ui")

    assert chosen() == ("Native", "Disabled")
    assert chosen(engine="Auto") == (None, "Disabled")
    assert chosen(engine="Compiled", ui="Enabled") == ("Compiled", None)


@pytest.mark.parametrize(
    ("resources", "requests", "limits"),
    [
        ({"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": 2, "memory": "1Gi"}}, ("250m", "256Mi"), (2, "1Gi")),
        ({"requests": {"memory": "128Mi"}, "limits": {"cpu": "200m", "memory": "256Mi"}}, ("200m", "128Mi"), ("1", "1Gi")),
        ({"requests": {"memory": "8Gi", "cpu": "4"}}, ("4", "8Gi"), ("4", "8Gi")),
        ({"limits": {"memory": "4Gi", "cpu": "1500m"}}, ("1500m", "4Gi"), ("1500m", "4Gi")),
        ({}, ("50m", "64Mi"), ("1", "1Gi")),
    ],
    ids=["the default", "a small server", "requests alone", "limits alone", "none"],
)
def test_compiling_has_room_and_reserves_no_more_than_the_server(
    resources: dict[str, Any], requests: tuple[object, object], limits: tuple[object, object]
) -> None:
    pods = pod_settings(default_resources=resources)
    (fetch,) = deployments.pod_template(OWNER, spec(), model(3), 7, pods)["spec"]["initContainers"]
    assert tuple(fetch["resources"]["requests"].values()) == requests
    assert tuple(fetch["resources"]["limits"].values()) == limits


def test_where_nothing_is_compiled_little_memory_does() -> None:
    (fetch,) = template(server={"engine": "Native"})["spec"]["initContainers"]
    assert fetch["resources"]["limits"]["memory"] == "256Mi"


def test_the_clients_tokens_are_in_the_server_alone() -> None:
    guarded, plain = template(server={"auth": {"tokenSecretRef": {"name": "fraud-tokens"}}})["spec"], template()["spec"]
    (volume,) = [each for each in guarded["volumes"] if each not in plain["volumes"]]
    assert volume["secret"] == {"secretName": "fraud-tokens", "optional": True}
    (mount,) = [each for each in guarded["containers"][0]["volumeMounts"] if each["name"] == volume["name"]]
    assert mount["readOnly"] is True
    assert told({"spec": guarded})["auth"] == {"tokenFiles": [mount["mountPath"]], "secret": "fraud-tokens"}
    assert volume["name"] not in [each["name"] for each in guarded["initContainers"][0]["volumeMounts"]]


def test_what_the_spec_says_of_pods_is_beside_what_the_operator_says() -> None:
    affinity: dict[str, Any] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}
    pod = template(
        pod={
            "labels": {"cost-center": "7"},
            "annotations": {"note": "x"},
            "serviceAccountName": "models",
            "imagePullSecrets": [{"name": "pull"}],
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "ml", "operator": "Exists"}],
            "affinity": affinity,
            "priorityClassName": "high",
        }
    )
    plain = template()
    assert pod["metadata"]["labels"] == {"cost-center": "7", **plain["metadata"]["labels"]}
    assert pod["metadata"]["annotations"] == {"note": "x", **plain["metadata"]["annotations"]}
    assert pod["spec"] == {
        **plain["spec"],
        "serviceAccountName": "models",
        "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "ml", "operator": "Exists"}],
        "affinity": affinity,
        "priorityClassName": "high",
    }


def test_pods_are_spread_among_those_of_their_model_where_the_spec_names_no_others() -> None:
    by_zone = {"topologyKey": "topology.kubernetes.io/zone"}
    others = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"tier": "x"}}}
    own, named = template(pod={"topologySpreadConstraints": [by_zone, others]})["spec"]["topologySpreadConstraints"]
    assert own == {
        **by_zone,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"mlserving.dev/modeldeployment": "fraud"}},
    }
    assert named["labelSelector"] == {"matchLabels": {"tier": "x"}}


def test_the_template_has_the_same_shape_for_every_version() -> None:
    """Fields that only one version had could not be taken away by others who apply; values alone differ."""

    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {key: shape(each) for key, each in value.items()}
        return [shape(each) for each in value] if isinstance(value, list) else type(value)

    gates = PodGates(max_load_seconds=1, max_latency_p95_milliseconds=None, until=NOW)
    other = deployments.pod_template(OWNER, spec(), model(4, run_id="", verified="Loaded"), 8, pod_settings(), gates)
    assert shape(template()) == shape(other)
