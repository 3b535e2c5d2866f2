"""Sizes as Kubernetes writes them: 500Mi, 20Gi, 5G, 1e6."""

import re
from decimal import Decimal

_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:([kMGTPE]|[KMGTPE]i|m)|[eE]([+-]?\d{1,2}))?")
_FACTORS = {"m": Decimal("0.001"), "k": Decimal(1000)}
_FACTORS |= {unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", start=2)}
_FACTORS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)}


def bytes_of(quantity: str | int | float) -> int:
    """The bytes that `quantity` means. Raises ValueError where it is none."""
    found = _QUANTITY.fullmatch(str(quantity))
    if found is None:
        raise ValueError(f"{quantity!r} is no size; write it as 500Mi or 20Gi")
    number, unit, exponent = found.groups()
    factor = _FACTORS[unit] if unit else Decimal(10) ** int(exponent or 0)
    return int(Decimal(number) * factor)


def readable(size: int) -> str:
    """A size for a sentence."""
    for unit, factor in (("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}B"
    return f"{size} bytes"
