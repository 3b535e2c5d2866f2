"""What computes the answers: told by the pods, said in status, and written once."""

import json
from typing import Any

import pytest

from controller.engines import Engine, engine, engines
from controller.index import Index
from controller.resources.rollouts import ROLLOUT
from tests.unit.controller.world import KEY, World, deployed, told

Object = dict[str, Any]
COMPILED = {"engine": "compiled"}
TEXT = {"engine": "sklearn", "engineReason": "TfidfVectorizer is not compiled"}


def pod(words: object, *, ready: bool = True, code: int = 0, rollout: int = 2, container: str = "fetch") -> Object:
    message = words if isinstance(words, str) else json.dumps(words)
    ended = {"terminated": {"exitCode": code, "message": message}}
    return {
        "metadata": {"annotations": {ROLLOUT: str(rollout)}},
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "initContainerStatuses": [{"name": container, "state": ended}],
        },
    }


def test_what_the_fetching_step_left_is_read_in_the_words_of_the_spec() -> None:
    assert engine(pod(COMPILED)) == Engine(name="Compiled")
    assert engine(pod(TEXT)) == Engine(name="Native", reason="TfidfVectorizer is not compiled")


@pytest.mark.parametrize(
    "silent",
    [
        pod(TEXT, ready=False),
        pod(TEXT, code=65),
        pod(TEXT, container="istio-init"),
        pod(""),
        pod("{"),
        pod("[]"),
        pod("7"),
        pod({}),
        pod({"engine": ["compiled"]}),
        pod({"engine": "abacus"}),
        pod("[" * 5000),
        {"metadata": {}},
    ],
    ids=[
        "not ready",
        "failed",
        "somebody else's",
        "silent",
        "no JSON",
        "a list",
        "a number",
        "empty",
        "nested",
        "unknown",
        "deep",
        "nothing",
    ],
)
def test_what_nobody_told_is_not_known(silent: Object) -> None:
    assert engine(silent) is None


def test_what_a_model_may_have_written_is_bounded() -> None:
    found = engine(pod({"engine": "sklearn", "engineReason": "x\x1b[31m\n" * 1000}))
    assert found is not None
    assert len(found.reason) <= 300
    assert found.reason.isprintable()


def test_of_pods_that_differ_the_ones_that_are_not_compiled_tell() -> None:
    small = {"engine": "sklearn", "engineReason": "its time was up"}
    pods = [pod(COMPILED), pod(small), pod(COMPILED), pod(TEXT, rollout=1), pod(TEXT, ready=False)]
    assert engines(pods) == {
        1: Engine(name="Native", reason="TfidfVectorizer is not compiled"),
        2: Engine(name="Native", reason="in 1 of 3 pods: its time was up"),
    }
    assert engines([*reversed(pods)]) == engines(pods)


def test_that_a_pod_tells_its_engine_is_news_once() -> None:
    """The Deployment may be seen complete before its pods are seen ready."""

    def seen(version: int, **more: Any) -> Object:
        body = pod(TEXT, **more)
        body["metadata"] |= {"name": "fraud-1", "namespace": "team", "uid": "u", "resourceVersion": str(version)}
        return body

    index = Index()
    assert [index.put("Pod", seen(1, ready=False)), index.put("Pod", seen(2)), index.put("Pod", seen(3))] == [False, True, False]


def answer(world: World, *words: Object) -> None:
    """Pods of the live template that are ready, and what each told."""
    world.cluster.forget_pods()
    for number, each in enumerate(words):
        metadata = world.deployment["spec"]["template"]["metadata"] | {"name": f"fraud-{number}", "namespace": "team"}
        world.cluster.put("Pod", {"metadata": metadata, "status": pod(each)["status"]})


def serving(world: World) -> tuple[str | None, str | None]:
    found = world.status.serving
    assert found is not None
    return found.engine, found.engine_reason


async def test_status_says_what_computes_the_answers_and_is_written_once(world: World) -> None:
    await deployed(world)
    assert serving(world) == (None, None)
    answer(world, COMPILED, COMPILED)
    world.cluster.writes.clear()
    await world.settle()
    assert serving(world) == ("Compiled", None)
    assert world.cluster.writes == [("status", "ModelDeployment", "fraud")]
    assert told(world) == "fraud version 1 answers from 2 pods"
    world.restart()
    await world.settle()
    assert world.cluster.writes == [("status", "ModelDeployment", "fraud")]


async def test_why_scikit_learn_itself_answers_is_told_where_nobody_asked_for_it(world: World) -> None:
    await deployed(world)
    answer(world, TEXT, TEXT)
    await world.settle()
    assert serving(world) == ("Native", "TfidfVectorizer is not compiled")
    sentence = "scikit-learn itself computes the answers: TfidfVectorizer is not compiled"
    assert told(world) == f"fraud version 1 answers from 2 pods; {sentence}"
    world.cluster.edit("ModelDeployment", "fraud", server={"engine": "Native"})
    await world.settle()
    answer(world, {"engine": "sklearn"}, {"engine": "sklearn"})
    await world.settle()
    assert serving(world) == ("Native", None)
    assert told(world) == "fraud version 1 answers from 2 pods"


async def test_a_pod_that_is_away_for_a_moment_takes_nothing_along(world: World) -> None:
    await deployed(world)
    answer(world, COMPILED)
    await world.settle()
    world.cluster.forget_pods()
    world.cluster.writes.clear()
    await world.settle()
    assert serving(world) == ("Compiled", None)
    assert world.cluster.writes == []


async def test_what_other_pods_told_is_not_said_of_the_next_ones(world: World) -> None:
    await deployed(world)
    answer(world, COMPILED)
    await world.settle()
    world.cluster.edit("ModelDeployment", "fraud", server={"engine": "Native"})
    await world.settle()
    assert serving(world) == (None, None)
    answer(world, TEXT)
    await world.settle()
    assert serving(world)[0] == "Native"


async def test_an_engine_costs_no_read(world: World) -> None:
    await deployed(world)
    world.cluster.reads.clear()
    await world.reconciler.reconcile(KEY)
    plain = sorted(world.cluster.reads)
    answer(world, COMPILED)
    await world.settle()
    world.cluster.reads.clear()
    await world.reconciler.reconcile(KEY)
    assert sorted(world.cluster.reads) == plain


async def test_a_pod_that_tells_its_engine_is_not_in_trouble(world: World) -> None:
    """Pods in trouble are read for every decision."""
    await deployed(world)
    world.registry.aliases["champion"] = "2"
    await world.reconciler.reconcile(KEY)
    world.cluster.roll(ready=False)
    answer(world, COMPILED)
    world.cluster.reads.clear()
    await world.reconciler.reconcile(KEY)
    assert ("list", "Pod") not in world.cluster.reads


async def test_a_model_that_cannot_be_compiled_is_taken_back_where_that_was_asked_for(world: World) -> None:
    await deployed(world, server={"engine": "Compiled"})
    world.registry.aliases["champion"] = "2"
    await world.reconciler.reconcile(KEY)
    world.cluster.roll(ready=False)
    await world.reconciler.reconcile(KEY)
    words = json.dumps({"reason": "NotCompiled", "message": "TfidfVectorizer is not compiled"})
    ended = {"terminated": {"exitCode": 65, "message": words}}
    metadata = world.deployment["spec"]["template"]["metadata"] | {"name": "fraud-x", "namespace": "team"}
    fetch = [{"name": "fetch", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended}]
    world.cluster.put("Pod", {"metadata": metadata, "status": {"initContainerStatuses": fetch}})
    await world.reconciler.reconcile(KEY)
    assert world.live_version == "1"
    assert [(each.version, each.reason) for each in world.status.quarantined] == [("2", "NotCompiled")]
