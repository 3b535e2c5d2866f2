"""Which Python modules a pickled model needs, and whether a server has them.

What a notebook defines itself travels inside the pickle; what it imports from a file of its own does not.
"""

import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle

from training.errors import InputError

IN_EVERY_SERVER = frozenset(
    ("sklearn", "numpy", "scipy", "pandas", "joblib", "cloudpickle", "threadpoolctl", "skops", "dateutil", "pytz", "six")
)
"""Beside Python's own: the packages of the server image that a model may need."""


def pickled(model: Any) -> bytes:
    """The model as cloudpickle writes it."""
    try:
        return bytes(cloudpickle.dumps(model))
    except Exception as e:  # whatever a model has inside can refuse in its own way
        raise InputError(
            f"The model can't be written to a file: {type(e).__name__}: {' '.join(str(e).split())[:300]}. Something inside it "
            "(an open file, a connection, a lock, a generator) exists only in this process: keep it out of the fitted pipeline."
        ) from e


def needed(content: bytes) -> dict[str, str]:
    """The modules that no server has, each with one name that the model takes from it. The content is the caller's own."""
    finder = _Finder(io.BytesIO(content))
    finder.load()
    return {
        root: name
        for root, name in finder.found.items()
        if root not in IN_EVERY_SERVER and root not in sys.stdlib_module_names and root != "__main__"
    }


def refuse(missing: dict[str, str]) -> InputError:
    """What is to be done about modules that no server has."""
    names = ", ".join(f"{root} (for {name})" for root, name in sorted(missing.items()))
    first = sorted(missing)[0]
    return InputError(
        f"The model needs Python modules that no server has: {names}. Three ways out: scikit-learn's own classes; your own "
        f"code inside the model's file, with cloudpickle.register_pickle_by_value({first}) before this call; or a server image "
        'that has the package, named here as image="...".'
    )


class _Finder(pickle.Unpickler):
    """Notes each module as it is asked for."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.found: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if module.startswith("cloudpickle") and name == "subimport":  # a module that a function of the model uses
            return self._noted(found)
        self.found.setdefault(module.split(".")[0], f"{module}.{name}")
        return found

    def _noted(self, subimport: Callable[[str], Any]) -> Callable[[str], Any]:
        def noted(module: str) -> Any:
            self.found.setdefault(module.split(".")[0], module)
            return subimport(module)

        return noted
