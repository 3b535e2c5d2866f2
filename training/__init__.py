"""From data to a model version that a ModelDeployment can take: `python -m training`, and the same from a notebook. In a
checkout it is `import training`, where the wheel is installed `from modeldeployment import training`; then
`training.register(pipeline, X_sample, name="fraud", alias="champion")`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.adoption import adopt
    from training.manage import compare, pin, promote, versions
    from training.notebook import register

__all__ = ["adopt", "compare", "pin", "promote", "register", "versions"]

_MANAGED = dict.fromkeys(("compare", "pin", "promote", "versions"), "manage")
_WHERE = {"adopt": "adoption", "register": "notebook", **_MANAGED}


def __getattr__(name: str) -> Any:
    """Loads what is asked for when it is: MLflow takes a second, and a mistake in a table is told without it."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
