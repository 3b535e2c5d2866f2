"""How figures are written, wherever a person reads them. Pure."""

import math

from training.evaluate import Scores

FIRST = {"accuracy": "accuracy", "f1": "F1", "roc_auc": "ROC AUC", "rmse": "RMSE", "mae": "MAE", "r2": "R²"}
"""Those that are looked at first."""


def told(scores: Scores) -> str:
    """The first ones, in one line."""
    return ", ".join(f"{name} {shown(metric, scores[metric])}" for metric, name in FIRST.items() if metric in scores)


def shown(metric: str, value: float, size: float | None = None) -> str:
    """Three digits behind the point; of an error in the target's own unit, as many as `size` has three digits."""
    size = abs(value if size is None else size)
    if metric not in ("rmse", "mae") or not math.isfinite(size) or size == 0:
        return f"{value:.3f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}"
