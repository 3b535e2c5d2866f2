"""Sizes as people write them in values and specs."""

import pytest

from controller.quantity import LARGEST, bytes_of, readable


@pytest.mark.parametrize(
    ("quantity", "size"),
    [
        ("0", 0),
        (7, 7),
        ("1k", 1000),
        ("1Ki", 1024),
        ("500Mi", 500 * 1024**2),
        ("1.5Gi", 3 * 1024**3 // 2),
        ("2T", 2 * 10**12),
        ("1E", 10**18),
        ("1E3", 1000),
        ("2e+6", 2_000_000),
        ("5000e-3", 5),
        ("+500Mi", 500 * 1024**2),
        ("5000m", 5),
        ("7000000u", 7),
        ("3000000000n", 3),
        ("1n", 1),
        (".5Ki", 512),
        ("1.", 1),
        ("1e100", LARGEST),
        ("16Ei", LARGEST),
        ("1e999999999", LARGEST),
        ("1e-999999999", 1),
    ],
)
def test_a_quantity_is_that_many_bytes(quantity: str | int, size: int) -> None:
    assert bytes_of(quantity) == size


@pytest.mark.parametrize(
    "quantity",
    ["", "20 GB", "-1", "1e", "1ki", "many", "Gi", "+", "++1", "1e9999999999", "\u0661Mi", "1Mi\n", "0x10", "1_000", "inf"],
)
def test_what_is_no_quantity_is_refused(quantity: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        bytes_of(quantity)


def test_a_size_reads_well() -> None:
    assert [readable(size) for size in (0, 1023, 1536, 5 * 1024**2, 20 * 1024**3)] == [
        "0 bytes",
        "1023 bytes",
        "1.5 KiB",
        "5.0 MiB",
        "20.0 GiB",
    ]
