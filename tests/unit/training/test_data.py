"""Reading files: cells stay as they are, and a row is found again in an editor."""

from pathlib import Path

import pandas as pd
import pytest

from tests.unit.training.factories import customers, settings
from training.data import load
from training.errors import InputError
from training.table import checked


def written(directory: Path, text: str, name: str = "table.csv", encoding: str = "utf-8") -> Path:
    path = directory / name
    path.write_bytes(text.encode(encoding))
    return path


def test_without_a_file_it_is_the_breast_cancer_table() -> None:
    frame = load(None).frame
    assert frame.shape == (569, 31)
    assert sorted(frame["target"].unique()) == [0, 1]


def test_names_and_cells_of_a_csv_come_out_as_they_are(tmp_path: Path) -> None:
    frame = load(written(tmp_path, "Größe, age ,a.1\n1.5,2,x\n,3,\n")).frame
    assert list(frame.columns) == ["Größe", " age ", "a.1"]
    assert frame["Größe"].isna().tolist() == [False, True]
    assert frame[" age "].tolist() == [2, 3]


@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.csv", ";"), ("t.csv", "\t"), ("t.tsv", "\t")])
def test_the_delimiter_is_the_one_in_the_first_line(tmp_path: Path, name: str, delimiter: str) -> None:
    frame = load(written(tmp_path, f"a{delimiter}b\n1{delimiter}2\n", name)).frame
    assert frame.to_dict("list") == {"a": [1], "b": [2]}


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert list(load(written(tmp_path, "a,b\n1,2\n", encoding="utf-8-sig")).frame.columns) == ["a", "b"]


def test_a_text_column_keeps_its_leading_zeros(tmp_path: Path) -> None:
    path = written(tmp_path, "zip,n\n007,1\n")
    assert load(path, frozenset({"zip"})).frame["zip"].tolist() == ["007"]
    assert load(path).frame["zip"].tolist() == [7]


def test_a_row_is_found_again_past_quoted_line_breaks_and_blank_lines(tmp_path: Path) -> None:
    raw = load(written(tmp_path, 'a,b\n1,"x\ny"\n\n2,z\n3,w\n'))
    assert [raw.source.where(row) for row in range(len(raw.frame))] == [
        "row 1 (line 2 of table.csv)",
        "row 2 (line 5 of table.csv)",
        "row 3 (line 6 of table.csv)",
    ]


def test_a_line_of_spaces_is_no_row_and_still_a_line(tmp_path: Path) -> None:
    raw = load(written(tmp_path, "a,t\n1,x\n   \n2,y\nfoo,y\n"))
    assert raw.frame["a"].tolist() == ["1", "2", "foo"]
    assert raw.source.where(2) == "row 3 (line 5 of table.csv)"


def test_quoted_spaces_are_a_row(tmp_path: Path) -> None:
    raw = load(written(tmp_path, 'a\nx\n" "\n\t\ny\n'))
    assert raw.frame["a"].tolist() == ["x", " ", "y"]
    assert raw.source.where(2) == "row 3 (line 5 of table.csv)"


def test_a_row_is_found_again_past_a_long_cell(tmp_path: Path) -> None:
    raw = load(written(tmp_path, f"a,t\n{'long' * 50_000},x\nfoo,y\n"))
    assert raw.source.where(1) == "row 2 (line 3 of table.csv)"


def test_parquet_gives_the_same_table_and_leaves_out_an_index(tmp_path: Path) -> None:
    frame = customers()
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.set_index(frame.index + 7).to_parquet(tmp_path / "t.parquet")
    parquet = load(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(parquet.frame, load(tmp_path / "t.csv").frame)
    assert parquet.source.where(2) == "row 3"


def test_a_text_of_digits_in_a_parquet_file_stays_a_text(tmp_path: Path) -> None:
    frame = customers()
    frame["zip"] = [f"{10 * row:05d}" for row in range(len(frame))]
    frame["region"] = pd.Categorical(frame["zip"].str[2:4])
    frame.to_parquet(tmp_path / "t.parquet")
    raw = load(tmp_path / "t.parquet")
    found = checked(raw, settings())
    assert found.all.features["zip"].tolist() == frame["zip"].tolist()
    assert found.all.features["region"].tolist() == frame["region"].tolist()
    assert [note for note in found.notes if '"zip"' in note] == [
        'note: column "zip" holds texts, and most of them are numbers: each is a category. If they are quantities, say so: '
        '--require "zip:number".'
    ]
    asked = checked(raw, settings(require={"zip": "number", "region": "string"}))
    assert asked.all.features["zip"].tolist() == [10.0 * row for row in range(len(frame))]
    assert len(asked.notes) == 1


def test_an_index_with_a_name_is_a_column(tmp_path: Path) -> None:
    customers().set_index("age").to_parquet(tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").frame["age"].tolist() == customers()["age"].tolist()


@pytest.mark.parametrize(
    "index", [pd.RangeIndex(60, name="age"), pd.RangeIndex(60, name="n"), pd.Index(range(60)[::-1], name="age")]
)
def test_an_index_that_is_no_column_of_the_file_or_has_the_name_of_one_is_left_out(tmp_path: Path, index: pd.Index) -> None:
    customers().set_index(index).to_parquet(tmp_path / "t.parquet")
    found = load(tmp_path / "t.parquet").frame
    assert list(found.columns) == list(customers().columns)
    assert found["age"].tolist() == customers()["age"].tolist()


def test_a_class_that_is_called_none_has_a_way_out(tmp_path: Path) -> None:
    path = written(tmp_path, "age,pain\n" + "1,None\n2,mild\n3,mild\n" * 20)
    with pytest.raises(InputError, match=r"no value in row 1 \(line 2 of .*--require \"pain:string\""):
        checked(load(path), settings(target="pain"))
    found = checked(load(path, frozenset({"pain"})), settings(target="pain", require={"pain": "string"}))
    assert set(found.all.labels) == {"None", "mild"}
    empty = written(tmp_path, "age,pain\n" + "1,0\n2,1\n" * 30 + "3,\n")
    with pytest.raises(InputError, match=r"leave such rows out\.$"):
        checked(load(empty), settings(target="pain"))


def test_no_text_is_missing_where_texts_are_required(tmp_path: Path) -> None:
    path = written(tmp_path, "country,other\nNA,NA\nDE,\n,x\n")
    frame = load(path, frozenset({"country"})).frame
    assert frame.astype(object).where(frame.notna(), None).to_dict("list") == {
        "country": ["NA", "DE", None], "other": [None, None, "x"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "table.csv is empty: its first line must name the columns"),
        ("\n\n", "table.csv is empty"),
        ("a,b,a\n1,2,3\n", 'table.csv has two columns with the name "a" (columns 1 and 3)'),
        (",a\n0,1\n", "Column 1 of table.csv has no name. If it is the index of a DataFrame"),
        ("a,b\n1,2\n3,4,5\n", "Expected 2 fields in line 3, saw 3"),
        ("a,b\n1,2,3\n3,4,5\n", "more cells than its first line has names"),
        (
            'a,b,c\n1,"x\ny",2\n\n3,z\n4,z,5\n',
            'Row 2 (line 5 of table.csv) ends before column "c": it has 2 of 3 cells. Write the file again if it was cut off',
        ),
        ("a,b,c\n1,,\n2\n", 'Row 2 (line 3 of table.csv) ends before column "b": it has 1 of 3 cells'),
        ('a,b\n1,"2\n', "table.csv can't be read as a table"),
    ],
)
def test_a_broken_csv_is_told_what_is_wrong_with_it(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        load(written(tmp_path, text))
    assert complaint in str(raised.value)


def test_another_encoding_is_told_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Line 3 has the byte 0xf6: table\.csv is not UTF-8"):
        load(written(tmp_path, "a,b\n1,x\n2,Köln\n", encoding="latin-1"))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    for path, complaint in {
        tmp_path / "absent.csv": "There is no file",
        tmp_path: "is a directory",
        written(tmp_path, "zz", "t.xlsx"): 't.xlsx is of no known kind: ".xlsx"',
        written(tmp_path, "zz", "t.parquet"): "t.parquet can't be read as a Parquet file",
    }.items():
        with pytest.raises(InputError) as raised:
            load(path)
        assert complaint in str(raised.value)
