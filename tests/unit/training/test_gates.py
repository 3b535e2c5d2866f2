"""Good enough, or exit code 3."""

import pytest

from training.errors import InputError, NotGoodEnough
from training.gates import insist, insist_on_no_loss

SCORES = {"f1": 0.8, "rmse": 2.0, "roc_auc": 0.9}


def test_what_reaches_its_limit_is_good_enough() -> None:
    insist(SCORES, {"f1": 0.8, "test_roc_auc": 0.5, "rmse": 2.0})
    insist({"test_f1": 0.8}, {"f1": 0.8})
    insist(SCORES, {})


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        ({"f1": 0.81}, "f1 is 0.8, at least 0.81 is asked for"),
        ({"rmse": 1.9}, "rmse is 2, at most 1.9 is asked for"),
        ({"f1": 0.9, "roc_auc": 0.95}, "f1 is 0.8, at least 0.9 is asked for; roc_auc is 0.9, at least 0.95 is asked for"),
    ],
)
def test_what_falls_short_is_told_with_both_figures(limits: dict[str, float], complaint: str) -> None:
    with pytest.raises(NotGoodEnough) as raised:
        insist(SCORES, limits)
    assert complaint in str(raised.value)
    assert raised.value.exit_code == 3


@pytest.mark.parametrize(
    "metric", ["cv_rmse_mean", "before_brier", "training_mean_squared_error", "test_logloss", "mean_absolute_error", "cv_f1_std"]
)
def test_an_error_may_be_at_most_so_large_wherever_it_was_measured(metric: str) -> None:
    insist({metric: 0.4}, {metric: 0.5})
    with pytest.raises(NotGoodEnough, match=r"at most 0\.5 is asked for"):
        insist({metric: 9.0}, {metric: 0.5})


@pytest.mark.parametrize("metric", ["cv_f1_mean", "neg_mean_squared_error", "d2_brier_score", "lossless"])
def test_another_figure_must_be_at_least_so_large(metric: str) -> None:
    insist({metric: 9.0}, {metric: 0.5})
    with pytest.raises(NotGoodEnough, match=r"at least 0\.5 is asked for"):
        insist({metric: 0.4}, {metric: 0.5})


def test_a_figure_that_is_not_a_number_reaches_nothing() -> None:
    with pytest.raises(NotGoodEnough):
        insist({"f1": float("nan")}, {"f1": 0})


def test_a_figure_that_nobody_measured_is_a_mistake() -> None:
    with pytest.raises(InputError, match=r'There is no figure "roc-auc". Did you mean "roc_auc"\? There are f1, rmse, roc_auc.'):
        insist(SCORES, {"roc-auc": 0.5})


def test_a_loss_is_measured_in_the_direction_of_the_figure() -> None:
    insist_on_no_loss(SCORES, {"f1": 0.81, "rmse": 1.5}, {"f1": 0.011, "rmse": 0.5}, "version 3")
    insist_on_no_loss(SCORES, {"f1": 0.1, "rmse": 9}, {"f1": 0, "rmse": 0}, "version 3")
    for losses in ({"f1": 0.009}, {"rmse": 0.4}):
        with pytest.raises(NotGoodEnough, match="that of version 3 on the same rows is"):
            insist_on_no_loss(SCORES, {"f1": 0.81, "rmse": 1.5}, losses, "version 3")
