"""Arrays as arguments: each becomes a NumPy array, or the message has the line that makes one.

Objects of SciPy, pandas and PyTorch are known by their attributes, so that none of these has to be
imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import scalars
from .scalars import shown

Array = npt.NDArray[Any]

LARGEST_CLASS_WEIGHT = 2.0**100  # float32 has room for its products with features and weights


def as_array(name: str, value: Any) -> Array:
    """`value` as an array; what is one is not copied."""
    if type(value) is np.ndarray:
        return value
    if hasattr(value, "toarray"):
        raise TypeError(
            f"{name} is sparse, {type(value).__name__}; {name}.toarray() is the array that it "
            f"stands for"
        )
    if isinstance(value, np.ndarray) and np.any(getattr(value, "mask", False)):
        raise TypeError(
            f"{name} is a masked array, and what is masked would count; {name}.filled(...) says "
            f"what is there instead"
        )
    try:
        return np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        kind = TypeError if isinstance(error, TypeError) or _is_tensor(value) else ValueError
        how = f"; {name}{_to_numpy(value)} is one" if _is_tensor(value) else ""
        raise kind(
            f"{name} must be an array, got {type(value).__name__} that NumPy cannot read as one: "
            f"{why}{how}"
        ) from None


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def _to_numpy(tensor: Any) -> str:
    """The chain of calls that makes an array of a tensor."""
    calls = [
        (tensor.requires_grad, ".detach()"),
        (tensor.device.type != "cpu", ".cpu()"),
        (not str(tensor.layout).endswith("strided"), ".to_dense()"),
        (str(tensor.dtype).endswith("bfloat16"), ".float()"),
        (True, ".numpy()"),
    ]
    return "".join(call for needed, call in calls if needed)


def conversion(name: str, value: Any, dtype: np.dtype[Any]) -> str:
    """The expression that makes an array of that dtype of `value`."""
    if isinstance(value, np.ndarray):
        return f"{name}.astype(np.{dtype})"
    return f"{name}{_to_numpy(value)}" if _is_tensor(value) else f"np.array({name}, np.{dtype})"


def wrong_rows(name: str, expected: str, array: Array, value: Any) -> TypeError:
    """The error for rows `value` that came as `array`, whose dtype rows cannot have."""
    got = str(array.dtype) if array.ndim else type(value).__name__
    if array.dtype == object and hasattr(value, "columns") and hasattr(value.dtypes, "items"):
        wrong = [str(c) for c, dtype in value.dtypes.items() if dtype.kind not in "biuf"]
        if wrong:
            return TypeError(
                f"{name} must be {expected}, and its columns {shown(wrong)} are no numbers; "
                f"encode or leave out those, then np.ascontiguousarray({name}, np.float32)"
            )
    return TypeError(
        f"{name} must be {expected}, got {got}; convert it once with "
        f"np.ascontiguousarray({name}, np.float32)"
    )


def contiguous(name: str, array: Array) -> None:
    """Checks that the elements lie in C order without gaps."""
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be C-contiguous, got shape {array.shape} with strides {array.strides}; "
            f"np.ascontiguousarray({name}) makes a contiguous copy"
        )


def numbers(name: str, value: Any) -> Array:
    """`value` as an array of real numbers; Python objects such as Fractions become floats."""
    array = as_array(name, value)
    if array.dtype == object and array.ndim:
        each = [scalars.finite(f"{name}[{i}]", number) for i, number in enumerate(array.flat)]
        array = np.array(each, np.float64).reshape(array.shape)
    if array.dtype.kind not in "fiub":
        got = array.dtype if array.ndim else type(value).__name__
        raise TypeError(f"{name} must be an array of numbers, got {got}")
    return array


def class_weights(name: str, value: Any) -> Array:
    """`value` as weights (K,) in the order of the classes: a read-only copy."""
    if isinstance(value, Mapping):
        raise TypeError(
            f"{name} must be an array, of each class in their order, got {type(value).__name__}; "
            f"[{name}.get(k, 1) for k in range(K)] makes one for K classes"
        )
    if hasattr(value, "iloc") and list(value.index) != list(range(len(value))):
        raise TypeError(
            f"{name} must be an array, of each class in their order, got {type(value).__name__} "
            f"with the index {shown(list(value.index))}; {name}.loc[classes].to_numpy() is one"
        )
    array = np.array(numbers(name, value), order="C")
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, (K,), got shape {array.shape}")
    size = np.abs(array, dtype=np.float64)
    wrong = ~((size == 0) | ((1 / LARGEST_CLASS_WEIGHT <= size) & (size <= LARGEST_CLASS_WEIGHT)))
    if wrong.any():
        got = array[wrong][0]
        if not math.isfinite(got):
            raise ValueError(f"{name} must be finite in float32, got {got}")
        raise ValueError(
            f"{name} must be 0 or from 1e-30 to 1e30 in magnitude, got {got}; only their ratios "
            f"matter to a mean"
        )
    array.flags.writeable = False
    return array
