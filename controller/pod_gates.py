"""The gates that pods judge themselves by: which hold for a version, and whether one that refused it would let it pass today."""

from dataclasses import replace
from datetime import datetime

from controller import gates, status
from controller.observation import Live
from controller.policy import Gates
from controller.resource import Resource
from controller.rollout import Failure, PinnedModel, PodGates


def holding(resource: Resource, defaults: Gates, model: PinnedModel, until: datetime) -> PodGates | None:
    """What new pods of that model judge themselves by until then."""
    wanted = resource.spec.gates.with_defaults(defaults)
    return gates.in_pods(wanted, model.version, model.digest, status.served(resource.before), until)


def weighed(resource: Resource, defaults: Gates, model: PinnedModel, failure: Failure) -> Failure:
    """The failure, with whether its gate was raised or waived since."""
    return replace(failure, lifted=gates.lifted(failure, holding(resource, defaults, model, failure.at)))


def weighed_marks(resource: Resource, defaults: Gates, live: Live) -> Live:
    """What is live, with which of the marked failures are lifted."""
    lifted = {
        each.number
        for each in live.remembered
        if each.failed is not None and weighed(resource, defaults, each.model, each.failed).lifted
    }
    return replace(live, lifted=frozenset(lifted))


def without_lifted(resource: Resource, defaults: Gates) -> Resource:
    """The resource as if its status did not name the failures that are lifted."""
    standing = [
        entry
        for entry, known in zip(resource.before.quarantined, status.quarantined(resource.before), strict=True)
        if not weighed(resource, defaults, known.model, known.failure).lifted
    ]
    return replace(resource, before=resource.before.model_copy(update={"quarantined": standing}))
