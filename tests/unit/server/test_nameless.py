"""A model without names in its signature takes arrays, and tables with the names of its training, if its estimator knows them."""

import json
import math
from typing import Any

import pytest

from server.artifact import Bounds
from server.checked import Checked
from server.engine import Predicted
from server.errors import InvalidFeatures
from server.protocols import Asked, Model, Request
from server.protocols.mlflow import Invocations
from server.signature import Columns, Vector
from server.table import Column
from server.validation import Validator, validator

TRAINED = Vector(width=2, numbers=False, optional=True, names=("plan", "age"))


def model(inputs: Vector, **more: Any) -> Model:
    checks = validator(inputs, Bounds())
    return Model(name="m", version="1", inputs=inputs, validator=checks, classes=None, has_probabilities=False, **more)


def invoked(inputs: Vector, body: dict[str, Any] | str, **more: Any) -> Asked:
    content, media = (body, "text/csv") if isinstance(body, str) else (json.dumps(body), "application/json")
    return Invocations(model(inputs, **more)).decode(Request(content.encode(), media))


def rows(checked: Checked) -> list[list[Any]]:
    return [list(row) for row in checked.rows]


TABLES: dict[str, dict[str, Any] | str] = {
    "in the order of training": {"dataframe_split": {"columns": ["plan", "age"], "data": [["pro", 41.0], [None, 3.5]]}},
    "in another order": {"dataframe_split": {"columns": ["age", "plan"], "data": [[41.0, "pro"], [3.5, None]]}},
    "by position": {"dataframe_split": {"columns": [0, 1], "data": [["pro", 41.0], [None, 3.5]]}},
    "without names": {"inputs": [["pro", 41.0], [None, 3.5]]},
    "records": {"dataframe_records": [{"age": 41.0, "plan": "pro"}, {"plan": None, "age": 3.5}]},
    "instances by name": {"instances": [{"age": 41.0, "plan": "pro"}, {"plan": None, "age": 3.5}]},
    "columns": {"inputs": {"age": [41.0, 3.5], "plan": ["pro", None]}},
    "CSV": "age,plan\n41,pro\n3.5,\n",
}


@pytest.mark.parametrize("body", TABLES.values(), ids=TABLES)
def test_a_table_is_understood_by_its_names_or_by_its_order(body: dict[str, Any] | str) -> None:
    assert rows(invoked(TRAINED, body).checked) == [["pro", 41.0], [None, 3.5]]


def test_other_names_are_a_mistake_that_is_named() -> None:
    with pytest.raises(InvalidFeatures, match=r"row 2: age is missing, a single value.*; row 2: years is not a feature"):
        invoked(TRAINED, {"dataframe_records": [{"plan": "pro", "age": 1}, {"plan": "pro", "years": 41}]})


def test_where_nobody_knows_names_every_name_is_fine() -> None:
    assert rows(invoked(Vector(width=1), {"dataframe_split": {"columns": ["x"], "data": [[1.5]]}}).checked) == [[1.5]]


def check(inputs: Vector, values: list[Any]) -> list[Any]:
    return rows(validator(inputs, Bounds()).records([{"features": values}], numbered=False))[0]


def test_values_of_any_kind_are_taken_where_nobody_says_what_they_are() -> None:
    assert check(TRAINED, ["pro", 3]) == ["pro", 3.0]
    assert check(TRAINED, [True, None]) == [True, None]
    for wrong, words in {'[["a"], 1]': r"features\[0\] is an array, a single value is expected", "[1]": "2 values"}.items():
        with pytest.raises(InvalidFeatures, match=words):
            check(TRAINED, json.loads(wrong))


def test_a_missing_number_is_taken_where_the_estimator_answers_without() -> None:
    known, missing = check(Vector(width=2, optional=True), [1.5, None])
    assert known == 1.5
    assert math.isnan(missing)


def test_a_model_that_was_logged_for_its_probabilities_answers_them_to_clients_of_mlflow() -> None:
    predicted = Predicted(predictions=[1], probabilities=[[0.25, 0.75]])
    for function, answer in (("predict", [1]), ("predict_proba", [[0.25, 0.75]])):
        asked = invoked(Vector(width=1), {"inputs": [[1.5]]}, predict_function=function)
        assert json.loads(asked.reply(predicted, 0.0).content) == {"predictions": answer}


def dated(required: bool = True) -> Validator:
    return validator(Columns(columns=(Column(name="since", type="datetime", required=required),)), Bounds())


@pytest.mark.parametrize("value", ["2026-01-31", "2026-01-31T12:00:00", "2026-01-31 12:00", "1999-12-31T23:59:59.999999"])
def test_a_date_is_a_text_in_iso_8601(value: str) -> None:
    assert rows(dated().records([{"since": value}])) == [[value]]


@pytest.mark.parametrize(
    "value", ["yesterday", "31.01.2026", "2026-02-30", "2026-01-31T12:00:00Z", "1600-01-01", "2300-01-01", 0, ""]
)
def test_what_is_no_date_without_a_zone_is_refused_with_an_example(value: Any) -> None:
    with pytest.raises(InvalidFeatures, match='a date such as "2026-01-31"'):
        dated().records([{"since": value}])


def test_a_date_may_be_missing_where_the_signature_says_so() -> None:
    assert rows(dated(required=False).records([{"since": None}])) == [[None]]
