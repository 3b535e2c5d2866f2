"""An API server in memory, with as much of a Deployment controller and of kubectl as rollouts and undos need.

The journey in `tests/e2e` runs the same story against the real ones.
"""

import itertools
import pickle
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from controller.api import KIND, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL
from controller.cluster import AlreadyExists, ApiError, Conflict, event_name
from controller.index import trimmed
from controller.ports import Object
from controller.resources.rollouts import REVISION, REVISIONS

T = TypeVar("T")

Objects = list[Object]  # `list` is a verb of the client below
HASH_LABEL = "pod-template-hash"
FIRST_SECOND = datetime(2026, 1, 1, tzinfo=UTC)


class FakeCluster:
    """Objects by (kind, namespace, name), and every write that was made through the client's verbs."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.writes: list[tuple[str, str, str]] = []  # verb, kind, name
        self.reads: list[tuple[str, str]] = []  # verb, kind
        self.events: list[tuple[str, str, str]] = []  # type, reason, message
        self.event_names: set[str] = set()
        self.broken_patch = ""  # kind whose next patch does not arrive
        self.refused: dict[str, ApiError] = {}  # kinds that a quota or a policy does not let in
        self.undefined: set[str] = set()  # kinds whose definition is not installed
        self._numbers = itertools.count(1)

    # --- what the controller calls ------------------------------------------------------------------------------------
    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        self.reads.append(("get", kind))
        return copied(self.objects.get((kind, namespace, name)))

    async def list(self, kind: str, namespace: str = "", selector: str = "") -> Objects:
        self.reads.append(("list", kind))
        wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
        return [
            copied(body)
            for (its_kind, its_namespace, _), body in self.objects.items()
            if its_kind == kind
            and namespace in ("", its_namespace)
            and wanted.items() <= (body["metadata"].get("labels") or {}).items()
        ]

    async def each(self, kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[Object]:
        for body in await self.list(kind, namespace, selector):
            yield body

    async def create(self, kind: str, body: Object) -> Object:
        if kind in self.refused:
            raise self.refused[kind]
        if kind in self.undefined:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        made = self.put(kind, body)
        self.writes.append(("create", kind, body["metadata"]["name"]))
        return made

    async def replace_status(self, kind: str, body: Object) -> Object:
        live = self._live(kind, body)
        if live["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "somebody wrote first")
        self.writes.append(("status", kind, body["metadata"]["name"]))
        live["status"] = copied(body["status"])
        return self._stamp(live)

    async def patch(self, kind: str, live: Object, operations: Sequence[Object]) -> Object:
        if self.broken_patch == kind:
            self.broken_patch = ""
            raise ConnectionError("the API server is gone")
        current = self._unchanged(kind, live)
        self.writes.append(("patch", kind, live["metadata"]["name"]))
        before = copied(current["spec"])
        for operation in operations:
            path = operation["path"].removeprefix("/").split("/")
            *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in path)
            node = current
            for parent in parents:
                node = node[parent]
            if operation["op"] == "remove":
                del node[last]
            else:
                node[last] = copied(operation["value"])
        return self._stamp(current, generation=current["spec"] != before)

    async def scale(self, kind: str, namespace: str, name: str, replicas: int) -> None:
        self.writes.append(("scale", kind, name))
        live = self.objects[kind, namespace, name]
        live["spec"]["replicas"] = replicas
        self._stamp(live, generation=True)

    async def delete(self, kind: str, live: Object) -> None:
        place = (kind, live["metadata"]["namespace"], live["metadata"]["name"])
        if place in self.objects:
            self._unchanged(kind, live)
            self.writes.append(("delete", kind, live["metadata"]["name"]))
            del self.objects[place]

    async def announce(self, about: Object, kind: str, reason: str, message: str, occasion: str) -> None:
        name = event_name(about, kind, reason, message, occasion)
        if name not in self.event_names:
            self.event_names.add(name)
            self.events.append((kind, reason, message))

    # --- what people and the cluster do -------------------------------------------------------------------------------
    def put(self, kind: str, body: Object) -> Object:
        """Create an object, as kubectl would."""
        metadata = body["metadata"]
        key = (kind, metadata["namespace"], metadata["name"])
        if key in self.objects:
            raise AlreadyExists(409, "AlreadyExists", f"{kind} {metadata['name']} is there already")
        made = copied(body)
        number = next(self._numbers)
        made["metadata"].setdefault("uid", f"uid-{number}")
        made["metadata"].setdefault("creationTimestamp", (FIRST_SECOND + timedelta(seconds=number)).isoformat())
        self.objects[key] = made
        return self._stamp(made, generation=True)

    def edit(self, kind: str, name: str, **spec: Any) -> None:
        """Change fields of an object's spec, as `kubectl edit` would."""
        live = self.objects[kind, "team", name]
        live["spec"].update(spec)
        self._stamp(live, generation=True)

    def annotate(self, kind: str, name: str, **annotations: str) -> None:
        live = self.objects[kind, "team", name]
        live["metadata"].setdefault("annotations", {}).update(annotations)
        self._stamp(live)

    def crash(self, *, code: int = 1, message: str = "", reason: str = "Error", restarts: int = 0, name: str = "fraud") -> None:
        """A pod of the live template whose server ended that way."""
        ended = {"exitCode": code, "message": message, "reason": reason}
        self.pod({"waiting": {}}, name, restartCount=restarts, lastState={"terminated": ended})

    def pod(self, state: Object, name: str = "fraud", **more: Any) -> None:
        """A pod of the live template whose server is in that state, and not ready."""
        template = self.objects["Deployment", "team", name]["spec"]["template"]
        container = {"name": "server", "state": state, **more}
        metadata = copied(template["metadata"]) | {"name": f"{name}-{next(self._numbers)}", "namespace": "team"}
        self.put("Pod", {"metadata": metadata, "status": {"containerStatuses": [container]}})

    def forget_pods(self) -> None:
        for key in [key for key in self.objects if key[0] == "Pod"]:
            del self.objects[key]

    def roll(self, name: str = "fraud", *, ready: bool = True, deadline_exceeded: bool = False) -> None:
        """What the Deployment controller does: a ReplicaSet for the template, numbered; pods that become ready or do not."""
        live = self.objects["Deployment", "team", name]
        annotations = live["metadata"].setdefault("annotations", {})
        owned = self.replica_sets(name)
        current = next((each for each in owned if _template(each) == live["spec"]["template"]), None)
        if current is None or current["metadata"]["annotations"].get(REVISION) != annotations.get(REVISION):
            annotations[REVISION] = str(1 + max((int(each["metadata"]["annotations"][REVISION]) for each in owned), default=0))
        if current is None:
            number = next(self._numbers)
            template = copied(live["spec"]["template"])
            template["metadata"]["labels"][HASH_LABEL] = f"hash{number}"
            owner = {"kind": "Deployment", "name": name, "uid": live["metadata"]["uid"], "controller": True}
            current = self.put(
                "ReplicaSet",
                {
                    "metadata": {
                        "name": f"{name}-hash{number}",
                        "namespace": "team",
                        "labels": template["metadata"]["labels"],
                        "ownerReferences": [owner],
                    },
                    "spec": {"template": template},
                },
            )
            current = self.objects["ReplicaSet", "team", current["metadata"]["name"]]
        # As the real one: what the Deployment says is copied, what only the ReplicaSet says stays.
        before: dict[str, str] = current["metadata"].get("annotations") or {}
        if REVISION in before and before[REVISION] != annotations[REVISION]:
            earlier = [each for each in (before.get(REVISIONS, ""), before[REVISION]) if each]
            before = {**before, REVISIONS: ",".join(earlier)}
        current["metadata"]["annotations"] = {**before, **annotations}
        wanted = live["spec"]["replicas"]
        for each in self.replica_sets(name):
            if each is current:
                each["status"] = {"readyReplicas": wanted if ready else 0}
            elif ready:
                each["status"] = {"readyReplicas": 0}
        others = sum(
            (each.get("status") or {}).get("readyReplicas", 0) for each in self.replica_sets(name) if each is not current
        )
        live["status"] = {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": wanted + others,
            "updatedReplicas": wanted,
            "readyReplicas": (wanted if ready else 0) + others,
            "availableReplicas": (wanted if ready else 0) + others,
            "conditions": [
                {"type": "Progressing", "reason": "ProgressDeadlineExceeded" if deadline_exceeded else "ReplicaSetUpdated"}
            ],
        }
        self._stamp(live)

    def undo(self, name: str = "fraud", to_revision: int | None = None) -> None:
        """`kubectl rollout undo`: template and annotations of an earlier ReplicaSet, in one patch from the client's side."""
        live = self.objects["Deployment", "team", name]
        by_revision = {int(each["metadata"]["annotations"][REVISION]): each for each in self.replica_sets(name)}
        chosen = by_revision[to_revision or sorted(by_revision)[-2]]
        own = {key: value for key, value in live["metadata"]["annotations"].items() if key == REVISION}
        live["spec"]["template"] = _template(chosen)
        live["metadata"]["annotations"] = {**chosen["metadata"]["annotations"], **own}
        self._stamp(live, generation=True)

    def replica_sets(self, name: str) -> Objects:
        return [body for (kind, _, its), body in self.objects.items() if kind == "ReplicaSet" and its.startswith(f"{name}-")]

    def _live(self, kind: str, body: Object) -> Object:
        metadata = body["metadata"]
        try:
            return self.objects[kind, metadata["namespace"], metadata["name"]]
        except KeyError:
            raise ApiError(404, "NotFound", metadata["name"]) from None

    def _unchanged(self, kind: str, seen: Object) -> Object:
        metadata = seen["metadata"]
        live = self.objects.get((kind, metadata["namespace"], metadata["name"]))
        if live is None:
            raise Conflict(404, "NotFound", f"{metadata['name']} is gone")
        if live["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise Conflict(409, "Conflict", "somebody wrote first")
        return live

    def _stamp(self, body: Object, *, generation: bool = False) -> Object:
        metadata = body["metadata"]
        metadata["resourceVersion"] = str(next(self._numbers))
        metadata["generation"] = metadata.get("generation", 0) + generation
        return copied(body)


def _template(replica_set: Object) -> Object:
    template: Object = copied(replica_set["spec"]["template"])
    del template["metadata"]["labels"][HASH_LABEL]
    return template


class Watches:
    """What watches that are never late have seen of a cluster: ModelDeployments, and the objects that carry our labels."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return next((body for body in self._ours(kind, namespace) if body["metadata"]["name"] == name), None)

    def of_owner(self, kind: str, owner: tuple[str, str]) -> Objects:
        return [body for body in self._ours(kind, owner[0]) if body["metadata"]["labels"][NAME_LABEL] == owner[1]]

    def complete(self, kind: str, namespace: str) -> bool:
        return not self.absent(kind)

    def absent(self, kind: str) -> bool:
        return kind in self._cluster.undefined

    def _ours(self, kind: str, namespace: str) -> Objects:
        return [
            copied(trimmed(kind, body))
            for (its_kind, its_namespace, _), body in self._cluster.objects.items()
            if (its_kind, its_namespace) == (kind, namespace) and (kind == KIND or _labeled(body))
        ]


def _labeled(body: Object) -> bool:
    labels = body["metadata"].get("labels") or {}
    return NAME_LABEL in labels and labels.get(MANAGED_BY_LABEL) == MANAGED_BY


def copied(value: T) -> T:
    """A copy that shares nothing: several times as fast as `copy.deepcopy`, and the tests make a hundred thousand."""
    twin: T = pickle.loads(pickle.dumps(value))
    return twin
