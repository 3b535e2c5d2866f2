"""Sizes as Kubernetes writes them: 500Mi, 20Gi, 5G, 1e6, and what else its grammar takes."""

import math
import re
from decimal import Decimal

LARGEST = 2**63 - 1  # bytes; Kubernetes takes more for this, too
_QUANTITY = re.compile(r"\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,9}))?")
_FACTORS = {unit: Decimal(1000) ** power for power, unit in enumerate("num", start=-3)}
_FACTORS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)}
_FACTORS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)}


def bytes_of(quantity: str | int | float) -> int:
    """The bytes that `quantity` means, a begun one whole. Raises ValueError where it is none."""
    return math.ceil(min(amount_of(quantity), Decimal(LARGEST)))


def amount_of(quantity: str | int | float) -> Decimal:
    """The number that `quantity` means: bytes, or cores. Raises ValueError where it is none."""
    found = _QUANTITY.fullmatch(str(quantity))
    if found is None:
        raise ValueError(f"{quantity!r} is no size; write it as 500Mi or 20Gi")
    number, unit, exponent = found.groups()
    return Decimal(number) * _FACTORS[unit] if unit else Decimal(f"{number}e{exponent or 0}")


def readable(size: int) -> str:
    """A size for a sentence."""
    for unit, factor in (("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}B"
    return f"{size} bytes"
