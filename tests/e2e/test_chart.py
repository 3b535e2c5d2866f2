"""The chart's life on a real cluster: what runs is not touched when the operator comes, changes and goes."""

from pathlib import Path

import pytest

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
