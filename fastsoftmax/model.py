"""The trained model: prediction, evaluation, and a file that holds it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import checks
from .backends import get_backend
from .checks import Array
from .files import atomic_write

__all__ = ["Evaluation", "LinearClassifier"]

_FORMAT = "fastsoftmax.LinearClassifier"
_FORMAT_VERSION = "1"


class _Header(dict[str, str]):
    def __missing__(self, key: str) -> str:
        raise ValueError(f"its header has no {key}")


def _json_value(value: object) -> Any:
    """What json is to write for a type that it does not know."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"settings must be JSON serializable, got {value!r}")


class Evaluation(NamedTuple):
    """Mean negative log-likelihood, and the share of rows predicted right."""

    loss: float
    accuracy: float


class LinearClassifier:
    """Softmax regression: ``p(class | x) = softmax(x @ weight.T + bias)``.

    Rows come as float32 or as uint8, (N, D) or (N, H, W) and the like, C-contiguous; uint8
    features are multiplied by `scale`.

    Parameters
    ----------
    weight : ndarray of float32, shape (K, D)
    bias : ndarray of float32, shape (K,)
        Both are kept, not copied.
    classes : array_like, shape (K,), optional
        The label of each class, integers, booleans or strings; 0 to K - 1 where None.
    class_names : sequence of str, optional
        A name of each class for people to read.
    scale : float
        Of uint8 features; 1/255 makes pixels run from 0 to 1.
    settings : mapping, optional
        How it was trained, for the record; anything that JSON can hold.

    Raises
    ------
    TypeError, ValueError
        Dtypes or shapes are not those, or classes repeat.

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
        self.weight, self.bias = checks.parameters(weight, bias)
        n_classes = len(bias)
        self.classes = checks.labels(range(n_classes) if classes is None else classes, "classes")
        if self.classes.shape != (n_classes,):
            raise ValueError(f"classes must have shape ({n_classes},), got {self.classes.shape}")
        if len(np.unique(self.classes)) != n_classes:
            raise ValueError(f"classes must differ from each other, got {self.classes.tolist()}")
        self.class_names = None if class_names is None else tuple(class_names)
        if not all(isinstance(name, str) for name in self.class_names or ()):
            raise TypeError(f"class_names must be strings, got {self.class_names}")
        if self.class_names is not None and len(self.class_names) != n_classes:
            raise ValueError(f"class_names must be {n_classes}, got {len(self.class_names)}")
        self.scale = checks.row_scale(scale)
        self.settings = dict(settings or {})

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
        """Logits (N, K) of the rows `x`, float32; of both classes where there are two."""
        x = np.asarray(x)
        return get_backend().predict_logits(x, self.weight, self.bias, scale=self._scale_for(x))

    def predict(self, x: Any) -> Array:
        """The likeliest of `classes` for each row of `x`, (N,); the first of those that tie."""
        predicted: Array = self.classes[self.decision_function(x).argmax(axis=1)]
        return predicted

    def predict_proba(self, x: Any) -> Array:
        """Probabilities (N, K) of the classes for each row of `x`, float32."""
        return get_backend().softmax(self.decision_function(x))

    def encode(self, y: Any) -> Array:
        """The index in `classes` of each label in `y`, (N,) int32.

        Raises
        ------
        ValueError
            A label is none of the classes.
        """
        y = checks.labels(y)
        sorter = self.classes.argsort()
        place = np.searchsorted(self.classes, y, sorter=sorter).clip(max=self.n_classes - 1)
        index: Array = sorter[place]
        unknown = self.classes[index] != y
        if unknown.any():
            label = y[unknown][0].item()
            raise ValueError(f"label {label!r} is none of the classes {self.classes.tolist()}")
        return index.astype(np.int32)

    def evaluate(self, x: Any, y: Any, sample_weight: Any = None) -> Evaluation:
        """Mean loss and accuracy on rows `x` with labels `y`.

        With a `sample_weight` (N,), finite and >= 0, both are weighted means.

        Raises
        ------
        ValueError
            There are no rows, or all have weight 0; a label is none of the classes.
        """
        x = np.asarray(x)
        checks.not_empty(len(x))
        target = self.encode(y)
        weights = (
            None
            if sample_weight is None
            else checks.weights("sample_weight", sample_weight, len(x), "rows")
        )
        sums = get_backend().evaluate(
            x,
            target,
            self.weight,
            self.bias,
            sample_weight=weights,
            scale=self._scale_for(x),
        )
        if not sums.weight > 0:
            raise ValueError("sample_weight must be > 0 somewhere, got only 0")
        if weights is None:
            return Evaluation(sums.loss / sums.weight, sums.correct / sums.counted)
        right = self.decision_function(x).argmax(axis=1) == target
        return Evaluation(sums.loss / sums.weight, float(np.average(right, weights=weights)))

    def score(self, x: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy on rows `x` with labels `y`, weighted as in `evaluate`."""
        return self.evaluate(x, y, sample_weight).accuracy

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a safetensors file, all of it or nothing.

        The tensors are ``weight`` and ``bias``; classes, scale and settings are in the header.
        """
        from safetensors.numpy import save

        header = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "classes": json.dumps(self.classes.tolist()),
            "class_names": json.dumps(self.class_names),
            "scale": json.dumps(self.scale),
            "settings": json.dumps(self.settings, default=_json_value),
        }
        content = save({"weight": self.weight, "bias": self.bias}, metadata=header)
        with atomic_write(Path(path)) as file:
            file.write(content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LinearClassifier:
        """Reads a model from a file that `save` wrote; nothing in it is executed.

        Raises
        ------
        FileNotFoundError
        ValueError
            It is not such a file; the message says why.
        """
        from safetensors import SafetensorError, safe_open

        open(path, "rb").close()  # what is missing or a folder is told as Python tells it
        try:
            with safe_open(os.fspath(path), framework="numpy") as file:
                header = _Header(file.metadata() or {})
                if header.get("format") != _FORMAT:
                    raise ValueError(f"its header's format is {header.get('format')!r}")
                if header["format_version"] != _FORMAT_VERSION:
                    raise ValueError(f"its format_version is {header['format_version']!r}")
                return cls(
                    file.get_tensor("weight"),
                    file.get_tensor("bias"),
                    json.loads(header["classes"]),
                    class_names=json.loads(header["class_names"]),
                    scale=json.loads(header["scale"]),
                    settings=json.loads(header["settings"]),
                )
        except (
            AttributeError,  # of safetensors, for a dtype that NumPy does not have
            RecursionError,  # of json, for a header made to be so
            SafetensorError,
            TypeError,
            ValueError,
        ) as error:
            raise ValueError(f"{os.fspath(path)} is not a fastsoftmax model: {error}") from error
