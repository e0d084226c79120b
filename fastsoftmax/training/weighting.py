"""What classes and rows count for in training: weights of classes, labels to ignore."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, scalars
from ..checks import Array
from ..labels import indices, label, labels, some
from ..model import LinearClassifier
from ..settings import CrossEntropy

__all__ = ["class_weights", "ignored", "targets"]


def ignored(y: Array, ignore_index: Any) -> Array:
    """Of which rows the label is `ignore_index`, (N,) bool; of none where it is None."""
    if ignore_index is None:
        return np.zeros(len(y), bool)
    array = labels([label(ignore_index, "ignore_index")])
    if y.size and (array.dtype.kind == "U") != (y.dtype.kind == "U"):
        raise TypeError(
            f"ignore_index must be a label as the others are, {y.dtype}, got {ignore_index!r}"
        )
    where: Array = indices(array, y) == 0
    return where


def targets(model: LinearClassifier, y: Any, ignore_index: Any) -> Array:
    """The class of each label, (N,) int32, or where it is ignored that of a CrossEntropy."""
    y = labels(y)
    where = ignored(y, ignore_index)
    if not where.any():
        return model.encode(y)
    target = np.full(len(y), CrossEntropy.ignore_index, np.int32)
    target[~where] = model.encode(y[~where])
    return target


def class_weights(class_weight: Any, model: LinearClassifier, target: Array) -> Array | None:
    """Weights (K,) by label, from an array, or "balanced" by checked targets."""
    if class_weight is None:
        return None
    n_classes = model.n_classes
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(
                f'class_weight must be "balanced", a mapping of labels to weights, or an array, '
                f"got {class_weight!r}"
            )
        kept = target[target >= 0]
        rows = np.bincount(kept, minlength=n_classes)
        if not rows.all():
            label = model.classes[rows == 0][0].item()
            raise ValueError(f"class {label!r} has no rows to balance it by")
        class_weight = len(kept) / (n_classes * rows)
    elif hasattr(class_weight, "items"):
        class_weight = _by_label(class_weight, model.classes)
    weights = checks.class_weights("class_weight", class_weight, n_classes, np.dtype(np.float32))
    return checks.weights("class_weight", weights, n_classes, "classes")


def _by_label(class_weight: Any, classes: Array) -> Array:
    """Weights (K,) of a mapping, or of a pandas Series by its index; 1 where it has none."""
    index = {name: k for k, name in enumerate(classes.tolist())}
    weights: dict[int, float] = {}
    for key, weight in class_weight.items():
        k = index.get(label(key, "a key of class_weight"))
        if k is None:
            raise ValueError(
                f"class_weight's label {key!r} is none of the classes {some(classes)}; an "
                f"array has weights by position"
            )
        if k in weights:
            raise ValueError(f"class_weight has the label {key!r} twice")
        weights[k] = scalars.finite(f"class_weight[{key!r}]", weight)
    return np.array([weights.get(k, 1.0) for k in range(len(classes))])
