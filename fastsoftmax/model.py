"""The trained model: prediction and evaluation. `model_file` saves and loads it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from . import checks, model_file
from .arrays import Array
from .backends import get_backend
from .json_values import json_types, same_in_json
from .labels import check_index, indices, labels, some

__all__ = ["Evaluation", "LinearClassifier"]


class Evaluation(NamedTuple):
    """Mean negative log-likelihood, and the share of rows predicted right."""

    loss: float
    accuracy: float


class LinearClassifier:
    """Softmax regression: ``p(class | x) = softmax(x @ weight.T + bias)``.

    Rows are float32 or uint8, (N, D) or (N, H, W) and the like, C-contiguous. Features of uint8
    are multiplied by `scale`.

    Parameters
    ----------
    weight : ndarray of float32, shape (K, D)
    bias : ndarray of float32, shape (K,)
        The arrays are kept, not copied.
    classes : array_like, shape (K,), optional
        The label of each class: integers, booleans or strings. None means 0 to K - 1. Copied.
    class_names : sequence of str, optional
        A name for people of each class, in the order of `classes`.
    scale : float
        The factor of uint8 features; with 1/255 pixels run from 0 to 1.
    settings : mapping, optional
        A record of how it was trained: anything that JSON can hold. It is copied. Tuples and
        NumPy arrays become lists, and NumPy's numbers Python's.

    Raises
    ------
    TypeError, ValueError
        A dtype or a shape is another, or a class occurs twice.

    Notes
    -----
    Each parameter is an attribute, too. A value that is assigned to it is checked as by the
    constructor. `save` checks all of them again, since an array can be changed in place.

    Integer labels of different types are equal if their values are, and booleans are the integers
    0 and 1: a model of classes 0 and 1 can be scored with ``y > 0``. A string never equals a
    number.

    Examples
    --------
    >>> model = LinearClassifier(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), ["a", "b"])
    >>> model.predict(np.array([[0, 1], [2, 1]], np.float32))
    array(['b', 'a'], dtype='<U1')
    """

    weight: Array
    bias: Array
    classes: Array
    class_names: tuple[str, ...] | None
    scale: float
    settings: dict[str, Any]

    def __init__(
        self,
        weight: Array,
        bias: Array,
        classes: Any = None,
        *,
        class_names: Sequence[str] | None = None,
        scale: float = 1 / 255,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        weight, bias = checks.parameters(weight, bias)
        vars(self).update(weight=weight, bias=bias)  # past __setattr__, which needs both
        self.classes = classes
        self.class_names = class_names  # type: ignore[assignment]
        self.scale = scale
        self.settings = settings  # type: ignore[assignment]

    def __setattr__(self, name: str, value: Any) -> None:
        """Checks what is assigned, as the constructor does."""
        if name in ("weight", "bias"):
            value = self._checked_parameter(name, value)
        elif name == "classes":
            value = _checked_classes(value, self.n_classes)
        elif name == "class_names":
            value = None if value is None else _checked_names(value, self.n_classes)
        elif name == "scale":
            value = checks.finite("scale", value)
        elif name == "settings":
            if not isinstance(value, (Mapping, type(None))):
                raise TypeError(f"settings must be a mapping, got {type(value).__name__}")
            value = json_types("settings", value or {})
        super().__setattr__(name, value)

    def _checked_parameter(self, name: str, value: Any) -> Array:
        rows = getattr(value, "shape", ())[:1]
        if rows not in ((), (self.n_classes,)):
            raise ValueError(
                f"{name} must have {self.n_classes} classes as the model has, got shape "
                f"{value.shape}; a LinearClassifier of other classes is a new one"
            )
        given = {"weight": self.weight, "bias": self.bias, name: value}
        weight, bias = checks.parameters(given["weight"], given["bias"])
        return weight if name == "weight" else bias

    @property
    def n_classes(self) -> int:
        """K."""
        return int(self.weight.shape[0])

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.weight.shape[1])

    def __repr__(self) -> str:
        return f"LinearClassifier(n_features={self.n_features}, n_classes={self.n_classes})"

    def _scale_for(self, x: Array) -> float:
        return self.scale if x.dtype == np.uint8 else 1.0

    def decision_function(self, x: Any) -> Array:
        """Logits (N, K) of the rows `x`, float32; with two classes, too, there is one for each."""
        x = checks.rows(x, self.n_features)
        return get_backend().predict_logits(x, self.weight, self.bias, scale=self._scale_for(x))

    def predict(self, x: Any) -> Array:
        """The most probable of `classes` for each row of `x`, (N,); the first of several.

        A row with NaN has no most probable class, but gets one here, since no label is NaN. Its
        probabilities are NaN, and `score` does not count it as right.
        """
        predicted: Array = self.classes[self.decision_function(x).argmax(axis=1)]
        return predicted

    def predict_proba(self, x: Any) -> Array:
        """Probabilities (N, K) of the classes for each row of `x`, float32.

        float32 has 0 for a probability below e**-104. The logarithm of any probability is in
        ``log_softmax(model.decision_function(x))``.
        """
        return get_backend().softmax(self.decision_function(x))

    def encode(self, y: Any) -> Array:
        """The index in `classes` of each label in `y`, (N,) int32.

        Raises
        ------
        TypeError, ValueError
            `y` are no labels, or a label is none of the classes.
        """
        y = labels(y)
        index = indices(self.classes, y)
        unknown = index < 0
        if unknown.any():
            label = y[unknown][0].item()
            raise ValueError(f"label {label!r} is none of the classes {some(self.classes)}")
        return index.astype(np.int32)

    def evaluate(self, x: Any, y: Any, sample_weight: Any = None) -> Evaluation:
        """Mean loss and accuracy on rows `x` with labels `y`.

        With a `sample_weight` (N,), finite and >= 0, both are weighted means. A row whose loss is
        NaN is not right.

        Raises
        ------
        TypeError, ValueError
            There are no rows, or all have weight 0. A label is none of the classes. Pandas
            objects have different indices.
        """
        check_index(x=x, y=y, sample_weight=sample_weight)
        x = checks.rows(x, self.n_features)
        checks.not_empty(len(x))
        target = self.encode(y)
        weights = losses = None
        if sample_weight is not None:
            weights = checks.weights("sample_weight", sample_weight, len(x), "rows")
            losses = np.empty(len(x), np.float32)
        sums = get_backend().evaluate(
            x,
            target,
            self.weight,
            self.bias,
            sample_weight=weights,
            scale=self._scale_for(x),
            losses=losses,
        )
        if not sums.total_weight > 0:
            raise ValueError("sample_weight must be > 0 somewhere, got only 0")
        if losses is None:
            return Evaluation(sums.mean_loss, sums.accuracy)
        right = (self.decision_function(x).argmax(axis=1) == target) & ~np.isnan(losses)
        return Evaluation(sums.mean_loss, float(np.average(right, weights=weights)))

    def score(self, x: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy on rows `x` with labels `y`, weighted as in `evaluate`."""
        return self.evaluate(x, y, sample_weight).accuracy

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a safetensors file, all of it or nothing; `load` reads it.

        The tensors are ``weight`` and ``bias``. Classes, names, scale and settings are in the
        header. The same model always makes the same bytes.

        Raises
        ------
        TypeError, ValueError
            An array or a setting was changed in place to something that a model cannot have.
            Nothing is written.
        """
        checked = LinearClassifier(
            self.weight,
            self.bias,
            self.classes,
            class_names=self.class_names,
            scale=self.scale,
            settings=self.settings,
        )
        self.settings = checked.settings
        model_file.write(path, **vars(checked))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LinearClassifier:
        """Reads a model from a file of `save`; nothing in the file is executed.

        Raises
        ------
        FileNotFoundError
        ValueError
            It is no such file; the message says why.
        """
        return model_file.read(path, cls)


def _checked_classes(value: Any, n_classes: int) -> Array:
    """The labels (K,) of classes: a read-only copy."""
    classes = labels(range(n_classes) if value is None else value, "classes")
    if classes.shape != (n_classes,):
        raise ValueError(f"classes must have shape ({n_classes},), got {classes.shape}")
    if len(np.unique(classes)) != n_classes:
        raise ValueError(f"classes must differ from each other, got {some(classes)}")
    # The dtype of strings is as narrow as the longest, as it is after `load`
    as_python = same_in_json("classes", classes.tolist())
    classes = np.array(as_python, "U" if classes.dtype.kind == "U" else classes.dtype)
    classes.flags.writeable = False  # NumPy would cut a longer string that is assigned
    return classes


def _checked_names(value: Any, n_classes: int) -> tuple[str, ...]:
    if isinstance(value, (str, bytes, Set)):
        raise TypeError(f"class_names must be a sequence of strings, got {value!r}")
    if hasattr(value, "items"):
        raise TypeError(
            f"class_names must be a sequence of strings in the order of classes, got a "
            f"{type(value).__name__}; [class_names[label] for label in classes] is one"
        )
    try:
        names = tuple(value)
    except TypeError:
        raise TypeError(f"class_names must be a sequence of strings, got {value!r}") from None
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names must be strings, got {names}")
    if len(names) != n_classes:
        raise ValueError(f"class_names must be {n_classes}, got {len(names)}")
    return tuple(same_in_json("class_names", str.__str__(name)) for name in names)
