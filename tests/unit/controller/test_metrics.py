"""What Prometheus is told: of each resource as it is now, and nothing of what is gone; and the page that lists it all."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from controller import metrics
from controller.__main__ import health_app, metrics_app
from controller.api import RECONCILE_ANNOTATION
from controller.health import Health
from controller.resource_metrics import CONDITIONS, ResourceMetrics
from tests.unit.controller.factories import digest, pod_settings, resource
from tests.unit.controller.fake_cluster import FIRST_SECOND, FakeCluster, Watches
from tests.unit.controller.world import KEY, World, broken, deployed, undone

PAGE = (Path(__file__).parents[3] / "controller" / "README.md").read_text()
ROW = re.compile(r"^\| `(modeldeployment_\w+)` \| (\w+) \|(.*?)\| (.*) \|$", re.MULTILINE)

Series = dict[str, list[tuple[dict[str, str], float]]]


def series(world: World) -> Series:
    """By metric without its common beginning; the labels that name the resource are checked, and left out."""
    registry, found = CollectorRegistry(), Series()
    registry.register(world.reconciler.metrics)
    for family in registry.collect():
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("namespace"), labels.pop("modeldeployment")) == KEY
            found.setdefault(sample.name.removeprefix("modeldeployment_"), []).append((labels, sample.value))
    return found


def true_conditions(world: World) -> set[tuple[str, str]]:
    return {(labels["condition"], labels["status"]) for labels, value in series(world)["status_condition"] if value}


def test_a_standby_says_nothing_of_resources(world: World) -> None:
    assert series(world) == {}


async def test_what_serves_and_how_it_is(world: World) -> None:
    await deployed(world)
    found = series(world)
    (info,) = found.pop("info")
    assert info == (
        {
            "requested": "fraud@champion",
            "model": "fraud",
            "version": "1",
            "digest": world.status.serving.digest[:19] if world.status.serving else "",
            "registry": "main",
            "runtime": "sklearn-1.9",
            "image": "server:1",
            "verified": "Answered",
            "engine": "",
        },
        1.0,
    )
    assert re.fullmatch("sha256:[0-9a-f]{12}", info[0]["digest"])
    conditions = found.pop("status_condition")
    assert len(conditions) == len(CONDITIONS) * 3
    assert {condition.type for condition in world.status.conditions} == set(CONDITIONS)
    assert true_conditions(world) == {(each.type, each.status.lower()) for each in world.status.conditions}
    assert found == {
        "created": [({}, FIRST_SECOND.timestamp() + 1)],
        "metadata_generation": [({}, 1.0)],
        "status_observed_generation": [({}, 1.0)],
        "status_ready_reason": [({"reason": "Serving"}, 1.0)],
        "status_hold": [({"by": "Person"}, 0.0), ({"by": "Operator"}, 0.0)],
        "status_quarantined_versions": [({}, 0.0)],
        "status_served": [({}, 1.0)],
        "status_serving_since_timestamp_seconds": [({}, world.now.timestamp())],
        "status_replicas": [({}, 2.0)],
        "status_ready_replicas": [({}, 2.0)],
        "server_image_behind": [({}, 0.0)],
    }


async def test_another_version_takes_the_place_of_the_old_one(world: World) -> None:
    await deployed(world)
    world.registry.aliases["champion"] = "2"
    await world.settle()
    assert [labels["version"] for labels, _ in series(world)["info"]] == ["2"]


async def test_a_leader_that_begins_says_it_again_though_no_status_changes(world: World) -> None:
    await deployed(world)
    before, written = series(world), list(world.cluster.writes)
    world.restart()
    assert series(world) == {}
    await world.reconciler.reconcile(KEY)
    assert world.cluster.writes == written
    assert series(world) == before


@pytest.mark.parametrize("deleted", [True, False], ids=["gone", "on its way out"])
async def test_what_is_deleted_leaves_no_series(world: World, deleted: bool) -> None:
    await deployed(world)
    if deleted:
        del world.cluster.objects["ModelDeployment", *KEY]
    else:
        world.cluster.objects["ModelDeployment", *KEY]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    await world.reconciler.reconcile(KEY)
    assert series(world) == {}


async def test_what_was_deleted_before_it_was_told_leaves_none_either(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await deployed(world)
    world.reconciler.metrics.forget(KEY)
    world.cluster.edit("ModelDeployment", "fraud", replicas=5)

    async def gone(*_: object) -> bool:
        return False

    monkeypatch.setattr(world.reconciler, "_written", gone)
    await world.reconciler.reconcile(KEY)
    assert series(world) == {}


async def test_a_spec_that_nobody_has_looked_at_yet_shows(world: World) -> None:
    await deployed(world)
    world.cluster.edit("ModelDeployment", "fraud", replicas=5)
    found = series(world)
    assert (found["metadata_generation"], found["status_observed_generation"]) == ([({}, 2.0)], [({}, 1.0)])


async def test_objectives_are_limits_to_compare_with(world: World) -> None:
    await deployed(world, monitoring={"slo": {"availability": 99.9, "latencyMilliseconds": 150}})
    found = series(world)
    assert (found["slo_availability_ratio"], found["slo_latency_seconds"]) == ([({}, 0.999)], [({}, 0.15)])
    world.cluster.edit("ModelDeployment", "fraud", monitoring={"slo": {"latencyMilliseconds": 100}})
    await world.settle()
    found = series(world)
    assert "slo_availability_ratio" not in found
    assert found["slo_latency_seconds"] == [({}, 0.1)]


@pytest.mark.parametrize(
    ("milliseconds", "weights"),
    [
        (100, {"0.1": 1.0}),
        (150, {"0.1": 0.666667, "0.25": 0.333333}),
        (1000, {"1.0": 1.0}),
        (30000, {"30.0": 1.0}),
        (60000, {"30.0": 1.0}),
    ],
)
async def test_a_promised_latency_is_said_in_the_buckets_that_the_servers_have(
    world: World, milliseconds: int, weights: dict[str, float]
) -> None:
    await deployed(world, monitoring={"slo": {"latencyMilliseconds": milliseconds}})
    assert {labels["le"]: weight for labels, weight in series(world)["slo_latency_bucket_weight"]} == weights


async def test_the_bounds_of_an_autoscaler_show_while_there_is_one(world: World) -> None:
    await deployed(world, autoscaling={"minReplicas": 2, "maxReplicas": 7})
    found = series(world)
    assert (found["spec_min_replicas"], found["spec_max_replicas"]) == ([({}, 2.0)], [({}, 7.0)])
    world.cluster.edit("ModelDeployment", "fraud", autoscaling=None)
    await world.settle()
    assert not {"spec_min_replicas", "spec_max_replicas"} & series(world).keys()


async def test_what_never_served_says_so(world: World) -> None:
    world.cluster.put("ModelDeployment", resource())
    await world.settle(ready=False)
    found = series(world)
    assert found["status_served"] == [({}, 0.0)]
    assert found["status_ready_replicas"] == [({}, 0.0)]
    assert "status_serving_since_timestamp_seconds" not in found


async def test_how_many_pods_are_asked_for(world: World) -> None:
    await deployed(world, replicas=3)
    assert series(world)["spec_replicas"] == [({}, 3.0)]


async def test_restarts_are_counted_by_pod_in_every_container(world: World) -> None:
    await deployed(world)
    world.cluster.crash(restarts=3)
    (pod,) = (body for (kind, _, _), body in world.cluster.objects.items() if kind == "Pod")
    pod["status"]["initContainerStatuses"] = [{"name": "fetch", "restartCount": 1}]
    assert series(world)["pod_restarts_total"] == [({"pod": pod["metadata"]["name"]}, 4.0)]
    world.cluster.forget_pods()
    assert "pod_restarts_total" not in series(world)


async def test_who_is_behind_with_the_server_image(world: World) -> None:
    await deployed(world)
    world.pods = pod_settings(image="server:2")
    world.restart()
    await world.settle()
    assert series(world)["server_image_behind"] == [({}, 1.0)]
    assert series(world)["info"][0][0]["image"] == "server:1"
    world.registry.aliases["champion"] = "2"
    await world.settle()
    assert series(world)["server_image_behind"] == [({}, 0.0)]


async def test_a_person_holds(world: World) -> None:
    await undone(world)
    assert series(world)["status_hold"] == [({"by": "Person"}, 1.0), ({"by": "Operator"}, 0.0)]


async def test_the_operator_took_a_version_back(world: World) -> None:
    await broken(world)
    await world.reconciler.reconcile(KEY)
    world.cluster.forget_pods()
    world.cluster.roll()
    await world.settle()
    found = series(world)
    assert found["status_hold"] == [({"by": "Person"}, 0.0), ({"by": "Operator"}, 1.0)]
    assert found["status_quarantined_versions"] == [({}, 1.0)]
    assert found["status_ready_reason"] == [({"reason": "ExampleMismatch"}, 1.0)]
    assert ("Ready", "false") in true_conditions(world)
    assert found["info"][0][0]["version"] == "1"


async def test_one_that_is_left_alone_is_told_of(world: World) -> None:
    await deployed(world)
    world.cluster.annotate("ModelDeployment", "fraud", **{RECONCILE_ANNOTATION: "disabled"})
    await world.reconciler.reconcile(KEY)
    assert series(world)["status_ready_reason"] == [({"reason": "ReconcileDisabled"}, 1.0)]


async def test_one_that_is_not_understood_is_told_of(world: World) -> None:
    await deployed(world)
    world.cluster.edit("ModelDeployment", "fraud", fromTheFuture=1)
    for _ in range(2):  # the second time no status is written
        world.reconciler.metrics.forget(KEY)
        await world.reconciler.reconcile(KEY)
        found = series(world)
        assert found["status_ready_reason"] == [({"reason": "SpecUnsupported"}, 1.0)]
        assert found["info"][0][0]["version"] == "1", "what serves goes on"


async def test_labels_are_bounded_and_conditions_are_ours(world: World) -> None:
    name = "x" * 200
    asked = {"name": name, "version": 1, "digest": digest(1), "registryRef": {"name": "r" * 63}}
    world.cluster.put("ModelDeployment", resource(model=asked))
    await world.reconciler.reconcile(KEY)
    assert all(len(value) <= 300 for labels, _ in series(world)["info"] for value in labels.values())
    theirs = {"type": "Theirs", "status": "True", "reason": "x", "message": "", "observedGeneration": 1}
    live = world.cluster.objects["ModelDeployment", *KEY]
    live["status"]["conditions"].append({**theirs, "lastTransitionTime": "2026-01-02T03:04:05Z"})
    world.cluster.edit("ModelDeployment", "fraud", fromTheFuture=1)
    await world.reconciler.reconcile(KEY)
    assert {labels["condition"] for labels, _ in series(world)["status_condition"]} <= set(CONDITIONS)


def known() -> Iterator[tuple[str, str, tuple[str, ...], bool]]:
    """Name, type and labels of every metric, and whether the store's process has it, too or alone."""
    of_store = set(metrics.store_registry._collector_to_names)
    for collector in vars(metrics).values():
        if isinstance(collector, MetricWrapperBase):
            (family,) = collector.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield name, family.type, collector._labelnames, collector in of_store
    for told in ResourceMetrics(Watches(FakeCluster())).describe():
        yield f"{told.name}_total" if told.type == "counter" else told.name, told.type, tuple(told._labelnames), False


def on_page() -> Iterator[tuple[str, str, tuple[str, ...], bool]]:
    for name, kind, labels, said in ROW.findall(PAGE):
        yield name, kind, tuple(re.findall(r"`(\w+)`", labels)), "*store*" in said


def test_every_metric_is_on_the_page_and_the_page_has_no_other() -> None:
    assert sorted(on_page()) == sorted(known())
    assert {"modeldeployment_info", "modeldeployment_pulls_total"} <= {name for name, *_ in on_page()}


async def test_the_store_shows_what_it_counts() -> None:
    metrics.store_refusals.labels(code="403").inc()
    async with TestClient(TestServer(metrics_app())) as client:
        text = await (await client.get("/metrics")).text()
    shown = set(re.findall(r"^# TYPE (modeldeployment_\w+)", text, re.MULTILINE))
    assert shown == {name for name, _, _, of_store in known() if of_store}
    assert 'modeldeployment_store_refusals_total{code="403"}' in text


async def test_who_wants_a_few_metrics_is_not_given_all() -> None:
    async with TestClient(TestServer(health_app(Health()))) as client:
        answer = await client.get("/metrics", params={"name[]": "modeldeployment_queue_depth"})
        assert set(re.findall(r"^(\w+)", await answer.text(), re.MULTILINE)) == {"modeldeployment_queue_depth"}
        assert (await client.get("/healthz")).status == 200
