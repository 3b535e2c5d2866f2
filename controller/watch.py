"""kopf's part: watches that survive a silent connection, and nothing else. An event only puts a key in the queue.

No create, update or delete handlers: those act on the difference that an event shows, and would leave kopf's annotations
and finalizers on the objects. What to do is decided from the state, in `controller.reconcile`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import kopf

from controller.api import API_VERSION, GROUP, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL, PLURAL

OURS = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
CHILDREN = (
    ("apps", "v1", "deployments"),
    ("", "v1", "pods"),
    ("", "v1", "services"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("networking.k8s.io", "v1", "networkpolicies"),
)

Enqueue = Callable[[tuple[str, str]], None]


def handlers(enqueue: Enqueue) -> kopf.OperatorRegistry:
    """Handlers that turn every event into the key of the ModelDeployment that it is about."""
    registry = kopf.OperatorRegistry()

    async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    async def resource_changed(namespace: str | None, name: str | None, **_: Any) -> None:
        enqueue((str(namespace), str(name)))

    async def child_changed(namespace: str | None, labels: kopf.Labels, **_: Any) -> None:
        if NAME_LABEL in labels:
            enqueue((str(namespace), labels[NAME_LABEL]))

    kopf.on.login(registry=registry)(log_in)
    kopf.on.event(GROUP, API_VERSION, PLURAL, registry=registry)(resource_changed)
    for group, version, plural in CHILDREN:
        kopf.on.event(group, version, plural, labels={MANAGED_BY_LABEL: MANAGED_BY}, registry=registry)(child_changed)
    return registry


def operator_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # events are posted on purpose, by `controller.reconcile`
    settings.peering.standalone = True  # who leads is decided by a Lease, see `controller.lease`
    settings.scanning.disabled = True  # no right to read namespaces and CustomResourceDefinitions is needed
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    for _, _, plural in CHILDREN:
        settings.watching.label_selectors[plural] = OURS
    return settings


async def watch(enqueue: Enqueue, namespaces: Sequence[str]) -> None:
    """Watch until told to stop by a signal."""
    await kopf.operator(
        registry=handlers(enqueue),
        settings=operator_settings(),
        clusterwide=not namespaces,
        namespaces=list(namespaces),
    )
