"""The kubectl commands that messages give as the way out. Pure."""

from controller import api
from controller.resources.identity import Owner, selector


def retry(owner: Owner) -> str:
    return _annotate(owner, f'{api.RETRY_ANNOTATION}="$(date +%s)"')


def approve(owner: Owner, model: str) -> str:
    return _annotate(owner, f'{api.APPROVE_ANNOTATION}="{model}"')


def enable(owner: Owner) -> str:
    """Take the annotation away that stops everything."""
    return f"kubectl annotate -n {owner.namespace} mdep/{owner.name} {api.RECONCILE_ANNOTATION}-"


def resume(owner: Owner) -> str:
    return f"kubectl rollout resume -n {owner.namespace} deployment/{owner.name}"


def undo(owner: Owner, revision: int) -> str:
    return f"kubectl rollout undo -n {owner.namespace} deployment/{owner.name} --to-revision={revision}"


def scale(owner: Owner, replicas: int) -> str:
    return f"kubectl scale -n {owner.namespace} deployment/{owner.name} --replicas={replicas}"


def logs(owner: Owner, version: str) -> str:
    """Of a container that crashed and is not up again, this is what it said before. One that never began has no logs: without the
    last flag kubectl stops there, before or after the others."""
    return f"kubectl logs {_pods(owner, version)} --all-containers --tail=50 --ignore-errors"


def describe_pods(owner: Owner, version: str) -> str:
    return f"kubectl describe pods {_pods(owner, version)}"


def show(owner: Owner, kind: str) -> str:
    """A child as it is."""
    return f"kubectl get -n {owner.namespace} {kind.lower()} {owner.name} -o yaml"


def _annotate(owner: Owner, annotation: str) -> str:
    return f"kubectl annotate --overwrite -n {owner.namespace} mdep/{owner.name} {annotation}"


def _pods(owner: Owner, version: str) -> str:
    labels = {**selector(owner), api.VERSION_LABEL: version}
    return f"-n {owner.namespace} -l {','.join(f'{label}={value}' for label, value in labels.items())}"
