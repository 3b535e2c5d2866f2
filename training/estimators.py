"""The estimators that a pipeline can end with: what each is called, and how large it is asked to be."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge

from training.settings import RunSettings, Task

Kind: TypeAlias = Literal["forest", "boosting", "linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One estimator, not fitted. Only a forest has a size of its own choosing; the others find theirs."""

    kind: Kind
    trees: int = 0
    max_depth: int | None = None
    min_samples_split: int = 2
    balance: bool = False

    def __str__(self) -> str:
        if self.kind != "forest":
            return {"boosting": "gradient boosting", "linear": "linear model"}[self.kind]
        depth = "of any depth" if self.max_depth is None else f"at most {self.max_depth} deep"
        split = f", splits of {self.min_samples_split} and more" if self.min_samples_split > 2 else ""
        return f"{self.trees} trees, {depth}{split}"

    def parameters(self) -> dict[str, Any]:
        """As MLflow records them."""
        size = {"trees": self.trees, "max_depth": self.max_depth, "min_samples_split": self.min_samples_split}
        return {"estimator": self.kind, "balance": self.balance, **(size if self.kind == "forest" else {})}

    def estimator(self, task: Task, seed: int) -> Any:
        """Of scikit-learn's own classes; on one thread, for the sake of who is asked one row."""
        classes = task == "classification"
        weight = {"class_weight": "balanced"} if self.balance and classes else {}
        match self.kind:
            case "forest":
                return (RandomForestClassifier if classes else RandomForestRegressor)(
                    n_estimators=self.trees,
                    max_depth=self.max_depth,
                    min_samples_split=self.min_samples_split,
                    max_features="sqrt" if classes else 1 / 3,
                    random_state=seed,
                    n_jobs=1,
                    **weight,
                )
            case "boosting":
                return (HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor)(random_state=seed, **weight)
            case "linear":
                return LogisticRegression(max_iter=1000, **weight) if classes else Ridge()


def recipe(settings: RunSettings) -> Recipe:
    """What `run` trains."""
    return Recipe(
        kind="forest",
        trees=settings.trees,
        max_depth=settings.max_depth,
        min_samples_split=settings.min_samples_split,
        balance=settings.balance,
    )
