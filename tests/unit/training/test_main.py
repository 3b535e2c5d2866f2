"""The command as a person meets it, up to where MLflow is asked."""

import importlib
import sys
from pathlib import Path

import pytest

from tests.unit.training.factories import customers
from training.__main__ import main


def test_a_mistake_is_one_sentence_on_standard_error_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    customers().astype({"age": object}).assign(age=lambda f: f["age"].where(f.index != 4, "old")).to_csv(
        tmp_path / "t.csv", index=False
    )
    assert main(["run", "--data", str(tmp_path / "t.csv"), "--target", "churn", "--name", "fraud"]) == 2
    told = capsys.readouterr()
    assert told.err == (
        'error: Column "age", row 5 (line 6 of t.csv): "old" is no number. Correct it, or leave the cell empty if the '
        'value is unknown. If the column holds texts, say so: --require "age:string".\n'
    )
    assert told.out == "  load      failed\n"


def test_a_mistake_in_the_table_is_told_before_mlflow_is_even_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    customers(3).to_csv(tmp_path / "t.csv", index=False)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("training", "mlflow")]:
        monkeypatch.delitem(sys.modules, name)  # as in a new process
    monkeypatch.setitem(sys.modules, "mlflow", None)  # whoever imports it now fails
    again = importlib.import_module("training.__main__").main
    assert again(["run", "--data", str(tmp_path / "t.csv"), "--target", "churn", "--name", "x"]) == 2
    assert "need at least 8 of each class" in capsys.readouterr().err


def test_an_option_that_does_not_exist_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run", "--tress", "5"])
    assert "unrecognized arguments: --tress" in capsys.readouterr().err
