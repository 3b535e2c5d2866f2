"""From data to a model version that a ModelDeployment can take: `python -m training`, and the same from a notebook.

import training
training.register(pipeline, X_train, name="fraud", alias="champion")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.notebook import Registered, register

__all__ = ["Registered", "register"]

_WHERE = {"Registered": "training.notebook", "register": "training.notebook"}


def __getattr__(name: str) -> Any:
    """Loads what is asked for when it is: MLflow takes a second, and a mistake in a table is told without it."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)
