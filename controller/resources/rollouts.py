"""What a template, its Deployment and its ReplicaSets remember of a rollout, and how that is read back and put back."""

import json
from collections.abc import Sequence
from datetime import datetime

from controller.api import GROUP, MANAGED_BY
from controller.ports import Object
from controller.rollout import Failure, PinnedModel, PodGates, Rollout, Word

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
GATES = f"{GROUP}/gates"  # what its pods judge themselves by, and until when; or empty

# On the Deployment. The Deployment controller copies them to the ReplicaSet of the template that is live, so they tell
# under which word each template was written; `kubectl rollout undo` puts the old ones back together with the template.
REQUEST = f"{GROUP}/request"
RETRY = f"{GROUP}/retry"
INPUTS = f"{GROUP}/inputs"
HELD = f"{GROUP}/held"
HELD_OVER = f"{GROUP}/held-over"
INSTEAD_OF = f"{GROUP}/instead-of"
PENDING = f"{GROUP}/pending"
CAUSE = f"{GROUP}/cause"
CHANGE_CAUSE = "kubernetes.io/change-cause"
REVISION = "deployment.kubernetes.io/revision"
REVISIONS = "deployment.kubernetes.io/revision-history"  # the numbers that a ReplicaSet had before, with commas

# On a ReplicaSet alone, whose rollout was taken back. Never on the Deployment, which would copy it to the next one.
FAILED = f"{GROUP}/failed"
HASH_LABEL = "pod-template-hash"  # what the Deployment controller adds to the template of a ReplicaSet


def word_annotations(word: Word, held: str, held_over: int = 0) -> dict[str, str]:
    """The Deployment's annotations that remember a person's word, and what of it is held."""
    return {REQUEST: word.request, RETRY: word.retry, HELD: held, HELD_OVER: _written(held_over), PENDING: ""}


def rollout_annotations(word: Word, inputs_hash: str, *, held: bool, cause: str, change_cause: str) -> dict[str, str]:
    """The Deployment's annotations for a template that is written under `word`."""
    return {
        **word_annotations(word, inputs_hash if held else ""),
        INPUTS: inputs_hash,
        INSTEAD_OF: "",
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
            pending=_read_word(said.get(PENDING, "")),
            held_over=int(said.get(HELD_OVER) or 0),
            instead_of=int(said[INSTEAD_OF] or 0) if INSTEAD_OF in said else None,
            cause=said.get(CAUSE, ""),
            told=said.get(CHANGE_CAUSE, ""),
            image=template["spec"]["containers"][0]["image"],
            runtime=carried.get(RUNTIME, ""),
            revision=int(said.get(REVISION, "0")),
            failed=_read_failure(said.get(FAILED, "")),
            judged=_read_gates(carried.get(GATES, "")),
        )
    except (KeyError, ValueError, IndexError):
        return None


def told_gates(gates: PodGates) -> Object:
    """What pods judge themselves by, as they are told it."""
    limits = {
        "maxLoadSeconds": gates.max_load_seconds,
        "maxLatencyP95Milliseconds": gates.max_latency_p95_milliseconds,
    }
    return {**{name: limit for name, limit in limits.items() if limit is not None}, "until": gates.until.isoformat()}


def _read_gates(text: str) -> PodGates | None:
    """What `told_gates` said; what anybody else wrote there is none."""
    try:
        said = json.loads(text)
        load, latency = said.get("maxLoadSeconds"), said.get("maxLatencyP95Milliseconds")
        return PodGates(
            max_load_seconds=None if load is None else float(load),
            max_latency_p95_milliseconds=None if latency is None else float(latency),
            until=datetime.fromisoformat(said["until"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def pending_annotation(word: Word) -> dict[str, str]:
    """The Deployment's annotation that remembers what a person said and what cannot be rolled out yet."""
    return {PENDING: json.dumps([word.request, word.retry])}


def _read_word(text: str) -> Word | None:
    try:
        request, retry = json.loads(text)
        return Word(request=str(request), retry=str(retry))
    except (ValueError, TypeError):
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
            limit=None if said.get("limit") is None else float(said["limit"]),
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
        "limit": failure.limit,
    }
    return {FAILED: json.dumps(said)}


def mark_patch(replica_set: Object, failure: Failure | None) -> list[Object]:
    """The operations that mark a ReplicaSet, or take the mark away."""
    annotations: dict[str, str] = replica_set["metadata"].get("annotations") or {}
    marked = {key: value for key, value in annotations.items() if key != FAILED}
    if failure is not None:
        marked |= failure_mark(failure)
        if FAILED not in annotations:  # for `kubectl rollout history`, which people choose a revision from
            marked[CHANGE_CAUSE] = f"{annotations.get(CHANGE_CAUSE, '')}, failed: {failure.reason}".removeprefix(", ")
    return [{"op": "add", "path": "/metadata/annotations", "value": marked}]


def is_marked(of: Object) -> bool:
    """Whether a failure is marked there."""
    return FAILED in (of["metadata"].get("annotations") or {})


def of_rollout(replica_sets: Sequence[Object], number: int) -> list[Object]:
    """The ReplicaSets with a template of that rollout, the first that was made in front: the others are restarts and edits."""
    found = [each for each in replica_sets if (known := read_rollout(each)) is not None and known.number == number]
    return sorted(found, key=_made)


def to_put_back(replica_sets: Sequence[Object], number: int) -> Object:
    """The ReplicaSet whose template that rollout is to have again: nobody's edit, with ready pods where there are any."""
    first, *others = of_rollout(replica_sets, number)
    unedited = [first, *(each for each in others if _same(each["spec"]["template"], first["spec"]["template"]))]
    return max(unedited, key=lambda each: (bool((each.get("status") or {}).get("readyReplicas")), _revision(each)))


def restore_patch(live: Object, replica_set: Object, *, held: bool, instead_of: int, change_cause: str) -> list[Object]:
    """The operations that put a ReplicaSet's template back, as `kubectl rollout undo` does, and the word that went with it."""
    said: dict[str, str] = replica_set["metadata"].get("annotations") or {}
    ours = {key: said.get(key, "") for key in (REQUEST, RETRY, INPUTS, CAUSE)}
    ours[HELD] = said.get(HELD, "") if held else ""
    ours |= {HELD_OVER: "", PENDING: "", INSTEAD_OF: _written(instead_of), CHANGE_CAUSE: change_cause}
    return template_patch(live, _template(replica_set), ours)


def unedited_patch(live: Object, replica_set: Object) -> list[Object]:
    """The operations that put its template back where somebody has edited it. All that is known of the rollout stays."""
    return template_patch(live, _template(replica_set), {})


def _template(replica_set: Object) -> Object:
    """As it was before the Deployment controller added its hash."""
    template: Object = replica_set["spec"]["template"]
    metadata = template["metadata"]
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH_LABEL}
    return {**template, "metadata": {**metadata, "labels": labels}}


def _written(number: int) -> str:
    return str(number) if number else ""


def edited(live: Object, replica_sets: Sequence[Object]) -> bool:
    """Whether somebody changed in the live template what we had written there.

    The first ReplicaSet of a rollout has the template as the API server took it from us, defaults and other programs'
    changes included. What somebody has added since is theirs: a sidecar, a variable, `rollout restart`'s annotation. So
    are all annotations but ours: programs that restart pods write another value each time, and the ReplicaSet without any
    does not live for ever.
    """
    known = read_rollout(live)
    first = of_rollout(replica_sets, known.number)[:1] if known is not None else []
    return any(not _same(live["spec"]["template"], each["spec"]["template"]) for each in first)


def superseded(replica_sets: Sequence[Object], live: Rollout, *, completed: bool) -> list[Object]:
    """Empty ReplicaSets that are nowhere to go back to, and would be the next that `kubectl rollout undo` chooses.

    Templates that somebody edited and that were put back; and of what the cluster let fail, all attempts but the last.
    """
    by_age = sorted(replica_sets, key=_made, reverse=True)
    known = [(each, found) for each in by_age if (found := read_rollout(each)) is not None]
    first = {found.number: each for each, found in known}
    attempts = [found for _, found in known if found.failed is not None] + ([live] if completed else [])
    return [
        each
        for each, found in known
        if found.revision != live.revision
        and not each["spec"].get("replicas")
        and not (each.get("status") or {}).get("replicas")
        and (
            not _same(each["spec"]["template"], first[found.number]["spec"]["template"])
            or (found.number != live.number and any(_is_later_attempt(other, found) for other in attempts))
        )
    ]


def _is_later_attempt(other: Rollout, found: Rollout) -> bool:
    return (
        found.failed is not None
        and not found.failed.by_version
        and other.number > found.number
        and other.model.same(found.model)
        and other.inputs == found.inputs
    )


def editor(live: Object) -> str:
    """Who wrote the template last, apart from us, as the API server's books say; empty where they do not."""
    writers = [
        entry
        for entry in live["metadata"].get("managedFields") or []
        if "f:template" in entry.get("fieldsV1", {}).get("f:spec", {}) and entry.get("manager") != MANAGED_BY
    ]
    last = max(writers, key=lambda entry: str(entry.get("time", "")), default=None)
    return "" if last is None else str(last.get("manager", ""))


def _same(live: Object, written: Object) -> bool:
    """Whether a template still says everything that the operator has written in another one of the same rollout."""
    annotations: dict[str, str] = written["metadata"].get("annotations") or {}
    ours = {key: value for key, value in annotations.items() if key.startswith(f"{GROUP}/")}
    return _keeps(live, {**written, "metadata": {**written["metadata"], "annotations": ours}})


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


def _made(of: Object) -> tuple[str, int]:
    """When a ReplicaSet was made. Times have whole seconds; of two, it is the first number that tells: going back renumbers."""
    first = (of["metadata"].get("annotations") or {}).get(REVISIONS, "").split(",")[0]
    return str(of["metadata"].get("creationTimestamp", "")), int(first) if first.isdigit() else _revision(of)


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
