"""The index: what was seen last stays, ours is never overtaken by what is older, and only what matters is news."""

from typing import Any

import pytest

from controller.api import NAME_LABEL
from controller.index import LAST_APPLIED, Index
from controller.ports import Object


def child(version: int, *, name: str = "fraud", uid: str = "a", owner: str = "fraud", **parts: Any) -> Object:
    metadata = {
        "namespace": "team",
        "name": name,
        "uid": uid,
        "resourceVersion": str(version),
        "labels": {NAME_LABEL: owner},
        "managedFields": [{"manager": "somebody"}],
        "annotations": {LAST_APPLIED: "{}", "kept": "yes"},
        **parts.pop("metadata", {}),
    }
    return {"metadata": metadata, **parts}


def pod(version: int, **status: Any) -> Object:
    return child(version, name="fraud-1", spec={"containers": []}, status=status)


def test_what_nobody_reads_is_not_kept() -> None:
    index = Index()
    index.put("Service", child(1, spec={"ports": []}, status={"loadBalancer": {}}))
    kept = index.get("Service", "team", "fraud")
    assert kept is not None
    assert kept["spec"] == {"ports": []}
    assert "status" not in kept
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["annotations"] == {"kept": "yes"}


def test_an_older_state_never_replaces_a_newer_one_and_is_no_news() -> None:
    index = Index()
    assert index.put("Service", child(12, spec={"port": 2}))  # the answer to our write
    assert not index.put("Service", child(9, spec={"port": 1}))  # an event that comes late; as text it would be the later one
    assert not index.put("Service", child(12, spec={"port": 2}))  # the event of our write
    assert index.get("Service", "team", "fraud")["spec"] == {"port": 2}  # type: ignore[index]  # None would fail the test


def test_the_end_of_a_predecessor_does_not_take_its_successor_away() -> None:
    index = Index()
    index.put("Service", child(20, uid="b"))
    assert not index.remove("Service", child(15, uid="a"))
    assert index.get("Service", "team", "fraud") is not None
    assert index.remove("Service", child(21, uid="b"))
    assert index.get("Service", "team", "fraud") is None


def test_a_list_takes_away_what_is_gone_and_leaves_what_was_written_since() -> None:
    index = Index()
    for name, version in (("gone", 5), ("there", 6), ("written", 31)):
        index.put("Service", child(version, name=name))
    assert not index.complete("Service", "team")
    gone = index.listed("Service", "", [("team", "there")], 30)
    assert [body["metadata"]["name"] for body in gone] == ["gone"]
    assert index.complete("Service", "team")
    assert {body["metadata"]["name"] for body in index.all("Service")} == {"there", "written"}


def test_a_list_of_one_namespace_says_nothing_about_another() -> None:
    index = Index()
    index.put("Service", child(5))
    index.listed("Service", "other", [], 30)
    assert index.get("Service", "team", "fraud") is not None
    assert index.complete("Service", "other"), "what may not be read there is no reason to read here afresh"
    assert not index.complete("Service", "team")
    index.listed("Service", "team", [("team", "fraud")], 30)
    assert index.complete("Service", "team")


def test_a_kind_that_went_away_takes_its_objects_along_until_it_is_listed_again() -> None:
    index = Index()
    index.put("ServiceMonitor", child(5))
    index.listed("ServiceMonitor", "", [("team", "fraud")], 5)
    index.lost("ServiceMonitor")
    assert index.absent("ServiceMonitor") and not index.complete("ServiceMonitor", "team")
    assert index.get("ServiceMonitor", "team", "fraud") is None
    index.listed("ServiceMonitor", "", [], 9)
    assert index.complete("ServiceMonitor", "team") and not index.absent("ServiceMonitor")


def test_children_are_found_by_their_owner() -> None:
    index = Index()
    index.put("Pod", pod(1))
    index.put("Pod", child(2, name="other-1", owner="other"))
    assert [body["metadata"]["name"] for body in index.of_owner("Pod", ("team", "fraud"))] == ["fraud-1"]
    index.remove("Pod", pod(3))
    assert index.of_owner("Pod", ("team", "fraud")) == []


@pytest.mark.parametrize(
    ("kind", "before", "after", "news"),
    [
        ("HorizontalPodAutoscaler", {"status": {"currentReplicas": 1}}, {"status": {"currentReplicas": 2}}, False),
        ("HorizontalPodAutoscaler", {"spec": {"maxReplicas": 1}}, {"spec": {"maxReplicas": 2}}, True),
        ("Service", {"metadata": {"labels": {NAME_LABEL: "fraud"}}}, {"metadata": {"labels": {NAME_LABEL: "x"}}}, True),
        ("ModelDeployment", {"status": {"replicas": 1}}, {"status": {"replicas": 2}}, False),
        ("ModelDeployment", {}, {"status": {"replicas": 2}}, False),
        ("ModelDeployment", {"status": {"replicas": 1}}, {}, True),
        ("ModelDeployment", {"metadata": {"generation": 1}}, {"metadata": {"generation": 2}}, True),
        ("ModelDeployment", {}, {"metadata": {"annotations": {"mlserving.dev/retry": "1"}}}, True),
        ("Deployment", {"status": {"readyReplicas": 1}}, {"status": {"readyReplicas": 2}}, True),
        (
            "Deployment",
            {"status": {"conditions": [{"type": "Progressing", "lastUpdateTime": "1"}]}},
            {"status": {"conditions": [{"type": "Progressing", "lastUpdateTime": "2"}]}},
            False,
        ),
    ],
)
def test_news_is_what_a_reconcile_looks_at(kind: str, before: Object, after: Object, news: bool) -> None:
    index = Index()
    index.put(kind, child(1, **before))
    assert index.put(kind, child(2, **after)) is news


def test_a_pod_that_comes_up_is_no_news_and_one_in_trouble_is() -> None:
    index = Index()
    starting = {"name": "server", "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}
    crashed = {"name": "server", "restartCount": 1, "state": {"terminated": {"exitCode": 65}}}
    unscheduled = {"type": "PodScheduled", "status": "False", "message": "no room"}
    assert not index.put("Pod", pod(1, phase="Pending"))
    assert not index.put("Pod", pod(2, phase="Pending", containerStatuses=[starting]))
    assert not index.put("Pod", pod(3, phase="Running", containerStatuses=[{**starting, "state": {"running": {}}}]))
    assert index.put("Pod", pod(4, phase="Running", containerStatuses=[crashed]))
    assert not index.put("Pod", pod(5, phase="Running", containerStatuses=[crashed], podIP="10.0.0.1"))
    assert index.put("Pod", pod(6, phase="Pending", conditions=[unscheduled]))
    assert index.remove("Pod", pod(7)), "the trouble is gone with it"
    index.put("Pod", pod(8, phase="Running"))
    assert not index.remove("Pod", pod(9)), "its Deployment tells of an end in peace"
