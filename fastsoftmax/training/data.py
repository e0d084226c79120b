"""The argument `data` of `train`, be it a name, a dataset or two arrays, as `TrainingData`."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from .. import checks
from ..arrays import Array
from ..datasets import Dataset, load_dataset
from ..labels import check_index, labels, some
from ..sources import Source, source_of
from .weighting import ignored

__all__ = ["TrainingData", "training_data"]


class TrainingData(NamedTuple):
    """Rows and labels to train on, and maybe a part to evaluate on."""

    name: str
    source: Source
    y: Any  # (N,) labels
    classes: Array  # (K,) labels
    class_names: tuple[str, ...] | None
    test: tuple[Source, Any] | None  # rows of as many features, and labels


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
    pair = None
    if isinstance(data, Dataset):
        name, x, y, class_names = data.name, data.train_images, data.train_labels, data.class_names
        if len(data.test_images):
            pair = data.test_images, data.test_labels
    else:
        (x, y), name = _pair("data", data, sample_weight=sample_weight), "arrays"
        class_names = None
    if validation_data is not None:
        pair = _pair("validation_data", validation_data)
    source = source_of(x)
    test = None if pair is None else (source_of(pair[0], source.n_features), pair[1])
    if class_names is not None:
        classes = np.arange(len(class_names))
    else:
        y = labels(y)
        classes = np.unique(y[~ignored(y, ignore_index)])
        if len(classes) < 2:
            raise ValueError(f"labels must be of at least 2 classes, got {some(classes)}")
    checks.not_empty(source.n_rows)
    return TrainingData(name, source, y, classes, class_names, test)


def _pair(name: str, data: Any, **others: Any) -> tuple[Any, Any]:
    """Rows and labels of a pair; `others` of the call must have the same pandas index."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        or_else = "a dataset or " if name == "data" else ""
        raise TypeError(f"{name} must be {or_else}a pair (X, y), got {type(data).__name__}")
    check_index(X=data[0], y=data[1], **others)
    return data[0], data[1]
