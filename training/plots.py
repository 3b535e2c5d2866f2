"""Pictures of how good a model is, as PNG files. The same figures give the same bytes."""

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_curve, roc_auc_score, roc_curve

from training.evaluate import Judged
from training.importance import Importance

BLUE, GRAY = "#1f5fa8", "#9aa0a6"
DPI = 110
POINTS = 2000
"""More of a curve can't be seen."""
CURVES = 8
"""So many classes get a curve, those with the most rows; more would hide each other."""
NAMED = 15
"""So many classes get numbers in the confusion matrix, and so many columns a bar."""
BINS = 10
LONG = 24


def pictures(judged: Judged, importances: Sequence[Importance], measure: str) -> dict[str, bytes]:
    """By file name, in the order in which one looks at them."""
    draw: dict[str, Callable[[Axes], None]]
    if judged.probabilities is None:
        draw = {
            "predicted.png": lambda axes: _predicted(axes, judged),
            "residuals.png": lambda axes: _residuals(axes, judged),
        }
    else:
        draw = {
            "confusion.png": lambda axes: _confusion(axes, judged),
            "roc.png": lambda axes: _roc(axes, judged),
            "precision-recall.png": lambda axes: _precision_recall(axes, judged),
            "calibration.png": lambda axes: _calibration(axes, judged),
        }
    draw["importance.png"] = lambda axes: _importance(axes, importances, measure)
    return {name: drawn(how) for name, how in draw.items()}


def drawn(how: Callable[[Axes], None], width: float = 5.0, height: float = 4.2) -> bytes:
    """One picture. Names are shown as they are: a dollar sign begins no formula."""
    style: Any = {"text.parse_math": False, "font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        how(figure.subplots())
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


def name(text: object, number: int) -> str:
    """A name as far as the font has it; what it has no letters for is numbered, and spelled out in the report."""
    shown = str(text)
    if any(ord(letter) not in _letters() for letter in shown):
        return f"no. {number + 1}"
    return shown if len(shown) <= LONG else f"{shown[: LONG - 1]}…"


@functools.cache
def _letters() -> Mapping[int, int]:
    path = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans"))
    letters: Mapping[int, int] = font_manager.get_font(path).get_charmap()
    return letters


# --- classes ----------------------------------------------------------------------------------------------------------


def _confusion(axes: Axes, judged: Judged) -> None:
    assert judged.classes is not None  # noqa: S101 - only where there are classes
    counts = confusion_matrix(judged.labels, judged.predictions, labels=judged.classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set(title="Confusion matrix", xlabel="predicted", ylabel="true")
    axes.spines[:].set_visible(False)
    if len(counts) <= NAMED:
        names = [name(label, number) for number, label in enumerate(judged.classes)]
        axes.set_xticks(range(len(names)), names, rotation=0 if len(names) < 4 else 90)
        axes.set_yticks(range(len(names)), names)
        size = 11 if len(names) < 6 else 6
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count}", ha="center", va="center", color=color, fontsize=size)


def _roc(axes: Axes, judged: Judged) -> None:
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1, label="chance")
    for truth, scores, label, color in _curves(judged):
        wrong, right, _ = roc_curve(truth, scores)
        axes.plot(*_thinned(wrong, right), color=color, label=f"{label}{roc_auc_score(truth, scores):.3f}")
    axes.set(title="ROC curve", xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", title="area under the curve")


def _precision_recall(axes: Axes, judged: Judged) -> None:
    for truth, scores, label, color in _curves(judged):
        precision, recall, _ = precision_recall_curve(truth, scores, drop_intermediate=True)
        axes.plot(
            *_thinned(recall, precision), color=color, drawstyle="steps-post",
            label=f"{label}{average_precision_score(truth, scores):.3f}",
        )  # fmt: skip
        axes.axhline(truth.mean(), color=GRAY if judged.positive is not None else color, linestyle="--", linewidth=1)
    axes.set(title="Precision and recall", xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.legend(loc="best", title="average precision\n(dashed: chance)")


def _calibration(axes: Axes, judged: Judged) -> None:
    """Of two classes the positive one's probability, of more that of the predicted class."""
    assert judged.probabilities is not None  # noqa: S101 - only where there are classes
    if judged.positive is not None:
        said, truth = judged.probabilities[:, judged.column], judged.labels == judged.positive
        called = name(judged.positive, judged.column)
        what = f'probability of "{called}"', f'share of "{called}"'
    else:
        said, truth = judged.probabilities.max(axis=1), judged.predictions == judged.labels
        what = "probability of the predicted class", "share that is right"
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    there = counts > 0
    means = np.bincount(bins, said, BINS)[there] / counts[there]
    shares = np.bincount(bins, truth, BINS)[there] / counts[there]
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1, label="perfect")
    axes.plot(means, shares, color=BLUE, linewidth=1)
    sizes = 15 + 120 * np.sqrt(counts[there] / counts.max())
    axes.scatter(means, shares, s=sizes, color=BLUE, alpha=0.8, label="a tenth of the range;\nlarger: more rows")
    axes.set(title="Calibration", xlabel=what[0], ylabel=what[1], xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.legend(loc="best")


def _curves(judged: Judged) -> list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64], str, Any]]:
    """What is right, the scores, a name, a color: one curve for two classes, else one a class against the rest."""
    assert judged.classes is not None  # noqa: S101 - only where there are classes
    assert judged.probabilities is not None  # noqa: S101 - as above
    truth = judged.truth
    if judged.positive is not None:
        column = judged.column
        return [(truth[:, column], judged.probabilities[:, column], f"{name(judged.positive, column)}: ", BLUE)]
    most = sorted(np.argsort(-truth.sum(axis=0), kind="stable")[:CURVES].tolist())
    colors = matplotlib.colormaps["tab10"]
    return [
        (truth[:, each], judged.probabilities[:, each], f"{name(judged.classes[each], each)}: ", colors(number))
        for number, each in enumerate(most)
    ]


def _thinned(*curve: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    step = max(1, len(curve[0]) // POINTS)
    return [np.append(values[:-1:step], values[-1]) for values in curve]


# --- quantities -------------------------------------------------------------------------------------------------------


def _predicted(axes: Axes, judged: Judged) -> None:
    low, high = min(judged.labels.min(), judged.predictions.min()), max(judged.labels.max(), judged.predictions.max())
    axes.plot([low, high], [low, high], color=GRAY, linestyle="--", linewidth=1, label="perfect")
    if len(judged.labels) > POINTS:
        image = axes.hexbin(judged.labels, judged.predictions, gridsize=50, bins="log", mincnt=1, cmap="Blues")
        axes.figure.colorbar(image, ax=axes, label="rows", shrink=0.8, format="{x:g}")
    else:
        axes.scatter(judged.labels, judged.predictions, s=10, alpha=0.5, color=BLUE)
    axes.set(title="Predicted and true", xlabel="true", ylabel="predicted")
    axes.legend(loc="upper left")


def _residuals(axes: Axes, judged: Judged) -> None:
    residuals = judged.predictions - judged.labels
    axes.hist(residuals, bins=40, color=BLUE, alpha=0.8)
    axes.axvline(0, color=GRAY, linestyle="--", linewidth=1)
    axes.set(title=f"Errors (mean {residuals.mean():.3g})", xlabel="predicted minus true", ylabel="rows")


# --- columns ----------------------------------------------------------------------------------------------------------


def _importance(axes: Axes, importances: Sequence[Importance], measure: str) -> None:
    shown = importances[:NAMED][::-1]
    names = [name(each.column, len(shown) - 1 - number) for number, each in enumerate(shown)]
    means, spreads = [each.mean for each in shown], [each.std or 0.0 for each in shown]
    axes.barh(range(len(shown)), means, xerr=spreads, color=BLUE, error_kw={"ecolor": GRAY, "elinewidth": 1})
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(-1 + min(0, (len(shown) - 6) / 2), len(shown) + max(0, (6 - len(shown)) / 2))  # a few bars stay slim
    more = f" (the first {NAMED} of {len(importances)})" if len(importances) > NAMED else ""
    axes.set(title=f"Permutation importance{more}", xlabel=f"{measure} falls by")
