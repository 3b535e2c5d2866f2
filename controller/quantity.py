"""Sizes as Kubernetes writes them: 500Mi, 20Gi, 5G."""

import re

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_FACTORS = {"": 1, "k": 1000, **{unit: 1000**power for power, unit in enumerate("MGTPE", start=2)}}
_FACTORS |= {f"{unit}i": 1024**power for power, unit in enumerate("KMGTPE", start=1)}


def bytes_of(quantity: str | int | float) -> int:
    """The bytes that `quantity` means. Raises ValueError where it is none."""
    found = _QUANTITY.fullmatch(str(quantity))
    if found is None:
        raise ValueError(f"{quantity!r} is no size; write it as 500Mi or 20Gi")
    number, unit = found.groups()
    return int(float(number) * _FACTORS[unit or ""])


def readable(size: int) -> str:
    """A size for a sentence."""
    for unit, factor in (("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}B"
    return f"{size} bytes"
