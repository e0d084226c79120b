"""What classes and rows count for in training: class weights, sample weights, ignored labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, scalars
from ..arrays import Array
from ..labels import indices, label, labels, some
from ..model import LinearClassifier
from ..problem import Loss
from ..settings import CrossEntropy

__all__ = ["class_weights", "evaluation_loss", "ignored", "targets", "training_loss"]

_LARGEST_RATIO = 1e30  # of the weights of two rows


def ignored(y: Array, ignore_index: Any) -> Array:
    """Whether each row's label is `ignore_index`, (N,) bool; an `ignore_index` of None is none."""
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
    """The class of each label, (N,) int32; of an ignored row the `CrossEntropy.ignore_index`."""
    y = labels(y)
    where = ignored(y, ignore_index)
    if not where.any():
        return model.encode(y)
    target = np.full(len(y), CrossEntropy.ignore_index, np.int32)
    target[~where] = model.encode(y[~where])
    return target


def class_weights(class_weight: Any, model: LinearClassifier, target: Array) -> Array | None:
    """The argument `class_weight` of `train` as an array (K,), or None.

    "balanced" counts the checked targets (N,), of which a negative one is ignored.
    """
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
    """Weights (K,) from a mapping or the index of a pandas Series; 1 for a label not in it."""
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


def training_loss(
    model: LinearClassifier,
    y: Any,
    n_rows: int,
    *,
    class_weight: Any,
    sample_weight: Any,
    label_smoothing: float,
    ignore_index: Any,
) -> Loss:
    """The loss of labels `y` with the arguments of `train` of these names, checked."""
    target = targets(model, y, ignore_index)
    if sample_weight is not None:
        sample_weight = checks.weights("sample_weight", sample_weight, n_rows, "rows")
        sample_weight = sample_weight.astype(np.float64)
    criterion = CrossEntropy(class_weights(class_weight, model, target), label_smoothing)
    dtype = model.weight.dtype
    loss = checks.loss(target, criterion, sample_weight, n_rows, model.n_classes, dtype)
    _check_row_weights(loss._replace(sample_weight=sample_weight).row_weights())
    return loss


def evaluation_loss(model: LinearClassifier, y: Any, n_rows: int, ignore_index: Any) -> Loss:
    """The plain loss of labels `y` to evaluate on, checked."""
    target = targets(model, y, ignore_index)
    dtype = model.weight.dtype
    loss = checks.loss(target, CrossEntropy(), None, n_rows, model.n_classes, dtype)
    checks.not_empty(int(np.count_nonzero(target >= 0)), "the validation data")
    return loss


def _check_row_weights(row_weights: Array) -> None:
    """Checks weights (N,) of rows, each its class weight times its sample weight.

    Each batch divides by the weights of its own rows. A batch may hold the lightest rows alone,
    and float32 must have room for them beside the heaviest.
    """
    counting = row_weights[row_weights > 0]
    if not len(counting):
        raise ValueError("no row counts for anything: all are ignored, or have weight 0")
    least, most = float(counting.min()), float(counting.max())
    if least < most / _LARGEST_RATIO:
        raise ValueError(
            f"weights of rows, class weight times sample weight, must be 0 or within a factor of "
            f"{_LARGEST_RATIO:.0e} of the largest, got one {most / least:.0e} times smaller; give "
            f"0 to what is to count for nothing"
        )
