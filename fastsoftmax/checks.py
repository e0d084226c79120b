"""The one place that validates arrays: shapes, dtypes, contiguity; labels are in `labels`.

Every function returns what it was given in the form that the kernels take, or raises a
``TypeError`` or ``ValueError`` that says what was got and what was expected. None copies the rows.
"""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .loss import CrossEntropy
from .optim import FLOAT32_MAX, SGD, Velocity

Array = npt.NDArray[Any]

FLOAT32 = (np.dtype(np.float32),)
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))  # what the NumPy oracle takes
_UINT8 = np.dtype(np.uint8)


def _names(dtypes: tuple[np.dtype[Any], ...]) -> str:
    return " or ".join(dtype.name for dtype in dtypes)


def _contiguous(name: str, array: Array) -> None:
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be C-contiguous, got shape {array.shape} with strides {array.strides}; "
            f"np.ascontiguousarray makes a contiguous copy"
        )


def rows(
    x: Any, n_features: int | None = None, *, floats: tuple[np.dtype[Any], ...] = FLOAT32
) -> Array:
    """`x` as (N, D) rows of `floats` or uint8: trailing dimensions are flattened, not copied."""
    x = np.asarray(x)
    if x.dtype not in floats and x.dtype != _UINT8:
        raise TypeError(
            f"x must be {_names((*floats, _UINT8))}, got {x.dtype}; convert it once with "
            f"x.astype(np.float32)"
        )
    if x.ndim < 2:
        raise ValueError(f"x must be (N, D) or (N, H, W) and the like, got shape {x.shape}")
    _contiguous("x", x)
    matrix: Array = x.reshape(x.shape[0], math.prod(x.shape[1:])) if x.ndim > 2 else x
    got = matrix.shape[1]
    if got == 0 or (n_features is not None and got != n_features):
        expected = "at least 1" if n_features is None else f"{n_features} as the weight has"
        raise ValueError(f"x has {got} features, expected {expected}")
    return matrix


def parameters(
    weight: Any,
    bias: Any,
    *,
    names: tuple[str, str] = ("weight", "bias"),
    shape: tuple[int, int] | None = None,
    floats: tuple[np.dtype[Any], ...] = FLOAT32,
    writeable: bool = False,
) -> tuple[Array, Array]:
    """A (K, D) `weight` and a (K,) `bias`, K >= 2, D >= 1, or arrays of just their `shape`."""
    _parameter(names[0], weight, 2, floats, writeable)
    _parameter(names[1], bias, 1, floats, writeable)
    n_classes, n_features = weight.shape
    if shape is not None and weight.shape != shape:
        raise ValueError(f"{names[0]} must have shape {shape}, got {weight.shape}")
    if n_classes < 2 or n_features < 1:
        raise ValueError(f"{names[0]} must be (K, D), K >= 2, D >= 1, got shape {weight.shape}")
    if bias.shape != (n_classes,):
        raise ValueError(f"{names[1]} must have shape ({n_classes},), got {bias.shape}")
    if bias.dtype != weight.dtype:
        raise TypeError(f"{names[1]} must be {weight.dtype} as {names[0]}, got {bias.dtype}")
    return weight, bias


def _parameter(
    name: str, array: Any, ndim: int, floats: tuple[np.dtype[Any], ...], writeable: bool
) -> None:
    if not isinstance(array, np.ndarray) or array.dtype not in floats:
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name} must be an array of {_names(floats)}, got {got}")
    if array.ndim != ndim:
        form = "(K, D)" if ndim == 2 else "(K,)"
        raise ValueError(f"{name} must be {form}, got shape {array.shape}")
    _contiguous(name, array)
    if writeable and not array.flags.writeable:
        raise ValueError(f"{name} is read-only, and would be updated in place")


def _all_below(indices: Array, n: int) -> bool:
    """Whether all integers are in [0, n)."""
    if indices.size == 0:
        return True
    # as min() and max(), which take a microsecond each
    return bool(0 <= indices.item(indices.argmin()) and indices.item(indices.argmax()) < n)


def targets(
    target: Any, n_rows: int, n_classes: int, ignore_index: int | None = None
) -> npt.NDArray[np.int32]:
    """`target` as (n_rows,) int32 in [0, n_classes); other integer types are copied.

    Where there is an `ignore_index`, a target may be that too, and comes as -1.
    """
    return _targets(target, n_rows, n_classes, ignore_index)[0]


def _targets(
    target: Any, n_rows: int, n_classes: int, ignore_index: int | None
) -> tuple[npt.NDArray[np.int32], bool]:
    """The same, and whether any is ignored."""
    target = np.asarray(target)
    if target.dtype.kind not in "iu":
        raise TypeError(f"target must be an array of integers, got {target.dtype}")
    if target.shape != (n_rows,):
        raise ValueError(f"target must have shape ({n_rows},) as x has rows, got {target.shape}")
    if _all_below(target, n_classes) and not (ignore_index is not None and 0 <= ignore_index):
        return np.ascontiguousarray(target, np.int32), False
    wrong = (target < 0) | (target >= n_classes)
    ignored = np.zeros_like(wrong) if ignore_index is None else target == ignore_index
    wrong &= ~ignored
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        or_ignored = "" if ignore_index is None else f", or ignore_index={ignore_index}"
        raise ValueError(
            f"target[{first}] is {target[first]}, expected 0 <= target < {n_classes} (n_classes)"
            f"{or_ignored}"
        )
    classes: npt.NDArray[np.int32] = target.astype(np.int32)
    classes[ignored] = -1  # which an unsigned type could not hold
    return classes, bool(ignored.any())


class LossTerms(NamedTuple):
    """Checked targets and what weighs them, as the kernels take them."""

    target: npt.NDArray[np.int32] | None  # (N,), -1 where the row is ignored
    probabilities: Array | None  # (N, K), instead of target
    class_weight: Array | None  # (K,)
    sample_weight: Array | None  # (N,)
    label_smoothing: float
    plain: bool  # nothing but targets in [0, K)

    def take(self, rows: Any) -> LossTerms:
        """Those of some rows."""
        target, probabilities, class_weight, sample_weight, smoothing, plain = self
        return LossTerms(
            None if target is None else target[rows],
            None if probabilities is None else probabilities[rows],
            class_weight,
            None if sample_weight is None else sample_weight[rows],
            smoothing,
            plain,
        )

    def total_weight(self) -> float:
        """What the mean loss over all rows divides by."""
        if self.target is None:
            assert self.probabilities is not None
            each: Array = np.ones(len(self.probabilities))
        elif self.plain:
            return len(self.target)
        else:
            kept = self.target >= 0
            each = kept if self.class_weight is None else kept * self.class_weight[self.target]
        return float((each if self.sample_weight is None else each * self.sample_weight).sum())


def float_vector(name: str, value: Any, n: int, of: str, dtype: np.dtype[Any]) -> Array:
    """`value` as n finite numbers of that dtype; others are copied."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of numbers, got {array.dtype}")
    if array.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},) as there are {of}, got {array.shape}")
    with np.errstate(over="ignore"):  # too large a number shows as an infinity
        array = np.ascontiguousarray(array, dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite in {dtype}, got {array[~np.isfinite(array)][0]}")
    return array


def weights(name: str, value: Any, n: int, of: str) -> Array:
    """`value` as n finite float32 numbers >= 0."""
    array = float_vector(name, value, n, of, np.dtype(np.float32))
    if (array < 0).any():
        raise ValueError(f"{name} must be >= 0, got {array[array < 0][0]}")
    return array


def loss_terms(
    target: Any, criterion: CrossEntropy | None, sample_weight: Any, x: Array, weight: Array
) -> LossTerms:
    """`target`, integers (N,) or probabilities (N, K), and what weighs it, for checked arrays."""
    n_rows, n_classes, dtype = x.shape[0], weight.shape[0], weight.dtype
    if criterion is not None and not isinstance(criterion, CrossEntropy):
        raise TypeError(f"criterion must be a CrossEntropy, got {type(criterion).__name__}")
    target = np.asarray(target)
    probabilities, any_ignored = None, False
    if target.ndim == 2 and target.dtype.kind == "f":
        if target.shape != (n_rows, n_classes):
            raise ValueError(
                f"target must have shape ({n_rows}, {n_classes}) where it is probabilities, "
                f"got {target.shape}"
            )
        probabilities, target = np.ascontiguousarray(target, dtype), None
    else:
        ignore_index = None if criterion is None else criterion.ignore_index
        target, any_ignored = _targets(target, n_rows, n_classes, ignore_index)
    class_weight, smoothing = None, 0.0
    if criterion is not None:
        smoothing = float(criterion.label_smoothing)
        if criterion.class_weight is not None:
            class_weight = float_vector(
                "class_weight", criterion.class_weight, n_classes, "classes", dtype
            )
    if sample_weight is not None:
        sample_weight = float_vector("sample_weight", sample_weight, n_rows, "rows", dtype)
    plain = (
        probabilities is None
        and class_weight is None
        and sample_weight is None
        and smoothing == 0
        and not any_ignored
    )
    return LossTerms(target, probabilities, class_weight, sample_weight, smoothing, plain)


def output(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`array` as one to write results to."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name} must be an array of {dtype}, got {got}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    _contiguous(name, array)
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only, and would be written to")
    return array


def row_order(order: Any, n_rows: int) -> npt.NDArray[np.int64] | None:
    """`order` as int64 indices in [0, n_rows), in any number; None stays None."""
    if order is None:
        return None
    order = np.asarray(order)
    if order.dtype.kind not in "iu":
        raise TypeError(f"order must be an array of integers, got {order.dtype}")
    if order.ndim != 1:
        raise ValueError(f"order must be one-dimensional, got shape {order.shape}")
    if not _all_below(order, n_rows):
        wrong = int(np.flatnonzero((order < 0) | (order >= n_rows))[0])
        raise ValueError(f"order[{wrong}] is {order[wrong]}, expected 0 <= order < {n_rows} rows")
    return np.ascontiguousarray(order, np.int64)


def integer(name: str, value: Any, *, least: int) -> int:
    """`value` as an int >= `least`."""
    try:
        if isinstance(value, bool):
            raise TypeError
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if n < least:
        raise ValueError(f"{name} must be >= {least}, got {n}")
    return n


def positive_int(name: str, value: Any) -> int:
    """`value` as an int >= 1."""
    return integer(name, value, least=1)


def positive(name: str, value: Any) -> float:
    """`value` as a finite float > 0."""
    number = finite(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be > 0, got {value!r}")
    return number


def default_scale(dtype: np.dtype[Any]) -> float:
    """What a feature is multiplied by where nothing is said: uint8 rows are pixels."""
    return 1 / 255 if dtype == _UINT8 else 1.0


def finite(name: str, value: Any) -> float:
    """`value` as a finite float."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not abs(number) <= FLOAT32_MAX:
        raise ValueError(f"{name} must be finite in float32, got {value!r}")
    return number


def row_scale(scale: Any) -> float:
    """`scale`, by which each feature is multiplied, as a finite float."""
    return finite("scale", scale)


def not_empty(n_rows: int, name: str = "x") -> None:
    """There is no mean over no rows."""
    if n_rows == 0:
        raise ValueError(f"{name} has no rows, expected at least 1")


def velocity_of(
    sgd: SGD, velocity: Velocity | None, weight: Array
) -> tuple[Array, Array, bool] | None:
    """What an update by `sgd` uses of `velocity`: weight, bias, started; None without momentum.

    Each attribute is read once: what another thread assigns to it meanwhile is for the next call.
    """
    if not isinstance(sgd, SGD):
        raise TypeError(f"sgd must be an SGD, got {type(sgd).__name__}")
    if sgd.momentum == 0:
        return None
    if not isinstance(velocity, Velocity):
        raise TypeError(
            f"momentum={sgd.momentum} needs a Velocity to remember, got {type(velocity).__name__}"
        )
    velocity_weight, velocity_bias = parameters(
        velocity.weight,
        velocity.bias,
        names=("velocity.weight", "velocity.bias"),
        shape=weight.shape,
        floats=(weight.dtype,),
        writeable=True,
    )
    return velocity_weight, velocity_bias, bool(velocity.started)


def logits_matrix(logits: Any, *, floats: tuple[np.dtype[Any], ...] = FLOAT32) -> Array:
    """`logits` as a contiguous (B, K) array."""
    if not isinstance(logits, np.ndarray) or logits.dtype not in floats:
        got = logits.dtype if isinstance(logits, np.ndarray) else type(logits).__name__
        raise TypeError(f"logits must be an array of {_names(floats)}, got {got}")
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"logits must be (B, K) with K >= 1, got shape {logits.shape}")
    _contiguous("logits", logits)
    return logits
