"""The argument `data` of `train`, be it a name, a dataset or two arrays, as `TrainingData`."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array
from ..datasets import Dataset, load_dataset
from ..labels import check_index, labels, some
from .weighting import ignored

__all__ = ["TrainingData", "training_data"]


class TrainingData(NamedTuple):
    """Rows and labels to train on, and a part to evaluate on; no backend has checked them yet."""

    name: str
    x: Any  # (N, D) or (N, H, W) and the like
    y: Any  # (N,)
    classes: Array  # (K,) labels
    class_names: tuple[str, ...] | None
    test: tuple[Any, Any] | None  # rows and labels


def training_data(
    data: str | os.PathLike[str] | Dataset | tuple[Any, Any],
    validation_data: tuple[Any, Any] | None,
    sample_weight: Any,
    ignore_index: Any,
) -> TrainingData:
    """Loads what is named, and finds the classes; arguments as those of `train`.

    The classes are those of the dataset or, where it has no names of them, the labels that occur.
    A `sample_weight` is only asked for its pandas index.
    """
    if isinstance(data, (str, os.PathLike)):
        data = load_dataset(data)
    test = None
    if isinstance(data, Dataset):
        name, x, y, class_names = data.name, data.train_images, data.train_labels, data.class_names
        if len(data.test_images):
            test = data.test_images, data.test_labels
    else:
        (x, y), name = _pair("data", data, sample_weight=sample_weight), "arrays"
        class_names = None
    if validation_data is not None:
        test = _pair("validation_data", validation_data)
    if class_names is not None:
        return TrainingData(name, x, y, np.arange(len(class_names)), class_names, test)
    y = labels(y)
    classes = np.unique(y[~ignored(y, ignore_index)])
    if len(classes) < 2:
        raise ValueError(f"labels must be of at least 2 classes, got {some(classes)}")
    return TrainingData(name, x, y, classes, None, test)


def _pair(name: str, data: Any, **others: Any) -> tuple[Any, Any]:
    """Rows and labels of a pair; `others` of the call must have the same pandas index."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        or_else = "a dataset or " if name == "data" else ""
        raise TypeError(f"{name} must be {or_else}a pair (X, y), got {type(data).__name__}")
    check_index(X=data[0], y=data[1], **others)
    return data[0], data[1]
