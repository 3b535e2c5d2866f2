"""The artifact store on a real cluster: whose token opens what, and a disk that damages what runs."""

import json
import urllib.error
import urllib.request
from functools import partial

import pytest

from tests.e2e.team import NAME, Team
from tests.installation import RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import until

pytestmark = pytest.mark.timeout(600)

AUDIENCE = "modeldeployment-store"
FLIP = """
import json, pathlib, sys
store = pathlib.Path("/store")
manifest = store / "manifests" / sys.argv[1].removeprefix("sha256:")
if not manifest.exists():
    sys.exit()  # this replica has not copied it yet
for file in json.loads(manifest.read_text())["files"]:
    path = store / "files" / file["sha256"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
print("flipped")
"""


@pytest.fixture(scope="module")
def digest(team: Team) -> str:
    """A version that serves."""
    version = team.train("--trees", "5")
    team.apply(replicas=1)
    team.until_serving(version)
    return str(team.status()["serving"]["digest"])


def asked(address: str, path: str, token: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"{address}{path}", headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_token_opens_what_its_namespace_names_and_nothing_else(team: Team, digest: str) -> None:
    def token(namespace: str, *options: str, account: str = "default") -> str:
        return team.cluster.kubectl("create", "token", account, "-n", namespace, *options).strip()

    path = f"/v1/manifests/{digest}"
    with team.cluster.forwarded(f"service/{RELEASE}-store", 8082, SYSTEM_NAMESPACE) as address:
        status, manifest = asked(address, path, token(team.namespace, "--audience", AUDIENCE))
        assert status == 200
        file = f"/v1/files/sha256:{json.loads(manifest)['files'][0]['sha256']}"
        assert asked(address, file, token(team.namespace, "--audience", AUDIENCE))[0] == 200
        assert asked(address, path, token("kube-public", "--audience", AUDIENCE))[0] == 403
        for closed in (path, file):
            assert asked(address, closed)[0] == 401
            assert asked(address, closed, "forged")[0] == 401
            assert asked(address, closed, token(team.namespace))[0] == 401, "a token for the API server is none for the store"
        assert asked(address, path, token(SYSTEM_NAMESPACE, "--audience", AUDIENCE, account=RELEASE))[0] == 200, "a replica"


def test_only_the_init_step_has_a_token_and_only_for_the_store(team: Team, digest: str) -> None:
    (pod,) = team.cluster.list("pod", team.namespace, f"mlserving.dev/modeldeployment={NAME}")
    (volume,) = [volume for volume in pod["spec"]["volumes"] if "secret" in volume or "projected" in volume]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == AUDIENCE
    mounting = [
        container["name"]
        for container in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
        if volume["name"] in [mount["name"] for mount in container["volumeMounts"]]
    ]
    assert mounting == ["fetch"]


def test_what_every_disk_has_damaged_comes_again_from_the_registry(team: Team, digest: str) -> None:
    for replica in (0, 1):
        flip = ("-n", SYSTEM_NAMESPACE, f"{RELEASE}-{replica}", "-c", "store", "--", "python", "-c", FLIP, digest)
        until(f"replica {replica} to have the files", partial(team.cluster.kubectl, "exec", *flip), 150)
    team.patch({"replicas": 2})
    until("a second pod to be ready", lambda: team.status().get("readyReplicas") == 2 or None, 240)
    team.until_ready_is("True", "Serving")
    assert team.status()["serving"]["digest"] == digest
    assert not team.status().get("quarantined")
