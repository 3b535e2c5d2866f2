"""Sizes as people write them in values and specs."""

import pytest

from controller.quantity import bytes_of, readable


@pytest.mark.parametrize(
    ("quantity", "size"),
    [("0", 0), (7, 7), ("1k", 1000), ("1Ki", 1024), ("500Mi", 500 * 1024**2), ("1.5Gi", 3 * 1024**3 // 2), ("2T", 2 * 10**12)],
)
def test_a_quantity_is_that_many_bytes(quantity: str | int, size: int) -> None:
    assert bytes_of(quantity) == size


@pytest.mark.parametrize("quantity", ["", "20 GB", "-1", "1e", "1ki", "many", "Gi"])
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
