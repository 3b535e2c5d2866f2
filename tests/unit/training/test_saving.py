"""The file that a version is: read without pickle where that can be, and nothing in it that a server lacks."""

import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from training import foreign, skops_file
from training.errors import InputError
from training.notebook import register

X = np.random.default_rng(0).normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)


class Foreign:
    """Of another library, of which scikit-learn can't tell whether it is fitted."""

    def fit(self, rows: Any) -> None: ...

    def predict(self, rows: Any) -> Any: ...


def forest() -> Any:
    return RandomForestClassifier(3, max_depth=3, random_state=0).fit(X, Y)


def test_the_same_model_gives_the_same_skops_file_which_answers_the_same(tmp_path: Path) -> None:
    files = [tmp_path / "one.skops", tmp_path / "two.skops"]
    models = [forest(), forest()]
    for file, model in zip(files, models, strict=True):
        skops.io.dump(model, file)
        size = file.stat().st_size
        skops_file.put_in_order(file)
        assert file.stat().st_size < size / 2
    assert files[0].read_bytes() == files[1].read_bytes()
    read = skops.io.load(files[0], trusted=skops_file.types_of(models[0]))
    np.testing.assert_array_equal(read.predict_proba(X), models[0].predict_proba(X))


def test_what_no_server_trusts_by_itself_is_no_skops_file() -> None:
    assert skops_file.types_of(forest()) == ["sklearn.tree._tree.Tree"]
    assert skops_file.types_of(make_pipeline(FunctionTransformer(lambda x: x), LogisticRegression()).fit(X, Y)) is None


@pytest.fixture
def own_module() -> Any:
    """A file beside the notebook."""
    module = types.ModuleType("mylib")
    exec("def clean(x): return x", vars(module))
    sys.modules["mylib"] = module
    yield module
    del sys.modules["mylib"]


def test_a_module_of_ones_own_is_in_no_server(own_module: Any) -> None:
    model = make_pipeline(FunctionTransformer(own_module.clean), LogisticRegression()).fit(X, Y)
    found = foreign.needed(foreign.pickled(model))
    assert found == {"mylib": "mylib.clean"}
    assert "cloudpickle.register_pickle_by_value(mylib)" in str(foreign.refuse(found))


def test_a_module_that_a_function_uses_is_needed_too(own_module: Any) -> None:
    code = "def used(x): return mylib.clean(x)"
    scope: dict[str, Any] = {"mylib": own_module, "__name__": "__main__"}
    exec(code, scope)
    model = make_pipeline(FunctionTransformer(scope["used"]), LogisticRegression()).fit(X, Y)
    assert foreign.needed(foreign.pickled(model)) == {"mylib": "mylib"}


def test_a_lambda_of_numpy_is_at_home_everywhere() -> None:
    scope: dict[str, Any] = {"np": np, "__name__": "__main__"}
    exec("f = lambda x: np.log1p(abs(x))", scope)
    assert foreign.needed(foreign.pickled(make_pipeline(FunctionTransformer(scope["f"]), forest()))) == {}


def test_what_lives_in_this_process_only_can_not_be_written() -> None:
    model = LogisticRegression().fit(X, Y)
    model.lock = threading.Lock()
    with pytest.raises(InputError, match=r"The model can't be written to a file: TypeError.*lock"):
        foreign.pickled(model)


@pytest.mark.parametrize(
    ("model", "rows", "complaint"),
    [
        (LogisticRegression(), X, "The LogisticRegression is not fitted. Call fit(X, y) before register()."),
        (make_pipeline(FunctionTransformer(), LogisticRegression()), X, "The Pipeline is not fitted."),
        (LogisticRegression, X, "LogisticRegression is a class."),
        ({"model": 1}, X, "A dict is no model."),
        (FunctionTransformer().fit(X), X, "A FunctionTransformer has no predict()"),
        (GridSearchCV(LinearRegression(), {}, refit=False), X, "A GridSearchCV with refit=False has no predict()."),
        (Foreign(), [[1, 2], [1]], "X_sample is no table"),
        (forest(), X[:, :2], "X_sample has 2 columns, and the model was trained with 3."),
        (
            LinearRegression().fit(X, Y),
            np.where(np.arange(120).reshape(40, 3) == 4, np.nan, X),
            "Column 2, row 2 of X_sample has no value, and the model takes none that are missing.",
        ),
    ],
)
def test_a_mistake_is_told_before_mlflow_is_asked(model: Any, rows: Any, complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        register(model, rows, name="x", tracking_uri="http://127.0.0.1:9")
    assert complaint in str(raised.value)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"name": "a/b"}, 'MLflow takes no model name like "a/b"'),
        ({"alias": "latest"}, 'MLflow takes no alias like "latest"'),
        ({"X_test": X}, "X_test and y_test go together"),
        ({"X_test": X[:, :2], "y_test": Y}, "X_test has 2 columns, and the model was trained with 3."),
        ({"X_test": X[:0], "y_test": []}, "X_test has no rows."),
        ({"X_test": np.full((40, 3), "x"), "y_test": Y}, "The model can't predict X_test."),
        ({"X_test": X, "y_test": Y[:3]}, "y_test has the shape (3,), and X_test 40 rows"),
        ({"X_test": X, "y_test": np.stack([Y, Y], axis=1)}, "for a model of several outputs count the figures yourself"),
        ({"X_test": X, "y_test": Y.astype(str)}, "The figures of X_test and y_test can't be counted"),
        ({"target": 3}, 'target is 3. Pass the name of what is predicted: target="3".'),
        ({"metrics": [("f1", 1)]}, "metrics is a list. Pass a dict: metrics={name: value}."),
        ({"ranges": (0, 1)}, "ranges is a tuple. Pass a dict: ranges={name: value}."),
        ({"X_test": X, "y_test": Y, "model": KMeans(2, n_init=1).fit(X)}, "predicts neither classes nor quantities"),
        ({"metrics": {"f1": "good"}}, "metrics: f1 is 'good', which is no number."),
    ],
)
def test_an_argument_that_can_not_be_is_told(more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        register(**{"model": forest(), "X_sample": X, "name": "x", "tracking_uri": "http://127.0.0.1:9", **more})
    assert complaint in str(raised.value)
