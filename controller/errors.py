"""What can stop a reconcile, named by consequence.

    ReconcileError        carries the reason (CamelCase: of the condition, the event and the log line) and the sentence
    ├─ Waiting            heals by itself: tried again after a delay, what serves goes on
    └─ Stalling           needs a person: tried again when the spec or the model changes

Errors of libraries are translated where they are met; only these two reach `reconcile`.
"""


class ReconcileError(Exception):
    """`reason` for machines, `message` for a person: what is wrong, and the way out."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Waiting(ReconcileError):
    """Nothing for a person to do here; `delay` in seconds until the next try."""

    def __init__(self, reason: str, message: str, delay: float = 15.0) -> None:
        super().__init__(reason, message)
        self.delay = delay


class Stalling(ReconcileError):
    """No retry helps until a person changes something."""
