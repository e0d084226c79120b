"""The user's own data, as NumPy saves them: an .npz file of arrays, or an .npy file of rows."""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset


def read(
    path: str | os.PathLike[str],
    names: Collection[str],
    *,
    purpose: str = "train on",
    rows_alone: bool = False,
) -> dict[str, NDArray[Any]]:
    """Read arrays of an ``.npz`` file.

    Parameters
    ----------
    path : str or PathLike
    names : collection of str
        Which arrays to read, in lower case; in the file the case is free (``X_train``).
    purpose : str
        What the data are for, in messages.
    rows_alone : bool
        Whether an ``.npy`` file will do; its array is then ``x``.

    Returns
    -------
    dict of str to ndarray
        Those of `names` that the file has.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        It is not such a file; the message names it and the reason. Nothing is unpickled.
    """
    with open(path, "rb") as file:
        try:
            # a zip archive is read from its end, so a pipe must be read as a whole
            whole = file if file.seekable() else io.BytesIO(file.read())
            loaded = np.load(whole, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                if not rows_alone:
                    raise ValueError("it is a single array")
                return {"x": loaded}
            found: dict[str, str] = {}
            for name in loaded.files:
                if name.lower() in names and found.setdefault(name.lower(), name) != name:
                    raise ValueError(f"it has both {found[name.lower()]} and {name}")
            arrays = {lower: loaded[name] for lower, name in found.items()}
            for name, array in arrays.items():
                if not isinstance(array, np.ndarray):  # a member that is no .npy comes as bytes
                    raise ValueError(f"its {name} is not an array")
            return arrays
        except MemoryError:
            raise
        except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds for a bad file
            reason = str(error) or type(error).__name__
            raise _not_data(path, purpose, reason) from error


def parts(
    path: str | os.PathLike[str], *, purpose: str = "train on"
) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Read rows and their labels: the parts ``"train"`` and ``"test"``, where the file has them.

    Their arrays are ``x_train`` and ``y_train``, ``x_test`` and ``y_test``. Arrays ``x`` and ``y``
    are the part ``"all"``.

    Raises
    ------
    OSError, ValueError
        As of `read`; or rows or labels are there without the other, or have no dimension.
    """
    arrays = read(path, {"x_train", "y_train", "x_test", "y_test", "x", "y"}, purpose=purpose)
    found = {}
    for part, x, y in (
        ("train", "x_train", "y_train"),
        ("test", "x_test", "y_test"),
        ("all", "x", "y"),
    ):
        if lacking := [name for name in (x, y) if name not in arrays]:
            if len(lacking) == 1:
                raise _not_data(path, purpose, f"it has no array {lacking[0]}")
            continue
        if arrays[x].ndim == 0 or arrays[y].ndim == 0:
            raise _not_data(path, purpose, f"{x} and {y} must have rows")
        found[part] = arrays[x], arrays[y]
    return found


def rows(path: str | os.PathLike[str]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Read rows to predict (``x_test``, ``x`` or an ``.npy`` file) and any labels of them.

    Raises
    ------
    OSError, ValueError
        As of `read`; or there are no such rows.
    """
    names = ("x_test", "y_test"), ("x", "y")
    arrays = read(path, {*names[0], *names[1]}, purpose="predict", rows_alone=True)
    for x, y in names:
        if x in arrays:
            if arrays[x].ndim == 0:
                raise _not_data(path, "predict", f"{x} must have rows")
            return arrays[x], arrays.get(y)
    raise _not_data(path, "predict", "it has no array x_test or x")


def load(path: str | os.PathLike[str]) -> Dataset:
    """Load a dataset: ``x_train``, ``y_train`` and maybe ``x_test``, ``y_test``; or ``x``, ``y``.

    Returns
    -------
    Dataset
        Its labels are those of the file, and its `class_names` None.

    Raises
    ------
    OSError, ValueError
        As of `parts`; or there is nothing to train on.
    """
    found = parts(path)
    if "train" in found and "all" in found:
        raise _not_data(path, "train on", "it has both x_train and x")
    train = found.get("train") or found.get("all")
    if train is None:
        raise _not_data(path, "train on", "it has no array x_train, y_train")
    x, y = train
    x_test, y_test = found.get("test", (x[:0], y[:0]))
    return Dataset(x, y, x_test, y_test, None, Path(path).name)


def _not_data(path: str | os.PathLike[str], purpose: str, reason: str) -> ValueError:
    return ValueError(f"{os.fspath(path)} is not data to {purpose}: {reason}")
