"""Options become settings, or a sentence."""

from pathlib import Path

import pytest

from training.__main__ import parser
from training.arguments import settings
from training.errors import InputError
from training.settings import RunSettings


def parsed(*options: str, **environment: str) -> RunSettings:
    return settings(parser().parse_args(["run", *options]), environment)


def test_nothing_at_all_is_the_built_in_table() -> None:
    found = parsed()
    assert (found.data, found.target, found.name, found.alias) == (None, "target", "breast-cancer", None)
    assert (found.trees, found.max_depth, found.folds, found.test_size, found.seed) == (100, 10, 5, 0.2, 42)


def test_everything_that_can_be_said() -> None:
    found = parsed(
        "--data", "t.csv", "--target", "y", "--name", "fraud", "--alias", "champion", "--tag", "a=b=c", "--drop", "id",
        "--require", "a:b:int", "--range", "x=y=-5:1e3", "--range", "z=0:", "--trees", "7", "--max-depth", "3",
        "--folds", "2", "--task", "regression",
        "--min-samples-split", "9", "--balance", "--duplicates", "drop",
        "--report", "r.html", "--test-size", "0.5", "--seed", "1", "--tracking-uri", "http://m:5000",
    )  # fmt: skip
    assert found == RunSettings(
        data=Path("t.csv"), target="y", name="fraud", alias="champion", tags={"a": "b=c"}, drop=("id",),
        require={"a:b": "integer"}, ranges={"x=y": (-5, 1000), "z": (0, None)}, trees=7, max_depth=3, folds=2,
        task="regression", min_samples_split=9, balance=True, duplicates="drop", report=Path("r.html"),
        test_size=0.5, seed=1, tracking_uri="http://m:5000",
    )  # fmt: skip


def test_the_command_line_wins_over_the_environment_and_that_over_the_default() -> None:
    assert parsed().tracking_uri == "http://127.0.0.1:5000"
    assert parsed(MLFLOW_TRACKING_URI="http://e").tracking_uri == "http://e"
    assert parsed("--tracking-uri", "http://o", MLFLOW_TRACKING_URI="http://e").tracking_uri == "http://o"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--data t.csv --name x", "--data needs --target as well."),
        ("--data t.csv --target y", "--data needs --name as well."),
        ("--name a/b", 'MLflow takes no model name like "a/b"'),
        ("--alias v3", 'MLflow takes no alias like "v3"'),
        ("--alias Latest", 'MLflow takes no alias like "Latest"'),
        ("--tracking-uri 127.0.0.1:5000", "it must begin like http://127.0.0.1:5000"),
        ("--trees 0", "--trees 0: input should be greater than or equal to 1."),
        ("--test-size 1", "--test-size 1.0: input should be less than 1."),
        ("--folds 1", "--folds 1: input should be greater"),
        ("--seed -1", "--seed -1: input should be greater"),
        ("--require age:date", '--require "age:date" must be COLUMN:TYPE'),
        ("--require number", '--require "number" must be COLUMN:TYPE'),
        ("--range age", '--range "age" must be COLUMN=LOW:HIGH'),
        ("--range age=:", '--range "age=:" must be COLUMN=LOW:HIGH'),
        ("--range age=a:1", '"a" is no number'),
        ("--range age=0:inf", "leave a side empty where there is no limit"),
        ("--range age=9:1", 'The range of column "age" ends (1) below its start (9).'),
        ("--tag x", '--tag "x" must be KEY=VALUE'),
    ],
)
def test_what_no_run_can_do(options: str, complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        parsed(*options.split())
    assert complaint in str(raised.value)
