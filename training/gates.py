"""Whether a model is good enough to be registered, or to take an alias. Pure."""

import difflib
import re
from collections.abc import Mapping

from training.errors import InputError, NotGoodEnough

SMALLER = re.compile(r"(^|_)(rmse|rmsle|mae|mse|mape|medae|brier|logloss|loss|error|deviance)(_mean)?$|_std$")


def less_is_better(metric: str) -> bool:
    """By its name, whatever part of the data it was measured on; scikit-learn's `neg_...` are turned around."""
    return SMALLER.search(metric) is not None and "neg_" not in metric


def bare(metric: str) -> str:
    """A metric's own name, without the part of the data that it was measured on."""
    return metric.removeprefix("test_")


def insist(metrics: Mapping[str, float], limits: Mapping[str, float]) -> None:
    """On figures: at least so much, or at most where less is better. `f1` and `test_f1` are the same."""
    short = []
    for metric, limit in limits.items():
        value = _value(metrics, metric)
        less = less_is_better(metric)
        if not (value <= limit if less else value >= limit):
            short.append(f"{metric} is {value:.4g}, {'at most' if less else 'at least'} {limit:g} is asked for")
    if short:
        raise NotGoodEnough(f"The model is not good enough: {'; '.join(short)}. Nothing was registered, and no alias has moved.")


def insist_on_no_loss(
    metrics: Mapping[str, float], incumbent: Mapping[str, float], losses: Mapping[str, float], who: str
) -> None:
    """On being no worse than what has the alias now, by more than so much."""
    short = []
    for metric, allowed in losses.items():
        new, old = _value(metrics, metric), _value(incumbent, metric)
        loss = new - old if less_is_better(metric) else old - new
        if not loss <= allowed:
            short.append(f"{metric} is {new:.4g}, that of {who} on the same rows is {old:.4g}, a loss of {allowed:g} is allowed")
    if short:
        raise NotGoodEnough(f"The model is not good enough: {'; '.join(short)}. Nothing was registered, and no alias has moved.")


def _value(metrics: Mapping[str, float], metric: str) -> float:
    for name in (metric, f"test_{metric}", bare(metric)):
        if name in metrics:
            return metrics[name]
    close = difflib.get_close_matches(metric, metrics, n=1, cutoff=0.4)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    raise InputError(f'There is no figure "{metric}".{hint} There are {", ".join(sorted(metrics)) or "none"}.')
