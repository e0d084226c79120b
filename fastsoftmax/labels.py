"""Labels of rows as users have them: one-dimensional arrays, compared exactly.

A label is an integer, a boolean or a string. Integers of different types are equal if their values
are, and booleans are the integers 0 and 1, as in Python. A string never equals a number.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import Array, as_array

__all__ = ["check_index", "indices", "label", "labels", "some"]


def labels(y: Any, name: str = "labels") -> Array:
    """`y` as a one-dimensional array of integers, booleans or strings, in native byte order.

    Raises
    ------
    TypeError, ValueError
        `y` are no such labels; the message has the line of Python that makes labels of them.
    """
    if isinstance(y, np.ma.MaskedArray) and y.mask.any():
        raise TypeError(
            f"{name}[{y.mask.argmax()}] is masked; with keep = ~{name}.mask the rows that have a "
            f"label are X[keep], {name}[keep].data"
        )
    # Not np.asarray of a list: it makes strings of [0, "a"] and floats of [1, 2**63].
    array = as_array(name, y) if hasattr(y, "__array__") else np.asarray(y, object)
    if array.ndim != 1:
        cure = _one_dimensional(y, array, name)
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}{cure}")
    kind = array.dtype.kind
    if array.size == 0 and kind not in "biuU":  # an empty list has no type of its own
        return np.empty(0, np.int64)
    if kind in "OT":
        return _from_objects(array.tolist(), name)
    if kind == "f":
        raise _not_of_floats(array, name)
    if kind not in "biuU":
        if kind == "S":
            cure = f"[label.decode() for label in {name}]"
        else:
            cure = f"np.asarray({name}).astype(str)"
        raise _wrong_kind(name, str(array.dtype), cure)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if kind == "U" and array.nbytes > 0:
        points = np.ascontiguousarray(array).view(np.uint32)
        if points.max() > sys.maxunicode:  # from a broken file; Python could not read it
            raise ValueError(f"{name} must be text, got code point {points.max():#x}")
    return array


def label(value: Any, name: str) -> Any:
    """`value` as one label: an int, a bool or a str."""
    try:
        return labels([value]).item()
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be a label, integer, boolean or string, got {value!r}"
        ) from None


def _one_dimensional(y: Any, array: Array, name: str) -> str:
    """The end of a message: how labels are made of an array of other dimensions."""
    if hasattr(y, "toarray"):
        return f" of type {type(y).__name__}; {name}.toarray().ravel() is the array"
    if array.ndim == 0:
        return f" of type {type(y).__name__}; a list has one dimension"
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biufO":
        return f"; np.asarray({name}).argmax(axis=1) are the classes of one-hot rows"
    return f"; np.asarray({name}).ravel() has one dimension"


def _from_objects(values: list[Any], name: str) -> Array:
    """Labels of Python objects, each kept exactly."""
    types = set(map(type, values))
    if not types <= {bool, int, str}:
        values = [_python(value) for value in values]
        for i, value in enumerate(values):
            if _is_missing(value):
                raise _missing(name, i, value)
        types = set(map(type, values))
    if types == {bool}:
        return np.array(values, bool)
    if types <= {bool, int}:
        low, high = min(values), max(values)
        if -(2**63) <= low and high < 2**63:
            return np.array(values, np.int64)
        if 0 <= low and high < 2**64:
            return np.array(values, np.uint64)
        raise ValueError(
            f"{name} must fit into int64, or all into uint64; [str(label) for label in {name}] "
            f"are strings"
        )
    if types == {str}:
        for i, value in enumerate(values):
            if value.endswith("\0"):
                raise ValueError(
                    f"{name}[{i}] is {value!r}, and NumPy's strings lose a NUL at their end; "
                    f'[label.rstrip("\\0") for label in {name}] have none'
                )
        return np.array(values)
    if types <= {bool, int, float}:
        raise _not_of_floats(np.array(values, np.float64), name)
    got = " and ".join(sorted(t.__name__ for t in types))
    if types == {bytes}:
        raise _wrong_kind(name, got, f"[label.decode() for label in {name}]")
    strings = f"[str(label) for label in {name}]"
    if len(types) > 1:
        raise TypeError(f"{name} must be of one kind, got {got}; {strings} are strings")
    raise _wrong_kind(name, got, strings)


def _python(value: Any) -> Any:
    """A scalar of a library or of a subclass as Python's own type."""
    if isinstance(
        value, (np.datetime64, np.timedelta64)
    ):  # its item may be an int, and is no label
        return value
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _is_missing(value: Any) -> bool:
    """Whether it is None, NaN, or pandas' NA or NaT."""
    if isinstance(value, float):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _missing(name: str, i: int, value: Any) -> TypeError:
    return TypeError(
        f"{name}[{i}] is missing, {value!r}; with keep = pandas.notna({name}) the rows that have "
        f"a label are X[keep], {name}[keep]"
    )


def _not_of_floats(array: Array, name: str) -> TypeError:
    """The error for labels that are floats."""
    missing = np.isnan(array)
    if missing.any():
        i = int(missing.argmax())
        return _missing(name, i, array[i].item())
    if (np.abs(array) < 2**63).all() and (array == np.floor(array)).all():
        return _wrong_kind(name, str(array.dtype), f"np.asarray({name}).astype(int)")
    cure = f"np.unique({name}, return_inverse=True)[1]"
    return _wrong_kind(name, str(array.dtype), cure)


def _wrong_kind(name: str, got: str, cure: str) -> TypeError:
    return TypeError(
        f"{name} must be integers, booleans or strings, got {got}; {cure} makes labels of them"
    )


def indices(classes: Array, y: Array) -> npt.NDArray[np.intp]:
    """The index in `classes` of each label in `y`, (N,); -1 for a label that is no class.

    Both are arrays that `labels` returned, and `classes` has no label twice.
    """
    if (classes.dtype.kind == "U") != (y.dtype.kind == "U"):
        return np.full(len(y), -1)
    possible: Any = True
    if classes.dtype.kind != "U":
        # y is compared in the type of the classes: of int64 and uint64 NumPy would make float64
        classes, y = (a.view(np.uint8) if a.dtype == bool else a for a in (classes, y))
        if not np.can_cast(y.dtype, classes.dtype):
            limits = np.iinfo(classes.dtype)
            possible = (y >= limits.min) & (y <= limits.max)
            y = y.astype(classes.dtype)
    sorter = classes.argsort()
    place = np.searchsorted(classes, y, sorter=sorter).clip(max=len(classes) - 1)
    index: npt.NDArray[np.intp] = sorter[place]
    index[~(possible & (classes[index] == y))] = -1
    return index


def some(classes: Array) -> str:
    """The classes for a message; of many the first."""
    first: list[Any] = classes[:20].tolist()
    more = len(classes) - len(first)
    return f"{first}" if more == 0 else f"{first} and {more} more"


def check_index(**arrays: Any) -> None:
    """Refuses pandas objects of one call that have different indices.

    Rows belong together by position, as in NumPy. pandas puts rows together by their index, so
    where two arguments have one, both ways must give the same.
    """
    named = [(name, array.index) for name, array in arrays.items() if hasattr(array, "iloc")]
    for name, index in named[1:]:
        first, expected = named[0]
        if not expected.equals(index):
            raise ValueError(
                f"{name} has another index than {first}: {name}.loc[{first}.index] puts its rows "
                f"in that order, and {name}.to_numpy() leaves them in theirs"
            )
