"""The chart's life on a real cluster: what runs is not touched when the operator comes, changes and goes."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.e2e.team import NAME, Team
from tests.installation import CHART, RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import Object, until

pytestmark = pytest.mark.timeout(600)


def template(team: Team) -> Object:
    found = team.cluster.get("deployment", NAME, team.namespace)
    assert found is not None
    read: Object = found["spec"]["template"]
    return read


def test_upgrade_and_uninstall_touch_nothing_that_runs(team: Team, tmp_path: Path) -> None:
    version = team.train("--trees", "10", "--max-depth", "3")
    team.apply()
    team.until_serving(version)
    before, cluster = template(team), team.cluster
    namespaced = ("-n", SYSTEM_NAMESPACE)

    cluster.helm(
        "upgrade", RELEASE, str(CHART), *namespaced, "--reuse-values", "--set", "pollSeconds=3", "--wait", "--timeout=5m"
    )
    team.apply("probe", replicas=0)  # the upgraded operator answers
    team.until_ready_is("True", "Stopped", "probe")
    team.kubectl("delete", "mdep", "probe")
    assert template(team) == before

    values = tmp_path / "values.json"
    values.write_text(cluster.helm("get", "values", RELEASE, *namespaced, "-o", "json"))
    cluster.helm("uninstall", RELEASE, *namespaced, "--wait", "--timeout=5m")
    try:
        until("no operator", lambda: not cluster.list("pod", SYSTEM_NAMESPACE, f"app.kubernetes.io/instance={RELEASE}"), 120)
        assert team.resource()["status"]["serving"]["version"] == version  # CRD and resource are kept
        assert team.predict()["model_version"] == version
    finally:
        cluster.helm("install", RELEASE, str(CHART), *namespaced, "--values", str(values), "--wait", "--timeout=5m")
    second = team.train("--trees", "5", "--max-depth", "2", "--seed", "3")
    team.until_serving(second)


def test_going_back_by_a_version_touches_nothing_that_runs(team: Team, tmp_path: Path) -> None:
    """What a newer version has written, in fields that the older definition does not have, is no reason to roll."""
    version = team.train("--trees", "5", "--max-depth", "2", "--seed", "5")
    team.apply()
    team.until_serving(version)
    before, pods, cluster = template(team), running(team), team.cluster
    release = (RELEASE, "-n", SYSTEM_NAMESPACE)
    revision = json.loads(cluster.helm("history", *release, "-o", "json"))[-1]["revision"]

    cluster.helm("upgrade", RELEASE, str(newer_chart(tmp_path)), *release[1:], "--reuse-values", "--wait", "--timeout=5m")
    cluster.kubectl("scale", f"statefulset/{RELEASE}", "-n", SYSTEM_NAMESPACE, "--replicas=0")
    until("no operator", lambda: not cluster.list("pod", SYSTEM_NAMESPACE, f"app.kubernetes.io/instance={RELEASE}"), 180)
    try:
        team.patch({"canary": 10})
        status = json.dumps({"status": {"drift": {"score": 0.1}}})
        team.kubectl("patch", f"mdep/{NAME}", "--subresource=status", "--type=merge", "-p", status)
        team.kubectl("annotate", f"deployment/{NAME}", "mlserving.dev/engine=Compiled")
        assert (team.status()["drift"], team.resource()["spec"]["canary"]) == ({"score": 0.1}, 10)
    finally:
        cluster.helm("rollback", RELEASE, str(revision), *release[1:], "--wait", "--timeout=5m")

    asked = team.resource()["metadata"]["generation"]
    until("the older one to have looked", lambda: team.status().get("observedGeneration") == asked or None, 60)
    assert (team.serving(), *team.ready()) == (version, "True", "Serving")
    assert {"drift", "canary"}.isdisjoint({*team.status(), *team.resource()["spec"]})
    assert (template(team), running(team)) == (before, pods)
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
    pods = team.cluster.list("pod", team.namespace, f"mlserving.dev/modeldeployment={NAME}")
    return {
        pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    }
