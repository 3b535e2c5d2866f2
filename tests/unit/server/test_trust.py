"""Which types a skops file may have, and what is looked at besides the types: content that compiled code follows unchecked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.neighbors import KNeighborsClassifier

from server import artifact, trust
from server.errors import LoadFailed
from server.model import load
from server.settings import Trust
from tests.unit.server import factories
from tests.unit.server.conftest import Model


def test_the_trusted_types_are_names_that_scikit_learn_still_has() -> None:
    for name in trust.TRUSTED:
        module, _, attribute = name.rpartition(".")
        assert hasattr(__import__(module, fromlist=[attribute]), attribute), name


def forest() -> RandomForestClassifier:
    features, target = factories.cancer()
    return RandomForestClassifier(2, max_leaf_nodes=9, random_state=0).fit(features, target)


@pytest.mark.parametrize(
    ("field", "value"),
    [("left_child", 10**6), ("left_child", 0), ("right_child", -5), ("feature", 10**6), ("feature", -7)],
)
def test_a_tree_that_leads_out_of_itself_is_refused(field: str, value: int) -> None:
    broken = forest()
    assert not trust.has_broken_tree(broken)
    tree = broken.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    assert trust.has_broken_tree(broken)


def test_a_skops_file_with_such_a_tree_is_not_loaded(model: Model, tmp_path: Path) -> None:
    broken = forest()
    tree = broken.estimators_[0].tree_
    state = tree.__getstate__()
    state["nodes"]["left_child"][0] = 10**6
    tree.__setstate__(state)
    directory = factories.altered(model("skops"), tmp_path / "model", lambda mlmodel: None)
    skops.io.dump(broken, directory / "model.skops")
    with pytest.raises(LoadFailed, match="tree whose nodes lead out of it"):
        load(artifact.read(directory), Trust())


def test_a_tree_for_wider_data_is_refused() -> None:
    broken = forest()
    features, target = factories.cancer()
    wide = RandomForestClassifier(1).fit(np.hstack([features, features]), target)
    broken.estimators_[1] = wide.estimators_[0]
    assert trust.has_broken_tree(broken)


@pytest.mark.parametrize(("field", "value"), [("left", 10**6), ("feature_idx", 4), ("bitset_idx", 10**6)])
def test_a_boosted_tree_that_leads_out_of_itself_is_refused(field: str, value: int) -> None:
    features, target = factories.cancer()
    boosted = HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]).fit(features.round(-1).clip(0, 200), target)
    assert not trust.has_broken_tree(boosted)
    nodes = boosted._predictors[0][0].nodes
    nodes["is_categorical"][0] = 1
    nodes[field][0] = value
    assert trust.has_broken_tree(boosted)


def test_every_scorer_of_a_search_is_trusted() -> None:
    functions = {get_scorer(name)._score_func for name in get_scorer_names()}
    assert {f"{function.__module__}.{function.__name__}" for function in functions} <= set(trust.TRUSTED)


def neighbors(algorithm: str) -> Any:
    features, target = factories.cancer()
    return KNeighborsClassifier(algorithm=algorithm, leaf_size=100, p=3).fit(features, target)


BROKEN = {
    "a row that is not there": lambda state: state[1].__setitem__(0, 10**9),
    "a row before the first": lambda state: state[1].__setitem__(0, -1),
    "a slice beyond the rows": lambda state: state[2]["idx_end"].__setitem__(-1, 10**9),
    "a slice that starts before them": lambda state: state[2]["idx_start"].__setitem__(-1, -1),
    "a node without the two below it": lambda state: state[2]["is_leaf"].__setitem__(-1, 0),
    "bounds of fewer nodes": lambda state: state.__setitem__(3, state[3][:, :1].copy()),
    "fewer places than rows": lambda state: state.__setitem__(1, state[1][:9].copy()),
    "weights of fewer rows": lambda state: state.__setitem__(12, np.ones(3)),
    "a metric with other columns": lambda state: state[11].__setstate__((3.0, np.ones(99), np.ones((1, 1)))),
}


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
@pytest.mark.parametrize("break_it", BROKEN.values(), ids=BROKEN)
def test_a_search_tree_that_leads_out_of_itself_is_refused(algorithm: str, break_it: Any) -> None:
    broken = neighbors(algorithm)
    assert not trust.has_broken_tree(broken)
    state = [part.copy() if isinstance(part, np.ndarray) else part for part in broken._tree.__getstate__()]
    break_it(state)
    broken._tree.__setstate__(tuple(state))
    assert trust.has_broken_tree(broken)
