"""Whether clients of one version can use another: judged from their side, column by column."""

import json
from typing import Any

import pytest

from controller.errors import Stalling
from controller.signature import Signature, compare, parse


def signed(*, outputs: tuple[str, ...] = ("long",), declared: dict[str, Any] | None = None, **columns: str) -> Signature:
    """Columns by name; a type that ends in `?` is optional."""
    inputs = [
        {"name": name, "type": kind.removesuffix("?"), "required": not kind.endswith("?")} for name, kind in columns.items()
    ]
    return parse(
        {
            "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps([{"type": kind} for kind in outputs])},
            "metadata": {"mlserving": {"bounds": {"declared": declared or {}}}},
        }
    )


def array(width: int = 3, dtype: str = "float64") -> Signature:
    inputs = [{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, width]}}]
    outputs = [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]
    return parse({"signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}})


AGE = signed(age="long")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (AGE, signed(age="double"), "'age' takes double, before long"),
        (signed(age="integer"), AGE, "'age' takes long, before integer"),
        (signed(age="float"), signed(age="double"), "'age' takes double, before float"),
        (AGE, signed(age="long", plan="string?"), "'plan' (string) is new and optional"),
        (AGE, signed(age="long?"), "'age' is optional now"),
    ],
)
def test_what_takes_more_is_widened(before: Signature, after: Signature, told: str) -> None:
    compared = compare(before, after)
    assert compared.kind == "Widened"
    assert told in compared.told


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (AGE, signed(age="long", plan="string"), "'plan' (string) is required, and clients do not send it"),
        (AGE, signed(plan="string?"), "'age' (long) is gone"),
        (signed(age="long", plan="string?"), AGE, "'plan' (string) is gone"),
        (AGE, signed(age="integer"), "'age' takes integer, and clients send long"),
        (signed(age="double"), AGE, "'age' takes long, and clients send double"),
        (AGE, signed(age="float"), "'age' takes float, and clients send long"),
        (AGE, signed(age="string"), "'age' takes string, and clients send long"),
        (signed(active="boolean"), signed(active="long"), "'active' takes long, and clients send boolean"),
        (signed(age="long?"), AGE, "'age' is required, and was optional"),
        (AGE, signed(age="long", outputs=("double",)), "answers with double, and clients expect long"),
        (AGE, signed(age="long", outputs=("string",)), "answers with string, and clients expect long"),
        (AGE, signed(age="long", outputs=("long", "long")), "answers with 2 outputs, and clients expect 1 output"),
        (AGE, array(1), "an array of numbers without names, and clients send named inputs"),
        (AGE, Signature(), "an array of numbers without names, and clients send named inputs"),
        (Signature(), AGE, "named inputs, and clients send an array"),
        (array(3), array(4), "takes 4 numbers, and clients send 3"),
        (AGE, signed(age="long", declared={"age": [0, 120]}), "'age' takes 0 to 120, before every number"),
        (
            signed(age="long", declared={"age": [0, None]}),
            signed(age="long", declared={"age": [0, 120]}),
            "'age' takes 0 to 120, before 0 to any",
        ),
    ],
)
def test_what_takes_less_or_answers_otherwise_is_breaking(before: Signature, after: Signature, told: str) -> None:
    compared = compare(before, after)
    assert compared.kind == "Breaking"
    assert told in compared.told


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (AGE, AGE),
        (signed(a="long", b="double"), signed(b="double", a="long")),
        (signed(age="long", outputs=("double",)), AGE),
        (array(3), array(3, "float32")),
        (array(3), Signature()),
        (Signature(), array(3)),
        (Signature(), Signature()),
        (signed(age="long", declared={"age": [0, 100]}), signed(age="long", declared={"age": [0, 120]})),
        (signed(age="long", declared={"age": [0, 100]}), AGE),
    ],
)
def test_what_no_client_notices_is_the_same(before: Signature, after: Signature) -> None:
    assert compare(before, after).kind == "Same"


def test_only_the_first_differences_are_told() -> None:
    told = compare(AGE, signed(age="long", a="long", b="long", c="long", d="long", e="long", f="long", g="long")).told
    assert told.endswith("; and 2 more")


@pytest.mark.parametrize(
    "signature",
    [
        {"inputs": "not json"},
        {"inputs": "{}", "outputs": "3"},
        {"inputs": '[{"type": "tensor"}]'},
        {"inputs": "[3]"},
        ["a list"],
        {"inputs": "[" * 5000},
    ],
)
def test_odd_text_is_refused_with_a_reason(signature: Any) -> None:
    with pytest.raises(Stalling, match="ModelUnreadable"):
        parse({"signature": signature})
