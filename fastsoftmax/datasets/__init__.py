"""The data to train on: Fashion-MNIST, a stand-in drawn by the program, or a file of arrays.

A dataset is a module with a function ``load()`` and an entry in `_MODULES`. Where it is published
as IDX files, the module has a `Specification`, and `loader` is what loads it.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Protocol

from . import fashion_mnist, npz, synthetic
from .dataset import Dataset, DatasetUnavailableError

__all__ = ["Dataset", "DatasetUnavailableError", "load_dataset"]


class _Module(Protocol):
    def load(self) -> Dataset: ...


# By the name for `load_dataset`
_MODULES: dict[str, _Module] = {"fashion-mnist": fashion_mnist, "synthetic": synthetic}
NAMES = ("auto", *_MODULES)


def load_dataset(name: str | os.PathLike[str] = "auto") -> Dataset:
    """Load a dataset by its name, or from an ``.npz`` file.

    Parameters
    ----------
    name : {"auto", "fashion-mnist", "synthetic"} or path, default "auto"
        ``"fashion-mnist"`` is looked for in ``$FASTSOFTMAX_DATA_DIR/fashion-mnist/`` and in the
        cache, and downloaded otherwise. ``"synthetic"`` is the built-in stand-in of the same
        shapes. ``"auto"`` is Fashion-MNIST where it can be had and the stand-in elsewhere; the
        `name` of the result tells which. The file of a path has arrays ``x_train`` and
        ``y_train``, and if they are wanted ``x_test`` and ``y_test``; or only ``x`` and ``y``.
        The rules for them are those of ``train((x, y))``: labels stand for themselves.

    Returns
    -------
    Dataset

    Raises
    ------
    TypeError
        If `name` is neither a str nor a path.
    ValueError
        If there is no such dataset, if the file does not have those arrays, or if a file in
        ``$FASTSOFTMAX_DATA_DIR`` has the wrong MD5.
    FileNotFoundError
        If there is no such ``.npz`` file.
    DatasetUnavailableError
        If Fashion-MNIST was asked for by name and cannot be had.

    Warns
    -----
    UserWarning
        If ``"auto"`` falls back to the stand-in.

    Examples
    --------
    >>> load_dataset("synthetic")
    <Dataset synthetic: 60000 + 10000 pictures of 28x28, 10 classes>
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"name must be a str or a path, not {type(name).__name__}")
    if is_file(name):
        return npz.load(name)
    if name == "auto":
        return _auto()
    if name not in _MODULES:
        raise ValueError(
            f"unknown dataset {name!r}: choose {', '.join(NAMES[:-1])} or {NAMES[-1]}, or give "
            f"the path of an .npz file"
        )
    return _MODULES[name].load()


def _auto() -> Dataset:
    """Fashion-MNIST, or with a warning the stand-in."""
    try:
        return fashion_mnist.load()
    except DatasetUnavailableError as error:
        reason = str(error).partition("\n")[0]
        warnings.warn(
            f"{reason} Using the built-in synthetic pictures instead: the job is the same, the "
            f'accuracies are not. load_dataset("fashion-mnist") tells what was tried and how to '
            f"put the files in place by hand.",
            UserWarning,
            stacklevel=_stacklevel(),
        )
        return synthetic.load()


def is_file(name: str | os.PathLike[str]) -> bool:
    """Whether `name` is a file for `load_dataset`: a path, or a str that is no dataset's name."""
    if not isinstance(name, str):
        return True
    if name in NAMES:
        return False
    return name.lower().endswith((".npz", ".npy")) or os.path.exists(name)


def _stacklevel() -> int:
    """The stacklevel, for the caller of this function, of the first frame outside the package.

    A warning is for the user's line, be it one that calls ``fastsoftmax.train()``.
    """
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level
