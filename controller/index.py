"""What the watches have seen: every object of ours, trimmed, so that a look at one costs no request.

Fed by `controller.reflector` and `controller.watch`, and by every answer to a write of ours (`controller.cluster`), so it never
lags behind what we wrote: of two states of an object the later one stays. It may lag behind what others do. What is decided
from it must therefore be written under its resourceVersion; what a rollout is decided from is read afresh.

Only objects that carry our label are seen: that one is absent here does not mean that its name is free.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from controller.api import NAME_LABEL
from controller.engines import engine
from controller.ports import Key, Object

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
ALL_NAMESPACES = ""
_ON_ITS_WAY = {"ContainerCreating", "PodInitializing", None}  # reasons of a container that only waits for its turn


class Index:
    """Objects by kind, namespace and name."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._of_owner: dict[tuple[str, str, str], set[str]] = defaultdict(set)  # kind, namespace, owner: names
        self._listed: set[tuple[str, str]] = set()  # kind, namespace of a watch
        self._absent: set[str] = set()

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object as it was last seen or written. Not to be changed by the caller."""
        return self._objects.get((kind, namespace, name))

    def of_owner(self, kind: str, owner: Key) -> list[Object]:
        """The objects of a kind that carry a ModelDeployment's name as their label."""
        namespace, name = owner
        return [self._objects[kind, namespace, each] for each in sorted(self._of_owner.get((kind, namespace, name), ()))]

    def all(self, kind: str) -> Iterator[Object]:
        return (body for (its_kind, _, _), body in list(self._objects.items()) if its_kind == kind)

    def complete(self, kind: str, namespace: str) -> bool:
        """Whether the objects of that kind have all been listed there: before that, what is not here may be there."""
        return not self._listed.isdisjoint({(kind, namespace), (kind, ALL_NAMESPACES)})

    def absent(self, kind: str) -> bool:
        """Whether the API server does not know that kind: its CustomResourceDefinition is not installed."""
        return kind in self._absent

    def put(self, kind: str, body: Object) -> bool:
        """Keep `body` unless a later state is here; whether that shows something that a reconcile looks at."""
        place = _place(kind, body)
        held = self._objects.get(place)
        if held is not None and _version(body) <= _version(held):
            return False
        kept = trimmed(kind, body)
        self._objects[place] = kept
        self._of_owner_changed(place, held, kept)
        forgotten = bool(held and held.get("status")) and not kept.get("status") and kind == "ModelDeployment"
        return forgotten or telling(kind, held) != telling(kind, kept)

    def remove(self, kind: str, body: Object) -> bool:
        """The object as `body` shows it is gone; whether that is news. A successor of the same name stays."""
        place = _place(kind, body)
        held = self._objects.get(place)
        if held is None or (held["metadata"].get("uid") != body["metadata"].get("uid") and _version(held) > _version(body)):
            return False
        del self._objects[place]
        self._of_owner_changed(place, held, None)
        return telling(kind, held) is not None

    def listed(self, kind: str, namespace: str, names: Iterable[Key], version: int) -> list[Object]:
        """A list is over that began at `version` and held `names`; returns what was here and is gone.

        What we wrote after the list began is not in it, and stays.
        """
        self._absent.discard(kind)
        self._listed.add((kind, namespace))
        there = set(names)
        gone = [
            body
            for (its_kind, its_namespace, name), body in self._objects.items()
            if its_kind == kind
            and namespace in (ALL_NAMESPACES, its_namespace)
            and (its_namespace, name) not in there
            and _version(body) <= version
        ]
        return [body for body in gone if self.remove(kind, body)]

    def lost(self, kind: str) -> None:
        """The API server does not know the kind (any more)."""
        self._absent.add(kind)
        self._listed = {(its_kind, namespace) for its_kind, namespace in self._listed if its_kind != kind}
        for body in list(self.all(kind)):
            self.remove(kind, body)

    def _of_owner_changed(self, place: tuple[str, str, str], before: Object | None, after: Object | None) -> None:
        kind, namespace, name = place
        if before is not None and (owner := owner_of(before)) is not None:
            self._of_owner[kind, *owner].discard(name)
            if not self._of_owner[kind, *owner]:
                del self._of_owner[kind, *owner]
        if after is not None and (owner := owner_of(after)) is not None:
            self._of_owner[kind, namespace, owner[1]].add(name)


def owner_of(body: Object) -> Key | None:
    """Namespace and name of the ModelDeployment that a child is about."""
    name = (body["metadata"].get("labels") or {}).get(NAME_LABEL)
    return (body["metadata"]["namespace"], name) if name else None


def trimmed(kind: str, body: Object) -> Object:
    """`body` without what nobody here reads: ten thousand of them are kept in memory."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    if LAST_APPLIED in (metadata.get("annotations") or {}):
        metadata["annotations"] = {key: value for key, value in metadata["annotations"].items() if key != LAST_APPLIED}
    kept = {**body, "metadata": metadata}
    if kind == "Pod":
        kept.pop("spec", None)
    elif kind == "Deployment":
        kept["spec"] = {key: value for key, value in (body.get("spec") or {}).items() if key != "template"}
    elif kind != "ModelDeployment":
        kept.pop("status", None)
    return kept


def telling(kind: str, body: Object | None) -> object:
    """What of an object a reconcile looks at: while it stays the same, nothing has to be done. None: as if it were not there."""
    if body is None:
        return None
    metadata = body["metadata"]
    if kind == "Pod":  # a pod that comes up shows on its Deployment; looked for here is trouble, and what only a pod can tell
        told_by_pod = trouble(body), engine(body)
        return told_by_pod if any(told_by_pod) else None
    told = {key: metadata.get(key) for key in ("uid", "labels", "annotations", "ownerReferences", "deletionTimestamp")}
    if kind == "ModelDeployment":  # its status is ours
        return told, metadata.get("generation")
    if kind == "Deployment":
        return told, metadata.get("generation"), _without_times(body.get("status") or {})
    return told, {key: value for key, value in body.items() if key not in ("metadata", "status", "kind", "apiVersion")}


def trouble(pod: Object) -> tuple[object, ...]:
    """At least whatever `controller.pod_faults.fault` finds in a pod: one without trouble is not read."""
    return tuple(_troubles(pod))


def _troubles(pod: Object) -> Iterator[object]:
    status = pod.get("status") or {}
    if status.get("phase") == "Failed":
        yield "Failed", status.get("reason")
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        waiting = (state.get("waiting") or {}).get("reason")
        last = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
        ended = last.get("exitCode") or (last.get("reason") == "OOMKilled")
        restarts = container.get("restartCount", 0)
        if waiting not in _ON_ITS_WAY or ended or restarts:
            yield container["name"], waiting, ended, restarts
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield "PodScheduled", condition.get("message")


def _without_times(status: Object) -> Object:
    conditions = [
        {key: value for key, value in each.items() if not key.startswith("last")} for each in status.get("conditions") or []
    ]
    return {**status, "conditions": conditions}


def _place(kind: str, body: Object) -> tuple[str, str, str]:
    return kind, body["metadata"]["namespace"], body["metadata"]["name"]


def _version(body: Object) -> int:
    """resourceVersions of one API server are comparable numbers (since Kubernetes 1.35 by contract, since ever in fact)."""
    return int(body["metadata"].get("resourceVersion") or 0)
