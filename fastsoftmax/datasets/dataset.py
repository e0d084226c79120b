"""What every dataset is when it is loaded, and the error where it cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASS_NAMES = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class DatasetUnavailableError(OSError):
    """The files of a dataset are neither here nor to be had from the network.

    The first line of the message says it in short. The others say where was looked, what failed,
    and how to put the files in place by hand.
    """


# eq=False: arrays compared by == have no truth value, so two datasets are equal if they are one
@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows with labels, most often pictures, in a training and a test part.

    The arrays are read-only, since the pictures may be a memory map of the cache. Copy what you
    want to change.

    Attributes
    ----------
    train_images, test_images : ndarray of uint8, shape (N, 28, 28)
        Grey levels, 0 is the background. From a file of your own: the rows as the file has them.
    train_labels, test_labels : ndarray of int32, shape (N,)
        Indices into `class_names`; negative for rows that training is told to ignore.
    class_names : tuple of str, or None
        None where the labels stand for themselves, as in a file of your own.
    name : str
        Which data it really is: ``"fashion-mnist"``, ``"synthetic"``, or the name of the file.

    Raises
    ------
    TypeError, ValueError
        An array or a name is of another kind, or does not fit the others.

    Notes
    -----
    Lists are made arrays.

    Examples
    --------
    >>> from fastsoftmax.datasets import synthetic
    >>> data = synthetic.make(n_train=20, n_test=10)
    >>> data
    <Dataset synthetic: 20 + 10 pictures of 28x28, 10 classes>
    >>> data.class_names[data.train_labels[0]]
    'dress'
    """

    train_images: NDArray[Any]
    train_labels: NDArray[Any]
    test_images: NDArray[Any]
    test_labels: NDArray[Any]
    class_names: tuple[str, ...] | None
    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a str, got {type(self.name).__name__}")
        if self.class_names is not None:
            object.__setattr__(self, "class_names", _names(self.class_names))
        for part in ("train", "test"):
            images, labels = f"{part}_images", f"{part}_labels"
            x, y = _array(images, getattr(self, images)), _array(labels, getattr(self, labels))
            if y.size == 0:  # an empty list is one of float64
                y = y.astype(np.int32)
            self._check_labels(labels, y)
            if x.dtype.kind not in "biuf":
                raise TypeError(f"{images} must be an array of numbers, got {_kind(x)}")
            if x.ndim < 2 and x.size:
                raise ValueError(f"{images} must be (N, D), (N, H, W) or the like, got {x.shape}")
            if len(x) != len(y):
                raise ValueError(
                    f"{labels} must have shape ({len(x)},) as {images} has rows, got {y.shape}"
                )
            for field, array in ((images, x), (labels, y)):
                view = array.view()
                view.flags.writeable = False
                object.__setattr__(self, field, view)

    def _check_labels(self, name: str, labels: NDArray[Any]) -> None:
        if labels.ndim != 1:
            raise ValueError(f"{name} must be one-dimensional, got shape {labels.shape}")
        if self.class_names is None:
            return  # `train` checks labels that stand for themselves
        if labels.dtype.kind not in "biu":
            raise TypeError(
                f"{name} must be integers, indices into class_names, got {_kind(labels)}"
            )
        n_classes = len(self.class_names)
        wrong = np.flatnonzero(labels >= n_classes)  # negative ones may be meant to be ignored
        if wrong.size:
            raise ValueError(
                f"{name}[{wrong[0]}] is {labels[wrong[0]]}, and there are {n_classes} class_names"
            )

    def __repr__(self) -> str:
        size = "x".join(map(str, self.train_images.shape[1:]))
        kind = "pictures" if self.train_images.ndim == 3 else "rows"
        names = np.unique(self.train_labels) if self.class_names is None else self.class_names
        return (
            f"<Dataset {self.name}: {len(self.train_images)} + {len(self.test_images)} "
            f"{kind} of {size}, {len(names)} classes>"
        )


def _array(name: str, given: Any) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.asarray(given)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} cannot be made an array: {error}") from None
    if array.ndim == 0:
        raise TypeError(f"{name} must be an array, got {type(given).__name__}")
    return array


def _kind(array: NDArray[Any]) -> str:
    element = f" of {type(array.flat[0]).__name__}" if array.dtype == object and array.size else ""
    return f"dtype {array.dtype}{element}"


def _names(given: Any) -> tuple[str, ...]:
    if isinstance(given, str):
        raise TypeError(f"class_names must be a sequence of str, got the str {given!r}")
    try:
        names = tuple(given)
    except TypeError:
        raise TypeError(
            f"class_names must be a sequence of str, got {type(given).__name__}"
        ) from None
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"class_names must be a sequence of str, one of them is {name!r}")
    return tuple(str(name) for name in names)
