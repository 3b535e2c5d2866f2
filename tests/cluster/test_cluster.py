"""What everything else takes for granted of its cluster, on the real thing: names, logs, exec, figures, restarts."""

import json
import urllib.request

import pytest

from tests.cluster.pods import GREETING, Workloads
from tests.clusters.local.cluster import Local
from tests.clusters.provider import Provider
from tests.kubernetes import CommandFailedError, Kubernetes, until

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("suffix", ["", ".cluster-test", ".cluster-test.svc", ".cluster-test.svc.cluster.local"])
def test_a_pod_reaches_a_service_by_each_of_its_names(workloads: Workloads, suffix: str) -> None:
    assert GREETING in workloads.run("wget", "-q", "-O-", f"http://web{suffix}/")


def test_a_pod_reaches_the_api_server_by_name(workloads: Workloads) -> None:
    answer = workloads.run("nslookup", "kubernetes.default.svc.cluster.local")
    address = workloads.cluster.kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    assert address in answer


def test_a_name_that_no_service_has_does_not_exist(workloads: Workloads) -> None:
    with pytest.raises(CommandFailedError, match="NXDOMAIN"):
        workloads.run("nslookup", "nobody.cluster-test.svc.cluster.local")


def test_logs_show_what_a_pod_printed(workloads: Workloads) -> None:
    assert GREETING in workloads.cluster.kubectl("logs", "-n", workloads.namespace, "deployment/web")


def test_port_forward_leads_to_a_service(workloads: Workloads) -> None:
    with (
        workloads.cluster.forwarded("service/web", 80, workloads.namespace) as address,
        urllib.request.urlopen(address, timeout=10) as answer,
    ):
        assert GREETING in answer.read().decode()


def test_restricted_pods_run_and_others_are_refused(workloads: Workloads) -> None:
    assert workloads.run("id", "-u").strip() == "4711"
    with pytest.raises(CommandFailedError, match="Read-only file system"):
        workloads.run("touch", "/bin/new")
    pod = workloads.manifest("v1", "Pod", "mighty", workloads.pod(["/bin/busybox", "sleep", "1"]))
    pod["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    with pytest.raises(CommandFailedError, match='violates PodSecurity "restricted'):
        workloads.cluster.apply(json.dumps(pod))


def test_a_container_that_takes_too_much_memory_is_killed(workloads: Workloads) -> None:
    hungry = workloads.manifest("v1", "Pod", "hungry", workloads.pod(["/bin/busybox", "tail", "/dev/zero"]))
    hungry["spec"]["restartPolicy"] = "Never"
    workloads.cluster.apply(json.dumps(hungry))

    def why() -> str:
        reason = "jsonpath={.status.containerStatuses[0].state.terminated.reason}"
        return workloads.cluster.kubectl("get", "pod", "hungry", "-n", workloads.namespace, "-o", reason)

    assert until("the end of a hungry pod", why, 60) == "OOMKilled"


def test_a_stopped_api_server_comes_back_with_what_it_knew(provider: Provider, cluster: Kubernetes, workloads: Workloads) -> None:
    if not isinstance(provider, Local):
        pytest.skip("the components of a cluster that is not ours are not ours to stop")
    before = cluster.kubectl("get", "pods", "-n", workloads.namespace, "-l", "app=web", "-o", "name")
    provider.stop_component("kube-apiserver")
    with pytest.raises(CommandFailedError):
        cluster.kubectl("get", "--raw", "/readyz")
    provider.start_component("kube-apiserver")

    def ready() -> bool:
        try:
            return cluster.kubectl("get", "--raw", "/readyz") == "ok"
        except CommandFailedError:
            return False

    until("the API server", ready, 60)
    assert cluster.kubectl("get", "pods", "-n", workloads.namespace, "-l", "app=web", "-o", "name") == before
    assert GREETING in workloads.run("wget", "-q", "-O-", "http://web/")


def test_top_shows_what_pods_use(workloads: Workloads) -> None:
    def top() -> str:
        try:
            return workloads.cluster.kubectl("top", "pods", "-n", workloads.namespace, "--no-headers")
        except CommandFailedError as error:
            if "metrics not available yet" in error.output or "Unable to handle" in error.output:
                return ""
            raise

    until("figures for the busy pod", lambda: "busy" in top(), 90)


def test_an_autoscaler_reads_cpu_and_scales(workloads: Workloads) -> None:
    def scaled() -> bool:
        status = (workloads.cluster.get("hpa", "busy", workloads.namespace) or {})["status"]
        return bool(status.get("desiredReplicas") == 2)

    until("the autoscaler's second pod", scaled, 120)
