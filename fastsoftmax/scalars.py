"""Numbers and switches as arguments: each becomes a Python number, or raises.

A number may be Python's (``int``, ``float``, ``Fraction``, ``Decimal``), a NumPy scalar, or an
array or a tensor of no dimensions. Text is refused, and so is an array of one element.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

FLOAT32_MAX = float(np.finfo(np.float32).max)  # the kernels compute in float32
FLOAT32_TINY = float(np.finfo(np.float32).tiny)  # below it float32 has fewer digits
_INTEGER_BITS = 1000  # more than anybody needs; Python writes and JSON reads as many
_SHOWN = 100  # letters of a value in a message


def shown(value: object) -> str:
    """`value` as text for a message: one line, and cut if it is long."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an int of more digits than Python writes
        text = f"{type(value).__name__} of more digits than Python shows"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}... ({type(value).__name__})"


def _single(value: Any) -> Any:
    """`value`, or the item of an array or a tensor of no dimensions; None for any other array."""
    kind = getattr(getattr(value, "dtype", None), "kind", "f")  # PyTorch's dtypes have none
    if getattr(value, "ndim", 0) != 0 or kind not in "biufVO":
        return None
    return value.item() if hasattr(value, "item") else value


def number(name: str, value: Any) -> float:
    """`value` as a float; NaN if it is too large for one."""
    single = _single(value)
    if not (hasattr(type(single), "__float__") or hasattr(type(single), "__index__")):
        raise TypeError(f"{name} must be a number, got {shown(value)}")
    try:
        return float(single)
    except (OverflowError, ValueError):  # an int too large; a Decimal("sNaN")
        return math.nan
    except TypeError:  # it has the method, and the method refuses
        raise TypeError(f"{name} must be a number, got {shown(value)}") from None


def finite(name: str, value: Any) -> float:
    """`value` as a float that is finite in float32."""
    result = value if type(value) is float else number(name, value)
    if not -FLOAT32_MAX <= result <= FLOAT32_MAX:
        raise ValueError(f"{name} must be finite in float32, got {shown(value)}")
    return result


def not_negative(name: str, value: Any) -> float:
    """`value` as a finite float >= 0."""
    result = finite(name, value)
    if result < 0:
        raise ValueError(f"{name} must be >= 0, got {shown(value)}")
    return result


def positive(name: str, value: Any) -> float:
    """`value` as a finite float > 0."""
    result = finite(name, value)
    if result <= 0:
        raise ValueError(f"{name} must be > 0, got {shown(value)}")
    return result


def integer(name: str, value: Any, *, least: int | None = None) -> int:
    """`value` as an int, which must be >= `least` if that is given."""
    if type(value) is int and least is None and -(2**63) <= value < 2**63:
        return value
    single = _single(value)
    if isinstance(single, bool) or not hasattr(type(single), "__index__"):
        raise TypeError(f"{name} must be an integer, got {shown(value)}")
    n = operator.index(single)
    if least is not None and n < least:
        raise ValueError(f"{name} must be >= {least}, got {shown(value)}")
    if n.bit_length() > _INTEGER_BITS:
        raise ValueError(f"{name} must be less than 2**{_INTEGER_BITS}, got {shown(value)}")
    return n


def positive_int(name: str, value: Any) -> int:
    """`value` as an int >= 1."""
    return integer(name, value, least=1)


def boolean(name: str, value: Any) -> bool:
    """`value` as a bool: one of Python's, NumPy's or a tensor's, or 0 or 1."""
    if isinstance(value, bool):
        return value
    single = _single(value)
    if isinstance(single, int) and single in (0, 1):
        return bool(single)
    raise TypeError(f"{name} must be True or False, got {shown(value)}")
