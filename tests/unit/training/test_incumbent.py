"""Two versions side by side: only what is alike is compared, and what differs is told."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.incumbent import as_trained
from training.manage import changes
from training.table import Part

TEST = Part(features=pd.DataFrame({"b": [1.0, 2.0], "a": [3.0, 4.0]}), labels=np.array(["no", "yes"], dtype=object))


def trained(classes: list[Any]) -> Any:
    return SimpleNamespace(classes_=np.array(classes), feature_names_in_=np.array(["a", "b"], dtype=object))


def test_the_other_version_is_asked_in_the_order_of_its_own_columns() -> None:
    assert list(as_trained(trained(["no", "yes"]), TEST).features.columns) == ["a", "b"]
    assert as_trained(SimpleNamespace(), TEST) is TEST


def test_figures_over_other_classes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="its classes are others: perhaps"):
        as_trained(trained(["no", "perhaps", "yes"]), TEST)


def test_inputs_of_two_versions_are_the_same_only_where_both_are_known() -> None:
    four, seven = ({"array 1": (f"float64 of shape (-1, {width})", True)} for width in (4, 7))
    assert list(changes(four, seven)) == ['"array 1" was float64 of shape (-1, 4), is float64 of shape (-1, 7)']
    assert list(changes(four, four)) == []
    assert list(changes(None, None)) == ["of a version without a signature is known to nobody"]
