"""The operator's own pods: what they are told, how they are confined, and how they are reached."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller import api
from controller.policy import Gates, ServerDefaults, Trust
from controller.resources.deployment import STORE_AUDIENCE
from controller.settings import Settings
from tests.chart.rendering import CHART, NAME, NAMESPACE, REGISTRIES, Helm, Object, Rendered

RUNTIME = {"name": "old", "image": "server:1.8", "imagePullPolicy": "Never", "scikitLearn": "1.8", "python": "3.11"}
TAG = {"key": "validation_status", "value": "approved"}
METRIC = {"name": "f1", "min": 0.8}


def parsed(rendered: Rendered, **which: str) -> Settings:
    return Settings.model_validate_json(rendered.settings(**which))


@pytest.mark.parametrize("container", ["controller", "store"])
def test_the_operator_understands_what_it_is_told(rendered: Rendered, container: str) -> None:
    settings = parsed(rendered, pod=f"{NAME}-1", container=container)
    assert settings.identity == f"{NAME}-1"
    assert settings.namespace == NAMESPACE
    assert settings.lease_name == NAME
    assert settings.watch_namespaces == ()
    assert [registry.model_dump(exclude_defaults=True) for registry in settings.registries] == REGISTRIES
    assert settings.server_image == "localhost/modeldeployment-server:dev"
    for name in ("server_scikit_learn", "server_python", "runtimes"):
        assert getattr(settings, name) == Settings.model_fields[name].default
    assert settings.default_gates == Gates(environment="Strict", signature="Compatible")
    assert settings.default_trust == Trust(pickle="Allow")
    assert settings.default_server == ServerDefaults()
    assert settings.compile_memory == Settings.model_fields["compile_memory"].default
    assert settings.default_resources == Settings.model_fields["default_resources"].default
    assert settings.default_children == Settings.model_fields["default_children"].default
    assert settings.store_pods.items() <= rendered.one("StatefulSet")["spec"]["template"]["metadata"]["labels"].items()
    assert settings.max_model_bytes == Settings.model_fields["max_model_bytes"].default
    assert settings.poll_seconds == Settings.model_fields["poll_seconds"].default
    assert settings.max_store_bytes < 20 * 1024**3, "a store that fills its emptyDir has its pod evicted"
    assert settings.store_keep_unused_seconds == Settings.model_fields["store_keep_unused_seconds"].default


def test_every_value_for_the_operator_reaches_it(helm: Helm) -> None:
    settings = parsed(
        helm.render(
            registries=[*REGISTRIES, {"name": "it's & <other>", "uri": "https://mlflow.example/it's/<base>"}],
            watchNamespaces=["team-a", "team-b"],
            pollSeconds=2.5,
            defaults={
                "resources": {"requests": {"cpu": 1}, "limits": {"cpu": None}},
                "gates": {"maxSize": "1Gi", "environment": "Warn", "signature": "Any", "tags": [TAG], "metrics": [METRIC]},
                "trust": {"pickle": "Deny", "skopsTypes": ["own.Type"]},
                "server": {"engine": "Native", "ui": "Disabled", "logLevel": "Error", "accessLogsPerSecond": 0.5},
                "compileMemory": "512Mi",
            },
            serverImage={
                "repository": "registry.example/server",
                "digest": f"sha256:{'0' * 64}",
                "pullPolicy": "Always",
                "scikitLearn": "2.0",
                "python": "3.14",
            },
            runtimes=[RUNTIME],
            store={"maxModelBytes": 5_000_000_000, "sizeLimit": "100Gi", "keepUnusedSeconds": 900},
        )
    )
    assert settings.watch_namespaces == ("team-a", "team-b")
    assert settings.registries[1].name == "it's & <other>"
    assert settings.registries[1].uri == "https://mlflow.example/it's/<base>"
    assert settings.poll_seconds == 2.5
    assert settings.default_resources == {"requests": {"cpu": 1, "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    assert settings.server_image == f"registry.example/server@sha256:{'0' * 64}"
    assert settings.server_image_pull_policy == "Always"
    assert (settings.server_scikit_learn, settings.server_python) == ("2.0", "3.14")
    assert [runtime.model_dump(by_alias=True) for runtime in settings.runtimes] == [RUNTIME]
    gates, trust = settings.default_gates, settings.default_trust
    assert (gates.max_size, gates.environment, gates.signature) == ("1Gi", "Warn", "Any")
    assert [tag.model_dump() for tag in gates.tags] == [TAG]
    assert [metric.model_dump(exclude_none=True) for metric in gates.metrics] == [METRIC]
    assert (trust.pickle, trust.skops_types) == ("Deny", ["own.Type"])
    assert settings.default_server == ServerDefaults(
        engine="Native", ui="Disabled", log_level="Error", access_logs_per_second=0.5
    )
    assert settings.compile_memory == "512Mi"
    assert settings.max_model_bytes == 5_000_000_000
    assert settings.max_store_bytes == 90 * 1024**3
    assert settings.store_keep_unused_seconds == 900


@pytest.mark.parametrize(
    ("values", "level", "form"), [({}, "Info", "json"), ({"level": "Error", "format": "text"}, "Error", "text")]
)
def test_both_containers_log_what_is_wanted_and_how(helm: Helm, values: dict[str, str], level: str, form: str) -> None:
    pod = helm.render(logs=values).one("StatefulSet")["spec"]["template"]["spec"]
    options = [f"--log-level={level}", f"--log-format={form}"]
    assert {each["name"]: each["args"] for each in pod["containers"]} == {
        name: [name, *options] for name in ("controller", "store")
    }


def test_replicas_find_each_other_and_pods_find_the_store(helm: Helm) -> None:
    rendered = helm.render(replicas=3)
    settings = parsed(rendered)
    stateful_set = rendered.one("StatefulSet")["spec"]
    peers = rendered.one("Service", stateful_set["serviceName"])
    store = rendered.one("Service", f"{NAME}-store")
    assert stateful_set["replicas"] == 3
    assert stateful_set["podManagementPolicy"] == "Parallel"
    assert settings.store_peers == tuple(
        f"http://{NAME}-{ordinal}.{peers['metadata']['name']}.{NAMESPACE}.svc:{settings.store_port}" for ordinal in range(3)
    )
    assert settings.store_url == f"http://{store['metadata']['name']}.{NAMESPACE}.svc:{settings.store_port}"
    assert peers["spec"]["clusterIP"] == "None"
    assert peers["spec"]["publishNotReadyAddresses"] is True
    assert "publishNotReadyAddresses" not in store["spec"]


def test_services_and_budget_select_every_replica(helm: Helm) -> None:
    rendered = helm.render(podLabels={"app.kubernetes.io/name": "mine", "team": "platform"})
    stateful_set = rendered.one("StatefulSet")["spec"]
    labels = stateful_set["template"]["metadata"]["labels"]
    assert labels["team"] == "platform"
    budget = rendered.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    selectors = [
        stateful_set["selector"]["matchLabels"],
        budget["selector"]["matchLabels"],
        *(service["spec"]["selector"] for service in rendered.all("Service")),
    ]
    assert len(selectors) == 4
    for selector in selectors:
        assert selector == {"app.kubernetes.io/name": NAME, "app.kubernetes.io/instance": NAME}
        assert selector.items() <= labels.items()


def test_ports_are_those_the_operator_listens_on(rendered: Rendered) -> None:
    settings = parsed(rendered)
    controller, store = rendered.container("controller"), rendered.container("store")
    assert {port["name"]: port["containerPort"] for port in controller["ports"]} == {"health": settings.health_port}
    assert {port["name"]: port["containerPort"] for port in store["ports"]} == {
        "store": settings.store_port,
        "store-metrics": settings.store_metrics_port,
    }
    assert controller["startupProbe"]["httpGet"] == controller["livenessProbe"]["httpGet"]
    assert controller["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}
    assert store["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "store"}
    assert store["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "store"}
    for service in rendered.all("Service"):
        assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(settings.store_port, "store")]


def test_prometheus_finds_both_processes_and_keeps_the_namespace_of_each_model(helm: Helm, rendered: Rendered) -> None:
    assert not rendered.all("PodMonitor")
    labels = {"release": "stack", "app.kubernetes.io/name": "mine"}
    watched = helm.render(monitoring={"podMonitor": {"enabled": True, "labels": labels}})
    monitor = watched.one("PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "stack"
    assert monitor["metadata"]["labels"]["app.kubernetes.io/name"] == NAME
    spec = monitor["spec"]
    assert spec["selector"]["matchLabels"] == watched.one("StatefulSet")["spec"]["selector"]["matchLabels"]
    ports = {port["name"] for name in ("controller", "store") for port in watched.container(name)["ports"]}
    reconciling, store = spec["podMetricsEndpoints"]
    assert (reconciling["port"], store["port"]) == ("health", "store-metrics")
    assert {reconciling["port"], store["port"]} <= ports
    assert reconciling["path"] == store["path"] == "/metrics"
    assert reconciling["honorLabels"] is True
    renamed, dropped = reconciling["metricRelabelings"]
    assert (renamed["sourceLabels"], renamed["targetLabel"]) == (["exported_namespace"], "namespace")
    assert (dropped["action"], dropped["regex"]) == ("labeldrop", "exported_namespace")


def test_both_containers_are_one_program_over_one_store(rendered: Rendered) -> None:
    controller, store = rendered.container("controller"), rendered.container("store")
    assert controller["image"] == store["image"] == "localhost/modeldeployment-controller:dev"
    assert "command" not in controller
    assert "command" not in store
    directory = str(parsed(rendered).store_dir)
    for container in (controller, store):
        assert {"name": "store", "mountPath": directory} in container["volumeMounts"]
    volumes = {volume["name"]: volume for volume in rendered.pod["volumes"]}
    assert volumes["store"]["emptyDir"] == {"sizeLimit": "20Gi"}


def test_the_store_is_on_claims_where_they_are_wished_for(helm: Helm, rendered: Rendered) -> None:
    assert "volumeClaimTemplates" not in rendered.one("StatefulSet")["spec"]
    persistent = helm.render(store={"sizeLimit": "5Gi", "persistence": {"enabled": True, "storageClassName": "fast"}})
    stateful_set = persistent.one("StatefulSet")["spec"]
    (claim,) = stateful_set["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "store"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "5Gi"}},
    }
    assert stateful_set["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Delete"}
    assert "store" not in {volume["name"] for volume in persistent.pod["volumes"]}, "the claim takes the emptyDir's place"
    assert persistent.pod["securityContext"]["fsGroup"] == 65532
    assert violations(persistent.pod) == []
    for container in ("controller", "store"):
        assert {"name": "store", "mountPath": "/store"} in persistent.container(container)["volumeMounts"]
    assert parsed(persistent).max_store_bytes < 5 * 1024**3


def test_what_is_left_to_the_platform_is_left_out(helm: Helm) -> None:
    rendered = helm.render(store={"persistence": {"enabled": True, "fsGroup": 0, "whenDeleted": "Delete"}})
    stateful_set = rendered.one("StatefulSet")["spec"]
    assert "fsGroup" not in rendered.pod["securityContext"]
    assert "storageClassName" not in stateful_set["volumeClaimTemplates"][0]["spec"]
    assert stateful_set["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"


def test_only_what_talks_to_the_api_server_has_credentials(helm: Helm, rendered: Rendered) -> None:
    assert rendered.pod["automountServiceAccountToken"] is False

    def containers_with_credentials(rendered: Rendered) -> set[str]:
        return {
            name
            for name in ("controller", "store")
            for mount in rendered.container(name)["volumeMounts"]
            if mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
        }

    assert containers_with_credentials(rendered) == {"controller", "store"}
    assert parsed(rendered).store_authentication is True
    trusting = helm.render(store={"authentication": False})
    assert containers_with_credentials(trusting) == {"controller"}, "it asks nobody whose token a pod shows"
    assert parsed(trusting).store_authentication is False


@pytest.mark.parametrize("container", ["controller", "store"])
def test_replicas_show_each_other_a_token_for_the_store_alone(rendered: Rendered, container: str) -> None:
    (volume,) = [volume for volume in rendered.pod["volumes"] if volume["name"] == "store-token"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == STORE_AUDIENCE
    (mount,) = [mount for mount in rendered.container(container)["volumeMounts"] if mount["name"] == "store-token"]
    assert parsed(rendered).store_token_file == Path(mount["mountPath"]) / source["serviceAccountToken"]["path"]
    assert parsed(rendered).service_account == rendered.pod["serviceAccountName"]


RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def violations(pod: Object) -> list[str]:
    """What the restricted profile of the Pod Security Standards forbids in a pod, and what this project adds to it."""
    context = pod["securityContext"]
    found = [field for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field)]
    found += [f"volume {volume['name']}" for volume in pod.get("volumes", []) if not RESTRICTED_VOLUMES & volume.keys()]
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        found.append("seccompProfile")
    if context.get("runAsNonRoot") is not True:
        found.append("runAsNonRoot")
    if "runAsUser" in context:
        found.append("runAsUser: OpenShift assigns the uid")
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container["securityContext"]
        wanted: dict[str, Any] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        }
        if own != wanted:
            found.append(f"securityContext of {container['name']}: {own}")
        if any("hostPort" in port for port in container.get("ports", [])):
            found.append(f"hostPort of {container['name']}")
    return found


def test_every_pod_is_restricted(rendered: Rendered) -> None:
    templates = [found["spec"]["template"]["spec"] for found in rendered.objects if "template" in found.get("spec", {})]
    pods = [found["spec"] for found in rendered.all("Pod")]
    assert (len(templates), len(pods)) == (1, 1)
    for pod in (*templates, *pods):
        assert violations(pod) == []


def test_helms_test_asks_every_replica_and_leaves_nothing(helm: Helm) -> None:
    rendered = helm.render(replicas=3, tolerations=[{"operator": "Exists"}], imagePullSecrets=[{"name": "pull"}])
    pod = rendered.one("Pod", f"{NAME}-test")
    settings, container = parsed(rendered), pod["spec"]["containers"][0]
    hosts = [peer.rpartition(":")[0] for peer in settings.store_peers]
    addresses = [*(f"{host}:{settings.health_port}/healthz" for host in hosts), f"{settings.store_url}/readyz"]
    assert container["args"][1:] == addresses
    assert container["image"] == rendered.container("controller")["image"]
    compile(container["args"][0], "helm test", "exec")
    annotations = pod["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "test"
    assert "hook-succeeded" in annotations["helm.sh/hook-delete-policy"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["activeDeadlineSeconds"] < 300, "helm itself waits for five minutes"
    for field in ("tolerations", "imagePullSecrets"):
        assert pod["spec"][field] == rendered.pod[field]
    selector = rendered.one("StatefulSet")["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= pod["metadata"]["labels"].items(), "no Service may send it requests"


def test_replicas_are_spread_as_the_platform_says(helm: Helm) -> None:
    zones = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    others = {**zones, "labelSelector": {"matchLabels": {"team": "platform"}}}
    rendered = helm.render(topologySpreadConstraints=[zones, others])
    own = rendered.one("StatefulSet")["spec"]["selector"]
    assert rendered.pod["topologySpreadConstraints"] == [{**zones, "labelSelector": own}, others]


def test_the_one_that_asks_registries_gets_more_environment(helm: Helm, rendered: Rendered) -> None:
    proxy = {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}}
    none = {"name": "NO_PROXY", "value": ".svc,$(KUBERNETES_SERVICE_HOST)"}
    more = helm.render(extraEnv=[proxy, none])
    assert more.container("controller")["env"] == [*rendered.container("controller")["env"], proxy, none]
    assert more.container("store")["env"] == rendered.container("store")["env"]


def test_options_of_the_pod(helm: Helm) -> None:
    toleration = {"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}
    affinity: Object = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    rendered = helm.render(
        image={"repository": "registry.example/operator", "tag": "1.2.3", "pullPolicy": "Always"},
        imagePullSecrets=[{"name": "pull"}],
        controller={"resources": {"limits": {"memory": "1Gi"}}},
        store={"sizeLimit": "5Gi", "resources": {"requests": {"cpu": "1"}}},
        nodeSelector={"disk": "fast"},
        tolerations=[toleration],
        affinity=affinity,
        priorityClassName="system-cluster-critical",
        podAnnotations={"team": "platform"},
    )
    pod = rendered.pod
    assert rendered.container("controller")["image"] == "registry.example/operator:1.2.3"
    assert rendered.container("store")["imagePullPolicy"] == "Always"
    assert rendered.container("controller")["resources"]["limits"] == {"memory": "1Gi"}
    assert rendered.container("store")["resources"]["requests"]["cpu"] == "1"
    assert {"name": "store", "emptyDir": {"sizeLimit": "5Gi"}} in pod["volumes"]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["nodeSelector"] == {"disk": "fast"}
    assert pod["tolerations"] == [toleration]
    assert pod["affinity"] == affinity
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert rendered.one("StatefulSet")["spec"]["template"]["metadata"]["annotations"]["team"] == "platform"


def test_replicas_prefer_different_nodes(rendered: Rendered) -> None:
    (preference,) = rendered.pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    term = preference["podAffinityTerm"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"] == rendered.one("StatefulSet")["spec"]["selector"]["matchLabels"]


def test_the_custom_resource_definition_comes_along_and_is_kept(helm: Helm, rendered: Rendered) -> None:
    definition = rendered.one("CustomResourceDefinition", "modeldeployments.mlserving.dev")
    assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not helm.render(crds={"enabled": False}).all("CustomResourceDefinition")


def test_the_same_values_give_the_same_bytes(helm: Helm) -> None:
    values: Object = {"watchNamespaces": ["b", "a"], "podLabels": {"z": "1", "a": "2"}, "nodeSelector": {"z": "1", "a": "2"}}
    assert helm.text(**values) == helm.text(**values)


def test_a_long_release_name_still_makes_valid_names(helm: Helm) -> None:
    rendered = helm.render(release="a.release-with-a-name-as-long-as-helm-allows-it-xxxxx")
    (stateful_set,) = rendered.all("StatefulSet")
    name = stateful_set["metadata"]["name"]
    assert "." not in name
    assert len(f"{name}-{'0' * 10}") <= 63, "a pod's label controller-revision-hash"
    assert json.loads(rendered_settings(stateful_set))["leaseName"] == name
    assert all(len(service["metadata"]["name"]) <= 63 for service in rendered.all("Service"))


def rendered_settings(stateful_set: Object) -> str:
    environment = stateful_set["spec"]["template"]["spec"]["containers"][0]["env"]
    return str(next(variable["value"] for variable in environment if variable["name"] == "MLSERVING_OPERATOR_SETTINGS"))


def test_objects_are_in_the_release_namespace_or_in_none(rendered: Rendered) -> None:
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    for found in rendered.objects:
        expected = None if found["kind"] in cluster_wide else NAMESPACE
        assert found["metadata"].get("namespace") == expected, found["kind"]


@pytest.mark.parametrize("namespaces", [[], ["team"]])
def test_the_resource_that_the_notes_propose_is_valid(helm: Helm, namespaces: list[str]) -> None:
    values = {"registries": REGISTRIES, "watchNamespaces": namespaces}
    done = helm.run("install", NAME, CHART, "--namespace", NAMESPACE, "--dry-run=client", values=values)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.split("NOTES:", 1)[1]
    (pasted,) = re.findall(r"^( *kubectl [^\n]*<<EOF\n.*?)\n\n", notes, re.MULTILINE | re.DOTALL)
    shell = subprocess.run(
        ["bash", "-c", f'kubectl() {{ printf "%s\\n" "$*"; cat; }}\n{pasted}'], capture_output=True, text=True, check=True
    )
    assert shell.stderr == "", "it is taken out of the notes as it stands there"
    told, document = shell.stdout.split("\n", 1)
    assert told == ("-n team apply -f -" if namespaces else "apply -f -")
    resource = yaml.safe_load(document)
    assert resource["apiVersion"] == f"{api.GROUP}/{api.API_VERSION}"
    assert resource["kind"] == api.KIND
    assert api.ModelDeploymentSpec.model_validate(resource["spec"]).model.label == "fraud@champion"
