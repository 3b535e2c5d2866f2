"""The chart's life on a real cluster: what runs is not touched when the operator comes, changes and goes; unless it is told to.

In the order in which a platform engineer would live it: each test goes on where the one before ended.
"""

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tests.e2e.team import NAME, Team
from tests.e2e.test_trouble import leader, scrape
from tests.installation import CHART, RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import Object, until

pytestmark = pytest.mark.timeout(600)


OTHERS = ("one", "another")
RELEASED = (RELEASE, "-n", SYSTEM_NAMESPACE)


@pytest.fixture(scope="module", autouse=True)
def version(team: Team) -> str:
    """What serves from three resources, since before the first upgrade."""
    found = team.train("--trees", "10", "--max-depth", "3")
    for name in (NAME, *OTHERS):
        team.apply(name, replicas=1)
    for name in (NAME, *OTHERS):
        team.until_serving(found, name=name)
    return found


@pytest.fixture(scope="module")
def original(team: Team, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The values with which the other tests have installed the release."""
    values = tmp_path_factory.mktemp("release") / "values.json"
    values.write_text(team.cluster.helm("get", "values", *RELEASED, "-o", "json"))
    return values


def upgrade(team: Team, *options: str, chart: Path = CHART) -> None:
    team.cluster.helm("upgrade", RELEASE, str(chart), *RELEASED[1:], "--reuse-values", *options, "--wait", "--timeout=5m")


def templates(team: Team) -> dict[str, Object]:
    found = team.cluster.list("deployment", team.namespace)
    return {each["metadata"]["name"]: each["spec"]["template"] for each in found if each["metadata"]["name"] != "probe"}


def behind(team: Team) -> dict[str, str]:
    """What the metrics say of each resource here."""
    series = re.compile(r'modeldeployment_server_image_behind\{modeldeployment="(.+)",namespace="(.+)"\} (.+)')
    told = [match for line in scrape(team, leader(team), 8080) if (match := series.fullmatch(line))]
    return {match[1]: match[3] for match in told if match[2] == team.namespace}


def by_digest(team: Team) -> str:
    """The image that the pods run, by another name: that of its content."""
    pod, *_ = team.cluster.list("pod", team.namespace, f"mlserving.dev/modeldeployment={NAME}")
    image: str = pod["status"]["containerStatuses"][0]["imageID"]
    repository, _, digest = image.rpartition("@")
    if repository:
        return f"serverImage.repository={repository},serverImage.digest={digest}"
    return "serverImage.repository={},serverImage.tag={}".format(*image.split(":"))  # one that no registry has


def test_an_upgrade_that_brings_another_server_image_touches_nothing_that_runs(team: Team, original: Path) -> None:
    before, pods = templates(team), running(team)
    upgrade(team, "--set", f"{by_digest(team)},pollSeconds=3")
    team.until_looked_at()
    assert (templates(team), running(team)) == (before, pods)
    until("each to be told as behind", lambda: behind(team) == dict.fromkeys((NAME, *OTHERS), "1.0") or None, 60)


def test_with_rolling_they_are_moved_to_it_one_after_the_other(team: Team, version: str) -> None:
    before = templates(team)
    upgrade(team, "--set", "serverUpdate.policy=Rolling,serverUpdate.maxConcurrent=1")
    until("nobody to be behind", lambda: set(behind(team).values()) == {"0.0"} or None, 180)
    for name in (NAME, *OTHERS):
        team.until_serving(version, name=name)
        assert team.status(name)["history"][0]["cause"] == "ServerUpdate"
    images = {each["spec"]["containers"][0]["image"] for each in templates(team).values()}
    assert len(images) == 1
    assert images.isdisjoint(each["spec"]["containers"][0]["image"] for each in before.values())
    turns = sorted(turn(team, name) for name in (NAME, *OTHERS))
    for (_, arrived), (began, _) in pairwise(turns):
        assert arrived <= began, f"two at the same time: {turns}"


def test_an_uninstall_touches_nothing_either_and_a_new_release_goes_on(team: Team, original: Path, version: str) -> None:
    before, pods, cluster = templates(team), running(team), team.cluster
    cluster.helm("uninstall", *RELEASED, "--wait", "--timeout=5m")
    try:
        until("no operator", lambda: not cluster.list("pod", SYSTEM_NAMESPACE, f"app.kubernetes.io/instance={RELEASE}"), 120)
        assert team.resource()["status"]["serving"]["version"] == version  # CRD and resource are kept
        assert team.predict()["model_version"] == version
    finally:
        cluster.helm("install", RELEASE, str(CHART), *RELEASED[1:], "--values", str(original), "--wait", "--timeout=5m")
    cluster.helm("test", *RELEASED)
    assert not cluster.get("pod", f"{RELEASE}-test", SYSTEM_NAMESPACE), "it leaves nothing"
    team.until_looked_at()
    assert (templates(team), running(team)) == (before, pods)
    for name in OTHERS:
        team.kubectl("delete", "mdep", name)
    second = team.train("--trees", "5", "--max-depth", "2", "--seed", "3")
    team.until_serving(second)


def test_going_back_by_a_version_touches_nothing_that_runs(team: Team, tmp_path: Path) -> None:
    """What a newer version has written, in fields that the older definition does not have, is no reason to roll."""
    version = team.serving()
    before, pods, cluster = templates(team)[NAME], running(team), team.cluster
    revision = json.loads(cluster.helm("history", *RELEASED, "-o", "json"))[-1]["revision"]

    upgrade(team, chart=newer_chart(tmp_path))
    cluster.kubectl("scale", f"statefulset/{RELEASE}", "-n", SYSTEM_NAMESPACE, "--replicas=0")
    until("no operator", lambda: not cluster.list("pod", SYSTEM_NAMESPACE, f"app.kubernetes.io/instance={RELEASE}"), 180)
    try:
        team.patch({"canary": 10})
        status = json.dumps({"status": {"drift": {"score": 0.1}}})
        team.kubectl("patch", f"mdep/{NAME}", "--subresource=status", "--type=merge", "-p", status)
        team.kubectl("annotate", f"deployment/{NAME}", "mlserving.dev/drift=0.1")
        assert (team.status()["drift"], team.resource()["spec"]["canary"]) == ({"score": 0.1}, 10)
    finally:
        cluster.helm("rollback", RELEASE, str(revision), *RELEASED[1:], "--wait", "--timeout=5m")

    asked = team.resource()["metadata"]["generation"]
    until("the older one to have looked", lambda: team.status().get("observedGeneration") == asked or None, 60)
    assert (team.serving(), *team.ready()) == (version, "True", "Serving")
    assert {"drift", "canary"}.isdisjoint({*team.status(), *team.resource()["spec"]})
    assert (templates(team)[NAME], running(team)) == (before, pods)
    assert team.predict()["model_version"] == version


def newer_chart(folder: Path) -> Path:
    """The chart with a definition that has one more field in the spec, and one more in status."""
    chart = folder / "newer"
    shutil.copytree(CHART, chart)
    file = chart / "files" / "crd.yaml"
    definition = yaml.safe_load(file.read_text())
    fields = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    fields["spec"]["properties"]["canary"] = {"type": "integer"}
    fields["status"]["properties"]["drift"] = {"type": "object", "additionalProperties": {"type": "number"}}
    file.write_text(yaml.safe_dump(definition))
    return chart


def running(team: Team) -> dict[str, int]:
    """The pods that serve, and how often each was started anew."""
    pods = team.cluster.list("pod", team.namespace, "mlserving.dev/modeldeployment")
    return {
        pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    }


def turn(team: Team, name: str) -> tuple[str, str]:
    """When the last rollout of `name` began, and when its pod was ready."""
    about = f"mlserving.dev/modeldeployment={name}"
    began = max(each["metadata"]["creationTimestamp"] for each in team.cluster.list("replicaset", team.namespace, about))
    conditions = [
        condition
        for pod in team.cluster.list("pod", team.namespace, about)
        for condition in pod["status"]["conditions"]
        if condition["type"] == "Ready" and "deletionTimestamp" not in pod["metadata"]
    ]
    return began, max(each["lastTransitionTime"] for each in conditions)
