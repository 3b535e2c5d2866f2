"""Both sides read a signature in the same way: what the controller compares is what clients of the server send."""

import json
from typing import Any

import pytest

from controller import signature
from controller.errors import Stalling
from server.errors import LoadFailed
from server.signature import Columns, read


def tensor(dtype: str, *shape: int) -> dict[str, Any]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}


def column(kind: str, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, **({"name": name} if name else {}), **more}


@pytest.mark.parametrize(
    "inputs",
    [
        [column("double", "a"), column("string", "b", required=False), column("datetime", "c", required=True)],
        [column("double"), column("long")],
        [column("float")],
        [column("string")],
        [column("string"), column("long")],
        [column("boolean")],
        [{"type": "array", "items": {"type": "double"}}],
        [tensor("float64", -1, 4)],
        [tensor("float32", -1, -1)],
        [tensor("int64", -1)],
        [tensor("str", -1)],
        [tensor("object", -1)],
        [tensor("str", -1, 1)],
        [tensor("str", -1, 2)],
        [tensor("bool", -1, 3)],
        [],
    ],
    ids=json.dumps,
)
def test_both_read_it_alike(inputs: list[dict[str, Any]]) -> None:
    written = {"inputs": json.dumps(inputs)}
    ours, theirs = signature.parse({"signature": written}), read(written)
    if isinstance(theirs, Columns):
        assert ours.columns == {each.name: signature.Column(each.type, each.required) for each in theirs.columns}
    else:
        assert (ours.columns, ours.width) == (None, theirs.width)


@pytest.mark.parametrize("written", [None, {"inputs": json.dumps([column("any", required=False)])}])
def test_a_model_without_any_signature_takes_arrays_on_both_sides(written: dict[str, Any] | None) -> None:
    ours, theirs = signature.parse({"signature": written}), read(written)
    assert not isinstance(theirs, Columns)
    assert (ours.columns, ours.width, ours.recorded) == (None, theirs.width, False)


def test_an_array_that_claims_more_columns_than_memory_holds_is_refused_by_both() -> None:
    written = {"inputs": json.dumps([tensor("str", -1, 10**12)])}
    with pytest.raises(LoadFailed, match="does not take"):
        read(written)
    with pytest.raises(Stalling, match="cannot be read"):
        signature.parse({"signature": written})
