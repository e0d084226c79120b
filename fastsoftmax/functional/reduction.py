"""What all functions here do alike: the backend for a dtype, `reduction`, `out`, `grad_output`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, scalars
from ..arrays import Array, as_array
from ..backends import Backend, get_backend

__all__ = [
    "backend_for",
    "check_no_index",
    "check_reduction",
    "floats",
    "put",
    "row_factors",
]

REDUCTIONS = ("mean", "sum", "none")


def backend_for(array: Any) -> Backend:
    """float64 is for the NumPy oracle, all else for the best there is, to take or to refuse."""
    return get_backend("numpy" if getattr(array, "dtype", None) == np.float64 else "auto")


def floats(name: str, value: Any) -> Array:
    array = as_array(name, value)
    if array.dtype == np.float32:
        return array
    if array.dtype.kind not in "biuf":
        got = array.dtype if array.ndim else type(value).__name__
        kind = "real" if array.dtype.kind == "c" else "numbers"
        raise TypeError(
            f"{name} must be {kind}, got {got}; np.asarray({name}, np.float64) makes numbers of "
            f"what are some"
        )
    return array.astype(np.float64)


def check_no_index(ignore_index: int) -> None:
    """Class probabilities have no index to ignore: PyTorch refuses one that could be a class."""
    if scalars.integer("ignore_index", ignore_index) >= 0:
        raise ValueError(
            f"ignore_index must be negative where target is probabilities, got {ignore_index}"
        )


def check_reduction(reduction: str, out: Array | None) -> None:
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}")
    if out is not None and reduction != "none":
        raise ValueError(f"out is for the losses of reduction='none', got {reduction!r}")


def row_factors(
    grad_output: Any, reduction: str, shape: tuple[int, ...]
) -> tuple[Array | None, float]:
    """What the gradient of each row is multiplied by, and of all of them."""
    if grad_output is None:
        return None, 1.0
    if reduction != "none":
        return None, checks.finite("grad_output", grad_output)
    factors = as_array("grad_output", grad_output)
    if factors.shape != shape:
        raise ValueError(f"grad_output must have shape {shape} as the losses, got {factors.shape}")
    flat = factors.reshape(-1)
    return checks.float_vector("grad_output", flat, len(flat), "rows"), 1.0


def put(result: Array, out: Array | None) -> Any:
    """`result` in `out` where there is one; a number where it has no dimensions."""
    if out is None:
        return result[()]
    out[...] = result
    return out
