"""Settings from a file, and the command line over them."""

from pathlib import Path

import pytest

from training.__main__ import parser
from training.arguments import settings
from training.configuration import parsed
from training.errors import InputError
from training.settings import RunSettings

FILE = """
data = "churn.csv"
target = "churn"
name = "fraud"
trees = 50
max_depth = 7
test-size = 0.3
balance = true
drop = ["id", "when"]

[range]
age = "0:120"
"a=b" = "-5:"

[require]
zip = "string"

[min]
f1 = 0.8
"""


def read(directory: Path, text: str, *options: str) -> RunSettings:
    (directory / "train.toml").write_text(text)
    return settings(parsed(parser(), ["run", "--config", str(directory / "train.toml"), *options]), {})


def test_a_file_says_the_same_as_options(tmp_path: Path) -> None:
    same = (
        "--data churn.csv --target churn --name fraud --trees 50 --max-depth 7 --test-size 0.3 --balance --drop id --drop when "
        "--range age=0:120 --range a=b=-5: --require zip:string --min f1=0.8"
    )
    assert read(tmp_path, FILE) == settings(parser().parse_args(["run", *same.split()]), {})


def test_the_command_line_goes_over_the_file(tmp_path: Path) -> None:
    found = read(tmp_path, FILE, "--trees", "3", "--range", "age=18:", "--drop", "more")
    assert (found.trees, found.max_depth) == (3, 7)
    assert found.ranges["age"] == (18, None)
    assert found.drop == ("id", "when", "more")
    assert found.balance
    assert not read(tmp_path, FILE, "--no-balance").balance


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tress = 5", 'there is no setting "tress". Did you mean "trees"?'),
        ("config = 'x'", 'there is no setting "config"'),
        ("trees = true", '"trees" is true, and must be a whole number.'),
        ("trees = 'many'", '"trees" is "many", and must be a whole number.'),
        ("trees = 1.5", '"trees" is 1.5, and must be a whole number.'),
        ("trees = [100, 200]", '"trees" is [100, 200], and must be a whole number.'),
        ("test_size = 'a fifth'", '"test_size" is "a fifth", and must be a number.'),
        ("target = {a = 1}", '"target" is {"a": 1}, and must be a text, in quotes.'),
        ("data = 5", '"data" is 5, and must be the name of a file, in quotes.'),
        ("task = 'clasification'", '"task" is "clasification", and must be "classification" or "regression".'),
        ("balance = 1", '"balance" is 1, and must be true or false.'),
        ("drop = ['id', ['when']]", '"drop" is ["when"], and must be a text or a number.'),
        ("tag = {approved = true}", '"tag.approved" is true, and must be a text or a number.'),
        ("name = 2026-01-01", '"name" is 2026-01-01, and must be a text, in quotes.'),
        ("trees = ", "is no TOML file"),
        ("trees = 0", "--trees 0: input should be greater"),
        ("[range]\nage = 5", '--range "age=5" must be COLUMN=LOW:HIGH.'),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, text)
    assert complaint in str(raised.value)


def test_what_one_command_has_another_does_not_take(tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text("trees = 200")
    with pytest.raises(InputError, match='there is no setting "trees"'):
        parsed(parser(), ["optimize", "--config", str(tmp_path / "train.toml")])


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(InputError, match=r"none.toml can't be read"):
        parsed(parser(), ["run", "--config", "none.toml"])
