"""Who a child belongs to: the one place for names, labels and owner references."""

from dataclasses import dataclass
from typing import Any

from controller import api


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The ModelDeployment as its children know it."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def selector(owner: Owner) -> dict[str, str]:
    """The labels that select the pods. A Deployment's selector can never change, so this is one label for ever."""
    return {api.NAME_LABEL: owner.name}


def labels(owner: Owner) -> dict[str, str]:
    return {
        **selector(owner),
        "app.kubernetes.io/name": "model-server",
        "app.kubernetes.io/instance": owner.name,
        api.MANAGED_BY_LABEL: api.MANAGED_BY,
    }


def metadata(owner: Owner, **more: Any) -> dict[str, Any]:
    """The metadata of a child: its name is the owner's, and it is gone when the owner is."""
    return {
        "name": owner.name,
        "namespace": owner.namespace,
        "labels": labels(owner),
        "ownerReferences": [
            {
                "apiVersion": f"{api.GROUP}/{api.API_VERSION}",
                "kind": api.KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
        **more,
    }


def owned(child: dict[str, Any], uid: str) -> bool:
    """Whether `child` is controlled by the object with that uid."""
    references = child["metadata"].get("ownerReferences") or []
    return any(reference.get("controller") and reference["uid"] == uid for reference in references)


def left_behind(child: dict[str, Any], owner: Owner) -> bool:
    """Whether `child` is an earlier ModelDeployment's of the owner's name, and so about to be removed with it."""
    references = child["metadata"].get("ownerReferences") or []
    return any(
        reference.get("controller")
        and (reference["kind"], reference["name"]) == (api.KIND, owner.name)
        and reference["apiVersion"].startswith(f"{api.GROUP}/")
        and reference["uid"] != owner.uid
        for reference in references
    )
