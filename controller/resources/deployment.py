"""The Deployment and its pod template, and how a template is read back from the cluster."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from controller.api import GROUP, HISTORY_LIMIT, MANAGED_BY, VERSION_LABEL, ModelDeploymentSpec
from controller.catalogue import Catalogue, Runtime
from controller.pods import PodFields
from controller.policy import Gates, Trust
from controller.quantity import bytes_of
from controller.resources.identity import Owner, labels, metadata, selector
from controller.rollout import Failure, PinnedModel, Rollout, Word

Object = dict[str, Any]

DEFAULT_REPLICAS = 2
HTTP_PORT = 8080
MANAGEMENT_PORT = 8081
MODEL_DIR = "/model"
STORE_TOKEN_DIR = f"/var/run/secrets/{GROUP}/store"
STORE_AUDIENCE = "modeldeployment-store"
STORE_TOKEN_SECONDS = 600  # the kubelet makes a new one in time

# After a pod is told to stop, endpoints and kube-proxy need a moment to hear of it. It goes on answering meanwhile:
# first while it does not know yet, then while it asks its clients to reconnect.
PRE_STOP_SECONDS = 5
DRAIN_SECONDS = 5
REQUEST_TIMEOUT_SECONDS = 30
MAX_BODY_BYTES = 2 * 1024 * 1024

# On the pod template, and so on every ReplicaSet that was ever made from it.
ROLLOUT = f"{GROUP}/rollout"
MODEL_NAME = f"{GROUP}/model-name"
MODEL_VERSION = f"{GROUP}/model-version"
MODEL_DIGEST = f"{GROUP}/model-digest"
MODEL_RUN_ID = f"{GROUP}/model-run-id"
MODEL_SIZE = f"{GROUP}/model-size-bytes"
MODEL_VERIFIED = f"{GROUP}/model-verified"
MODEL_REGISTRY = f"{GROUP}/model-registry"
MODEL_SCIKIT_LEARN = f"{GROUP}/model-scikit-learn"
RUNTIME = f"{GROUP}/runtime"

# On the Deployment. The Deployment controller copies them to the ReplicaSet of the template that is live, so they tell
# under which word each template was written; `kubectl rollout undo` puts the old ones back together with the template.
REQUEST = f"{GROUP}/request"
RETRY = f"{GROUP}/retry"
INPUTS = f"{GROUP}/inputs"
HELD = f"{GROUP}/held"
CAUSE = f"{GROUP}/cause"
CHANGE_CAUSE = "kubernetes.io/change-cause"
REVISION = "deployment.kubernetes.io/revision"

# On a ReplicaSet alone, whose rollout was taken back. Never on the Deployment, which would copy it to the next one.
FAILED = f"{GROUP}/failed"
HASH_LABEL = "pod-template-hash"  # what the Deployment controller adds to the template of a ReplicaSet

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

    def runtime_for(self, spec: ModelDeploymentSpec, model: PinnedModel) -> Runtime:
        """The server image for a model. Raises Stalling (RuntimeUnknown)."""
        return self.catalogue.runtime_for(spec.server, model.scikit_learn)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGates:
    """What pods judge themselves by while their model's files are new."""

    max_load_seconds: float | None
    max_latency_p95_milliseconds: float | None
    until: datetime
    """A pod that starts later is one more of many, perhaps on a busy node: it is not judged."""


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
    told = {
        "resource": {"namespace": owner.namespace, "name": owner.name},
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "storeUrls": [pods.store_url],
        "storeTokenFile": f"{STORE_TOKEN_DIR}/token",
        "modelDir": MODEL_DIR,
        "port": HTTP_PORT,
        "managementPort": MANAGEMENT_PORT,
        "requestTimeoutSeconds": timeout,
        "maxBodyBytes": bytes_of(spec.server.max_body_size) if spec.server.max_body_size else MAX_BODY_BYTES,
        "outOfRange": spec.server.out_of_range,
        "drainSeconds": DRAIN_SECONDS,
        "trust": {
            "pickle": "Allow" if spec.gates.waiver(model.version, "Trust") else trust.pickle,
            "skopsTypes": trust.skops_types,
        },
        **({"gates": _told_gates(gates)} if gates is not None else {}),
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
                    "resources": {
                        "requests": {"cpu": "50m", "memory": "64Mi"},
                        "limits": {"cpu": "1", "memory": "256Mi"},
                    },
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
                    "resources": pods.default_resources if spec.resources is None else _said(spec.resources),
                    "startupProbe": _probe("/livez", periodSeconds=1, failureThreshold=60),
                    "readinessProbe": _probe("/readyz", periodSeconds=1, failureThreshold=3),
                    "livenessProbe": _probe("/livez", periodSeconds=10, failureThreshold=6),
                    "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
                    "volumeMounts": [{"name": "model", "mountPath": MODEL_DIR, "readOnly": True}, temporary],
                }
            ],
            "volumes": [
                {"name": "model", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
                _STORE_TOKEN_VOLUME,
            ],
        },
    }


def _placement(owner: Owner, more: PodFields) -> Object:
    """Where the pods run and as whom, as the spec says it; a constraint that names no pods is about this model's."""
    said = more.model_dump(by_alias=True, exclude_none=True, exclude={"labels", "annotations"})
    for constraint in said.get("topologySpreadConstraints", []):
        constraint.setdefault("labelSelector", {"matchLabels": selector(owner)})
    return said


def _said(part: BaseModel | None) -> Object:
    return {} if part is None else part.model_dump(by_alias=True, exclude_none=True)


def _told_gates(gates: PodGates) -> Object:
    limits = {
        "maxLoadSeconds": gates.max_load_seconds,
        "maxLatencyP95Milliseconds": gates.max_latency_p95_milliseconds,
    }
    return {**{name: limit for name, limit in limits.items() if limit is not None}, "until": gates.until.isoformat()}


def _probe(path: str, **timing: int) -> Object:
    return {"httpGet": {"path": path, "port": "management"}, "timeoutSeconds": 3, **timing}


def word_annotations(word: Word, held: str) -> dict[str, str]:
    """The Deployment's annotations that remember a person's word, and what of it is held."""
    return {REQUEST: word.request, RETRY: word.retry, HELD: held}


def rollout_annotations(word: Word, inputs_hash: str, *, held: bool, cause: str, change_cause: str) -> dict[str, str]:
    """The Deployment's annotations for a template that is written under `word`."""
    return {
        **word_annotations(word, inputs_hash if held else ""),
        INPUTS: inputs_hash,
        CAUSE: cause,
        CHANGE_CAUSE: change_cause,
    }


def read_rollout(of: Object) -> Rollout | None:
    """The template of a Deployment or a ReplicaSet as we wrote it, or None where it is none of ours."""
    said: dict[str, str] = of["metadata"].get("annotations") or {}
    template = of["spec"]["template"]
    carried: dict[str, str] = template["metadata"].get("annotations") or {}
    try:
        return Rollout(
            number=int(carried[ROLLOUT]),
            model=PinnedModel(
                name=carried[MODEL_NAME],
                version=carried[MODEL_VERSION],
                digest=carried[MODEL_DIGEST],
                run_id=carried[MODEL_RUN_ID],
                size_bytes=int(carried[MODEL_SIZE]),
                verified=carried[MODEL_VERIFIED],
                registry=carried[MODEL_REGISTRY],
                scikit_learn=carried.get(MODEL_SCIKIT_LEARN, ""),
            ),
            word=Word(request=said.get(REQUEST, ""), retry=said.get(RETRY, "")),
            inputs=said.get(INPUTS, ""),
            held=said.get(HELD, ""),
            cause=said.get(CAUSE, ""),
            image=template["spec"]["containers"][0]["image"],
            runtime=carried.get(RUNTIME, ""),
            revision=int(said.get(REVISION, "0")),
            failed=_read_failure(said.get(FAILED, "")),
        )
    except (KeyError, ValueError, IndexError):
        return None


def _read_failure(text: str) -> Failure | None:
    """A mark as `failure_mark` wrote it; what anybody else wrote there is none."""
    try:
        said = json.loads(text)
        return Failure(
            reason=str(said["reason"]),
            message=str(said["message"]),
            by_version=bool(said["byVersion"]),
            at=datetime.fromisoformat(said["at"]),
            retry=str(said["retry"]),
            back_to=int(said["backTo"]),
            attempts=int(said["attempts"]),
        )
    except (ValueError, TypeError, KeyError):
        return None


def failure_mark(failure: Failure) -> dict[str, str]:
    """The annotation of a ReplicaSet whose rollout failed."""
    said = {
        "reason": failure.reason,
        "message": failure.message,
        "byVersion": failure.by_version,
        "at": failure.at.isoformat(),
        "retry": failure.retry,
        "backTo": failure.back_to,
        "attempts": failure.attempts,
    }
    return {FAILED: json.dumps(said)}


def mark_patch(replica_set: Object, failure: Failure | None) -> list[Object]:
    """The operations that mark a ReplicaSet, or take the mark away."""
    others = {key: value for key, value in (replica_set["metadata"].get("annotations") or {}).items() if key != FAILED}
    marked = {**others, **(failure_mark(failure) if failure is not None else {})}
    return [{"op": "add", "path": "/metadata/annotations", "value": marked}]


def of_rollout(replica_sets: Sequence[Object], number: int) -> list[Object]:
    """The ReplicaSets with a template of that rollout, the first that was made in front: the others are restarts and edits."""
    found = [each for each in replica_sets if (known := read_rollout(each)) is not None and known.number == number]
    return sorted(found, key=lambda each: (str(each["metadata"].get("creationTimestamp", "")), _revision(each)))


def restore_patch(live: Object, replica_set: Object, *, held: bool, change_cause: str = "") -> list[Object]:
    """The operations that put a ReplicaSet's template back, as `kubectl rollout undo` does, and the word that went with it."""
    template = replica_set["spec"]["template"]
    metadata = template["metadata"]
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH_LABEL}
    said: dict[str, str] = replica_set["metadata"].get("annotations") or {}
    ours = {key: said.get(key, "") for key in (REQUEST, RETRY, INPUTS, CAUSE, CHANGE_CAUSE)}
    ours[HELD] = said.get(HELD, "") if held else ""
    ours[CHANGE_CAUSE] = change_cause or ours[CHANGE_CAUSE]
    return template_patch(live, {**template, "metadata": {**metadata, "labels": labels}}, ours)


def edited(live: Object, replica_sets: Sequence[Object]) -> bool:
    """Whether somebody changed in the live template what we had written there.

    The first ReplicaSet of a rollout has the template as the API server took it from us, defaults and other programs'
    changes included. What somebody has added since is theirs: a sidecar, a variable, `rollout restart`'s annotation.
    """
    known = read_rollout(live)
    first = of_rollout(replica_sets, known.number)[:1] if known is not None else []
    return any(not _keeps(live["spec"]["template"], each["spec"]["template"]) for each in first)


def editor(live: Object) -> str:
    """Who wrote the template last, apart from us, as the API server's books say; empty where they do not."""
    writers = [
        entry
        for entry in live["metadata"].get("managedFields") or []
        if "f:template" in entry.get("fieldsV1", {}).get("f:spec", {}) and entry.get("manager") != MANAGED_BY
    ]
    last = max(writers, key=lambda entry: str(entry.get("time", "")), default=None)
    return "" if last is None else str(last.get("manager", ""))


def _keeps(live: object, written: object) -> bool:
    """Whether `live` still says everything that `written` says; of a list of named things, each by its name."""
    if isinstance(written, dict) and isinstance(live, dict):
        return all(key == HASH_LABEL or (key in live and _keeps(live[key], value)) for key, value in written.items())
    if isinstance(written, list) and isinstance(live, list):
        if all(isinstance(item, dict) and "name" in item for item in [*written, *live]):
            by_name = {item["name"]: item for item in live}
            return all(item["name"] in by_name and _keeps(by_name[item["name"]], item) for item in written)
        return live == written
    return live == written


def _revision(of: Object) -> int:
    text = (of["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def template_patch(live: Object, template: Object, annotations: dict[str, str]) -> list[Object]:
    """The operations that replace the template as a whole, and set our annotations beside those of others."""
    return [{"op": "replace", "path": "/spec/template", "value": template}, *annotation_patch(live, annotations)]


def annotation_patch(live: Object, annotations: dict[str, str]) -> list[Object]:
    """The operations that set our annotations beside those of others."""
    others = {key: value for key, value in (live["metadata"].get("annotations") or {}).items() if key != FAILED}
    merged = {**others, **annotations}
    return [{"op": "add", "path": "/metadata/annotations", "value": merged}]
