"""The data to train on: Fashion-MNIST, or a stand-in drawn by the program."""

from __future__ import annotations

import sys
import warnings

from . import fashion_mnist, synthetic
from .dataset import Dataset
from .fashion_mnist import DatasetUnavailableError

__all__ = ["Dataset", "DatasetUnavailableError", "load_dataset"]


def load_dataset(name: str = "auto") -> Dataset:
    """Load a dataset by its name.

    Parameters
    ----------
    name : {"auto", "fashion-mnist", "synthetic"}, default "auto"
        ``"fashion-mnist"`` is looked for in ``$FASTSOFTMAX_DATA_DIR/fashion-mnist/`` and in the
        cache, and downloaded otherwise. ``"synthetic"`` is the built-in stand-in of the same
        shapes. ``"auto"`` is Fashion-MNIST where it can be had and the stand-in elsewhere; the
        `name` of the result tells which.

    Returns
    -------
    Dataset

    Raises
    ------
    TypeError
        If `name` is not a str.
    ValueError
        If there is no such dataset, or if a file in ``$FASTSOFTMAX_DATA_DIR`` has the wrong MD5.
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
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if name == "fashion-mnist":
        return fashion_mnist.load()
    if name == "synthetic":
        return synthetic.make()
    if name != "auto":
        raise ValueError(f"unknown dataset {name!r}: choose auto, fashion-mnist or synthetic")
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
        return synthetic.make()


def _stacklevel() -> int:
    """Return the stacklevel of the first caller outside this package, as seen by `load_dataset`.

    The warning is for whoever called ``fastsoftmax.train()``, too.
    """
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level
