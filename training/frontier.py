"""The picture of an optimization: quality by size, what nothing else beats, the limits, and the choice."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from training.plots import BLUE, GRAY, drawn
from training.search import Choice, Found, Limits, frontier

MARKS = {"forest": "o", "boosting": "s", "linear": "^"}
NAMES = {"forest": "forest", "boosting": "gradient boosting", "linear": "linear model"}
RED, GREEN = "#b3261e", "#1e7d34"


def picture(found: Sequence[Found], choice: Choice, limits: Limits) -> bytes:
    """A PNG."""

    def draw(axes: Axes) -> None:
        line = frontier(found, limits.metric)
        axes.plot([_mb(each) for each in line], [_quality(each) for each in line], color=GRAY, linewidth=1, zorder=1)
        slowest = max(each.row_seconds for each in found)
        for kind, mark in MARKS.items():
            these = [each for each in found if each.spec.kind == kind]
            sizes = [20 + 130 * (each.row_seconds / slowest) ** 0.5 for each in these]
            axes.scatter(
                [_mb(each) for each in these], [_quality(each) for each in these], marker=mark, s=sizes, color=BLUE,
                alpha=0.55, label=NAMES[kind], linewidths=0,
            )  # fmt: skip
        for each, name, color in ((choice.large, "large", RED), (choice.best, "chosen", GREEN)):
            axes.scatter([_mb(each)], [_quality(each)], s=230, facecolors="none", edgecolors=color, linewidths=1.6, label=name)
        axes.axhline(_quality(choice.large) - limits.max_drop, color=RED, linestyle="--", linewidth=1, label="limits")
        if limits.max_size is not None:
            axes.axvline(limits.max_size / 1e6, color=RED, linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(title="Quality and size", xlabel="size of the file, MB", ylabel=f"{limits.metric}, mean of the folds")
        legend = axes.legend(loc="best", title="larger: slower", framealpha=0.7)
        for handle in legend.legend_handles:
            if handle is not None and hasattr(handle, "set_sizes"):
                handle.set_sizes([40])

    def _quality(each: Found) -> float:
        return each.folds[limits.metric][0]

    return drawn(draw, 6.4, 4.6)


def _mb(each: Found) -> float:
    return each.size / 1e6
