"""Checks of each argument of the kernels. Over 300 lines: every message of theirs stands here.

A function returns what it was given in the form that the kernels take, or raises a ``TypeError``
or ``ValueError`` that says what was got and what was expected. None copies the rows. `door` puts
them together; labels are in `labels`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from . import arrays
from .arrays import Array as Array
from .arrays import as_array, numbers, wrong_rows
from .arrays import contiguous as _contiguous
from .problem import Loss, Velocity
from .scalars import FLOAT32_MAX, FLOAT32_TINY, positive, shown
from .scalars import finite as finite
from .scalars import integer as integer
from .scalars import positive_int as positive_int
from .settings import CrossEntropy, SGDSettings

try:
    from . import _seen
except ImportError:  # built without the extension
    _seen = None  # type: ignore[assignment]
seen = _seen  # asked first: it sees at a glance that nothing is wrong

_FLOAT32 = np.dtype(np.float32)
FLOAT32 = (_FLOAT32,)
FLOATS = (_FLOAT32, np.dtype(np.float64))  # what the NumPy oracle takes
_UINT8 = np.dtype(np.uint8)
ORDINARY = 2.0**-20, 2.0**40  # the largest weight, where the kernels take weights as they are
_LEAST_WEIGHT = 2.0**-900  # a double has room for sums of these


def _names(dtypes: tuple[np.dtype[Any], ...]) -> str:
    return " or ".join(dtype.name for dtype in dtypes)


def rows(
    x: Any, n_features: int | None = None, *, floats: tuple[np.dtype[Any], ...] = FLOAT32
) -> Array:
    """`x` as (N, D) rows of `floats` or uint8: trailing dimensions are flattened, not copied."""
    if seen and n_features is not None and seen.rows(x, n_features):
        return x  # type: ignore[no-any-return]
    given, x = x, as_array("x", x)
    if x.dtype not in floats and x.dtype != _UINT8:
        raise wrong_rows("x", _names((*floats, _UINT8)), x, given)
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
    if (
        seen
        and _FLOAT32 in floats
        and seen.parameters(weight, bias, writeable)
        and (shape is None or weight.shape == shape)
    ):
        return weight, bias
    weight = _parameter(names[0], weight, 2, floats, writeable)
    bias = _parameter(names[1], bias, 1, floats, writeable)
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
) -> Array:
    if type(array) is not np.ndarray or array.dtype not in floats:
        _given_array(name, array, floats)
    if array.ndim != ndim:
        form = "(K, D)" if ndim == 2 else "(K,)"
        raise ValueError(f"{name} must be {form}, got shape {array.shape}")
    _contiguous(name, array)
    if writeable and not array.flags.writeable:
        raise ValueError(f"{name} is read-only, and would be updated in place")
    return array.view(np.ndarray) if type(array) is not np.ndarray else array


def _given_array(name: str, array: Any, dtypes: tuple[np.dtype[Any], ...]) -> None:
    """Checks that it is an array itself, of one of these dtypes: results would go to a copy."""
    if not isinstance(array, np.ndarray) or array.dtype not in dtypes:
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(
            f"{name} must be an array of {_names(dtypes)}, got {got}; "
            f"{arrays.conversion(name, array, dtypes[0])} is one"
        )
    if hasattr(array, "mask"):
        raise TypeError(f"{name} must be an array without a mask; {name}.data is the one below it")


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
    if seen and (ignore_index is None or ignore_index < 0):
        classes = seen.classes(target, n_rows, n_classes)
        if classes is not None:
            return classes, False
    target = as_array("target", target)
    if target.dtype.kind not in "iu":
        raise TypeError(
            f"target must be an array of integers, got {target.dtype}; target.astype(int) makes "
            f"one of whole numbers, and floats of shape (N, K) are probabilities"
        )
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
    classes = target.astype(np.int32)
    classes[ignored] = -1  # which an unsigned type could not hold
    return classes, bool(ignored.any())


def float_vector(name: str, value: Any, n: int, of: str) -> Array:
    """`value` as n numbers that are finite in float32, of a float dtype."""
    array = numbers(name, value)
    if array.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},) as there are {of}, got {array.shape}")
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    finite = np.abs(array) <= FLOAT32_MAX
    if not finite.all():
        raise ValueError(f"{name} must be finite in float32, got {array[~finite][0]}")
    return array


def class_weights(name: str, value: Any, n_classes: int, dtype: np.dtype[Any]) -> Array:
    """`value` as a weight of each class, (K,), 0 or from 1e-30 to 1e30 in magnitude."""
    array = arrays.class_weights(name, value)
    _weight_of_each_class(name, array, n_classes)
    return np.ascontiguousarray(array, dtype)


def _weight_of_each_class(name: str, array: Array, n_classes: int) -> None:
    if array.shape != (n_classes,):
        raise ValueError(
            f"{name} must have shape ({n_classes},) as there are classes, got {array.shape}"
        )


def weights(name: str, value: Any, n: int, of: str) -> Array:
    """`value` as n finite numbers >= 0, of a float dtype."""
    array = float_vector(name, value, n, of)
    if (array < 0).any():
        raise ValueError(f"{name} must be >= 0, got {array[array < 0][0]}")
    return array


def loss(
    target: Any,
    criterion: CrossEntropy | None,
    sample_weight: Any,
    n_rows: int,
    n_classes: int,
    dtype: np.dtype[Any],
) -> Loss:
    """`target`, integers (N,) or probabilities (N, K), and what weighs it, as `dtype`."""
    if criterion is not None and not isinstance(criterion, CrossEntropy):
        raise TypeError(f"criterion must be a CrossEntropy, got {type(criterion).__name__}")
    target = as_array("target", target)
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
        smoothing = criterion.label_smoothing
        class_weight = criterion.class_weight
        if class_weight is not None:
            _weight_of_each_class("class_weight", class_weight, n_classes)
            class_weight = np.ascontiguousarray(class_weight, dtype)
    plain = probabilities is None and class_weight is None and smoothing == 0 and not any_ignored
    of_rows = Loss(target, probabilities, class_weight, None, smoothing, plain)
    if sample_weight is None:
        return of_rows
    sample_weight = float_vector("sample_weight", sample_weight, n_rows, "rows")
    return with_sample_weight(of_rows, sample_weight, dtype)


def with_sample_weight(loss: Loss, sample_weight: Array, dtype: np.dtype[Any]) -> Loss:
    """A checked loss of which each row is weighed, by finite floats (N,)."""
    exponent, counts = _heaviest(
        loss.target, loss.class_weight, loss.label_smoothing, sample_weight
    )
    if exponent:
        scaled = np.ldexp(sample_weight.astype(np.float64), -exponent)
        sample_weight = np.where(counts, scaled, 0)
    sample_weight = np.ascontiguousarray(sample_weight, dtype)
    return loss._replace(sample_weight=sample_weight, plain=False, exponent=exponent)


def _heaviest(
    target: Array | None, class_weight: Array | None, smoothing: float, sample_weight: Array
) -> tuple[int, Array]:
    """The exponent of the largest weight in magnitude, 0 if the kernels take weights as they are;
    and which rows have any, (N,)."""
    size = np.abs(sample_weight, dtype=np.float64)
    largest = size.max(initial=0.0)
    if class_weight is not None:
        of_class = np.abs(class_weight, dtype=np.float64)
        spread = target is None or smoothing != 0  # over all classes
        size = size * (of_class.max() if spread else of_class[target])
    if target is not None:
        size = size * (target >= 0)
    most, counts = size.max(initial=0.0), size > 0
    if 0 < largest < _LEAST_WEIGHT or 0 < most < _LEAST_WEIGHT:
        raise ValueError(
            "sample_weight times class_weight must be 0 or from 1e-270 on in some row; multiply "
            "it by a constant, as only ratios matter to a mean"
        )
    as_they_are = most == 0 or ORDINARY[0] <= most <= ORDINARY[1]
    return 0 if as_they_are else math.frexp(most)[1], counts


def output(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`array` as one to write results to."""
    _given_array(name, array, (dtype,))
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    _contiguous(name, array)
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only, and would be written to")
    result: Array = array
    return result


def row_order(order: Any, n_rows: int) -> npt.NDArray[np.int64] | None:
    """`order` as int64 indices in [0, n_rows), in any number; None stays None."""
    if order is None:
        return None
    order = as_array("order", order)
    if order.dtype.kind not in "iu":
        raise TypeError(f"order must be an array of integers, got {order.dtype}")
    if order.ndim != 1:
        raise ValueError(f"order must be one-dimensional, got shape {order.shape}")
    if not _all_below(order, n_rows):
        wrong = int(np.flatnonzero((order < 0) | (order >= n_rows))[0])
        raise ValueError(f"order[{wrong}] is {order[wrong]}, expected 0 <= order < {n_rows} rows")
    return np.ascontiguousarray(order, np.int64)


def total_weight(value: Any) -> float:
    """`value`, which gradients are divided by, as a float of all the digits of float32."""
    number = positive("total_weight", value)
    if number < FLOAT32_TINY:
        raise ValueError(f"total_weight must be {FLOAT32_TINY:.3g} or more, got {shown(value)}")
    return number


def default_scale(dtype: np.dtype[Any]) -> float:
    """What a feature is multiplied by where nothing is said: uint8 rows are pixels."""
    return 1 / 255 if dtype == _UINT8 else 1.0


def not_empty(n_rows: int, name: str = "x") -> None:
    """There is no mean over no rows."""
    if n_rows == 0:
        raise ValueError(f"{name} has no rows, expected at least 1")


def velocity_of(
    sgd: SGDSettings, velocity: Velocity | None, weight: Array
) -> tuple[Array, Array, bool] | None:
    """What an update by `sgd` uses of `velocity`: weight, bias, started; None without momentum.

    Each attribute is read once: what another thread assigns to it meanwhile is for the next call.
    """
    if not isinstance(sgd, SGDSettings):
        raise TypeError(f"sgd must be an SGDSettings, got {type(sgd).__name__}")
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
    _given_array("logits", logits, floats)
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"logits must be (B, K) with K >= 1, got shape {logits.shape}")
    _contiguous("logits", logits)
    matrix: Array = logits.view(np.ndarray)
    return matrix
