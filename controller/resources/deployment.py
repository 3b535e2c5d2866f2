"""The Deployment and its pod template."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from controller.api import GROUP, HISTORY_LIMIT, VERSION_LABEL, ModelDeploymentSpec
from controller.catalogue import Catalogue, Runtime
from controller.pods import PodFields
from controller.policy import Auth, Gates, Server, ServerDefaults, Trust
from controller.quantity import amount_of, bytes_of
from controller.resources.identity import Owner, labels, metadata, selector
from controller.resources.rollouts import (
    GATES,
    MODEL_DIGEST,
    MODEL_NAME,
    MODEL_REGISTRY,
    MODEL_RUN_ID,
    MODEL_SCIKIT_LEARN,
    MODEL_SIZE,
    MODEL_VERIFIED,
    MODEL_VERSION,
    ROLLOUT,
    RUNTIME,
    told_gates,
)
from controller.rollout import PinnedModel, PodGates

Object = dict[str, Any]

DEFAULT_REPLICAS = 2
HTTP_PORT = 8080
MANAGEMENT_PORT = 8081
MODEL_DIR = "/model"
STORE_TOKEN_DIR = f"/var/run/secrets/{GROUP}/store"
STORE_AUDIENCE = "modeldeployment-store"
STORE_TOKEN_SECONDS = 600  # the kubelet makes a new one in time
CLIENT_TOKENS_DIR = f"/var/run/secrets/{GROUP}/clients"

# After a pod is told to stop, endpoints and kube-proxy need a moment to hear of it. It goes on answering meanwhile:
# first while it does not know yet, then while it asks its clients to reconnect.
PRE_STOP_SECONDS = 5
DRAIN_SECONDS = 5
REQUEST_TIMEOUT_SECONDS = 30
MAX_BODY_BYTES = 2 * 1024 * 1024

# What the step that fetches and compiles a model gets where its server gets less.
_FETCH_REQUESTS = {"cpu": "50m", "memory": "64Mi"}
_FETCH_CPU = "1"
_FETCH_MEMORY = "256Mi"  # where nothing is compiled

_SECURITY_CONTEXT = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
}

# The only credential in a pod, for its init step alone, and of use at the store alone. In every template, whether or not the
# store asks for it: so it can begin to ask without any pod being rolled.
_STORE_TOKEN_MOUNT = {"name": "store-token", "mountPath": STORE_TOKEN_DIR, "readOnly": True}
_STORE_TOKEN_VOLUME = {
    "name": "store-token",
    "projected": {
        "sources": [
            {"serviceAccountToken": {"audience": STORE_AUDIENCE, "expirationSeconds": STORE_TOKEN_SECONDS, "path": "token"}}
        ]
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """What the operator, not the spec, says about pods and about what may get into them."""

    catalogue: Catalogue
    store_url: str
    default_resources: Object
    default_gates: Gates
    default_trust: Trust
    default_server: ServerDefaults
    compile_memory: str

    def runtime_for(self, spec: ModelDeploymentSpec, model: PinnedModel) -> Runtime:
        """The server image for a model. Raises Stalling (RuntimeUnknown)."""
        return self.catalogue.runtime_for(spec.server, model.scikit_learn)


def inputs(spec: ModelDeploymentSpec) -> str:
    """Hash of what the spec, apart from the model, says about pods.

    Of the spec and not of the rendered template, so that another version of the operator rolls nothing.
    """
    said = {} if spec.resources is None else {"resources": _said(spec.resources)}
    if pod := _said(spec.pod):
        said["pod"] = pod
    for name, part in (("server", spec.server), ("trust", spec.trust)):
        if set_there := part.model_dump(by_alias=True, exclude_defaults=True):
            said[name] = set_there
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _resources(said: Object, defaults: Object) -> Object:
    """Each amount that the spec says, and the operator's default for the others: an autoscaler needs the request for CPU
    also where somebody has only raised the memory limit. A default gives way where it contradicts what is said."""
    merged: dict[str, dict[str, str]] = {
        part: {**defaults.get(part, {}), **said.get(part, {})} for part in ("requests", "limits")
    }
    for name in merged["requests"].keys() & merged["limits"].keys():
        request, limit = merged["requests"][name], merged["limits"][name]
        if amount_of(request) > amount_of(limit):
            if name in said.get("limits", {}):
                merged["requests"][name] = limit
            else:
                merged["limits"][name] = request
    return {part: amounts for part, amounts in merged.items() if amounts}


def initial_replicas(spec: ModelDeploymentSpec) -> int:
    """How many pods a new Deployment starts with; afterwards replicas are never part of a template write."""
    if spec.autoscaling is not None:
        return spec.autoscaling.min_replicas
    return DEFAULT_REPLICAS if spec.replicas is None else spec.replicas


def deployment(
    owner: Owner, spec: ModelDeploymentSpec, template: Object, annotations: dict[str, str], deadline_seconds: int
) -> Object:
    """A Deployment for its creation; later only its template is replaced, as a whole."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(owner, annotations=annotations),
        "spec": {
            "replicas": initial_replicas(spec),
            "selector": {"matchLabels": selector(owner)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "revisionHistoryLimit": HISTORY_LIMIT,
            "progressDeadlineSeconds": deadline_seconds,
            "template": template,
        },
    }


def pod_template(
    owner: Owner,
    spec: ModelDeploymentSpec,
    model: PinnedModel,
    number: int,
    pods: PodSettings,
    gates: PodGates | None = None,
) -> Object:
    """The pod template of rollout `number`: fetch and verify the model, then serve it."""
    runtime = pods.runtime_for(spec, model)
    trust = spec.trust.with_defaults(pods.default_trust)
    timeout = spec.server.request_timeout_seconds or REQUEST_TIMEOUT_SECONDS
    engine = spec.server.engine or pods.default_server.engine
    resources = _resources(_said(spec.resources), pods.default_resources)
    told = {
        "resource": {"namespace": owner.namespace, "name": owner.name},
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "storeUrls": [pods.store_url],
        "storeTokenFile": f"{STORE_TOKEN_DIR}/token",
        "modelDir": f"{MODEL_DIR}/files",  # what is compiled lies beside it
        "port": HTTP_PORT,
        "managementPort": MANAGEMENT_PORT,
        "requestTimeoutSeconds": timeout,
        "maxBodyBytes": bytes_of(spec.server.max_body_size) if spec.server.max_body_size else MAX_BODY_BYTES,
        "outOfRange": spec.server.out_of_range,
        "drainSeconds": DRAIN_SECONDS,
        **_told_server(spec.server, pods.default_server),
        "trust": {
            "pickle": "Allow" if spec.gates.waiver(model.version, "Trust") else trust.pickle,
            "skopsTypes": trust.skops_types,
        },
        **({"gates": told_gates(gates)} if gates is not None else {}),
    }
    container: Object = {
        "image": runtime.image,
        "imagePullPolicy": runtime.pull_policy,
        "env": [{"name": "MLSERVING_SETTINGS", "value": json.dumps(told, sort_keys=True)}],
        "securityContext": _SECURITY_CONTEXT,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    temporary = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108  the pod's own, an emptyDir
    clients = _client_tokens(spec.server.auth)
    more = spec.pod or PodFields()
    return {
        "metadata": {
            "labels": {**(more.labels or {}), **labels(owner), VERSION_LABEL: model.version},
            "annotations": {
                **(more.annotations or {}),
                ROLLOUT: str(number),
                MODEL_NAME: model.name,
                MODEL_VERSION: model.version,
                MODEL_DIGEST: model.digest,
                MODEL_RUN_ID: model.run_id,
                MODEL_SIZE: str(model.size_bytes),
                MODEL_VERIFIED: model.verified,
                MODEL_REGISTRY: model.registry,
                MODEL_SCIKIT_LEARN: model.scikit_learn,
                RUNTIME: runtime.name,
                GATES: json.dumps(told_gates(gates)) if gates is not None else "",
                "kubectl.kubernetes.io/default-container": "server",
            },
        },
        "spec": {
            **_placement(owner, more),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": PRE_STOP_SECONDS + DRAIN_SECONDS + timeout + 20,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [
                {
                    **container,
                    "name": "fetch",
                    "args": ["fetch"],
                    "resources": _fetch_resources(resources, _FETCH_MEMORY if engine == "Native" else pods.compile_memory),
                    "volumeMounts": [{"name": "model", "mountPath": MODEL_DIR}, temporary, _STORE_TOKEN_MOUNT],
                }
            ],
            "containers": [
                {
                    **container,
                    "name": "server",
                    "args": ["serve"],
                    "env": [*container["env"], *({"name": each.name, "value": each.value} for each in spec.server.env)],
                    "ports": [
                        {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
                        {"name": "management", "containerPort": MANAGEMENT_PORT, "protocol": "TCP"},
                    ],
                    "resources": resources,
                    "startupProbe": _probe("/livez", periodSeconds=1, failureThreshold=60),
                    "readinessProbe": _probe("/readyz", periodSeconds=1, failureThreshold=3),
                    "livenessProbe": _probe("/livez", periodSeconds=10, failureThreshold=6),
                    "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
                    "volumeMounts": [
                        {"name": "model", "mountPath": MODEL_DIR, "readOnly": True},
                        temporary,
                        *({"name": each["name"], "mountPath": CLIENT_TOKENS_DIR, "readOnly": True} for each in clients),
                    ],
                }
            ],
            "volumes": [
                {"name": "model", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
                _STORE_TOKEN_VOLUME,
                *clients,
            ],
        },
    }


def _fetch_resources(server: Object, memory: str) -> Object:
    """Of the step before the server. A pod reserves what the one or the other requests, whichever is more: so the step requests
    what the server does. Its limits are its own, where the server's are not higher: a small server may need a large compiler."""
    requests, limits = server.get("requests") or {}, server.get("limits") or {}
    own = {"cpu": _FETCH_CPU, "memory": memory}
    return {
        "requests": {name: requests.get(name) or limits.get(name) or least for name, least in _FETCH_REQUESTS.items()},
        "limits": {
            name: max((most, *(each[name] for each in (limits, requests) if each.get(name))), key=amount_of)
            for name, most in own.items()
        },
    }


def _told_server(server: Server, defaults: ServerDefaults) -> Object:
    """What the server is told of how to serve, where that is not what it does anyway: an image of the user's own may be older,
    and refuses what it does not know."""
    chosen = defaults.model_copy(update=server.model_dump(include=set(ServerDefaults.model_fields), exclude_none=True))
    told = chosen.model_dump(by_alias=True, exclude_defaults=True)
    if server.model_name is not None:
        told["modelName"] = server.model_name
    if batching := _said(server.batching):
        told["batching"] = batching
    if server.auth is not None:
        told["auth"] = {"tokenFiles": [CLIENT_TOKENS_DIR], "secret": server.auth.token_secret_ref.name}
    return told


def _client_tokens(auth: Auth | None) -> list[Object]:
    """The Secret with the clients' tokens, as a volume. Optional, so that a server without it can say which one it misses:
    Kubernetes would let the pod wait for it, and tells nobody but whoever looks at the pod's events."""
    if auth is None:
        return []
    return [{"name": "client-tokens", "secret": {"secretName": auth.token_secret_ref.name, "optional": True}}]


def _placement(owner: Owner, more: PodFields) -> Object:
    """Where the pods run and as whom, as the spec says it; a constraint that names no pods is about this model's."""
    said = more.model_dump(by_alias=True, exclude_none=True, exclude={"labels", "annotations"})
    for constraint in said.get("topologySpreadConstraints", []):
        constraint.setdefault("labelSelector", {"matchLabels": selector(owner)})
    return said


def _said(part: BaseModel | None) -> Object:
    return {} if part is None else part.model_dump(by_alias=True, exclude_none=True)


def _probe(path: str, **timing: int) -> Object:
    return {"httpGet": {"path": path, "port": "management"}, "timeoutSeconds": 3, **timing}
