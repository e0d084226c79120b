"""Models, and rows to predict."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import save_file

import fastsoftmax as fs
from fastsoftmax import LinearClassifier
from helpers.arguments import X

N, K = 50, 7
FORMAT = "fastsoftmax.LinearClassifier"
WEIGHT, BIAS = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)


def rows(kind, n=N):
    """Rows of that kind, and their features in float64."""
    rng = np.random.default_rng(5)
    if kind == "float32":
        x = rng.standard_normal((n, 784), np.float32)
        return x, x.astype(np.float64)
    shape = (n, 28, 28) if kind == "pictures" else (n, 784)
    x = rng.integers(0, 256, shape, np.uint8)
    return x, x.reshape(n, 784) / 255.0


def make_model(*args, n_features=784, n_classes=K, **kwargs):
    rng = np.random.default_rng(6)
    weight = rng.standard_normal((n_classes, n_features), np.float32) * np.float32(0.1)
    weight -= weight.mean(axis=1, keepdims=True)  # or one class is the best for all grey pictures
    return LinearClassifier(weight, rng.standard_normal(n_classes, np.float32), *args, **kwargs)


def full_model(classes=("b", "⊕", "")):
    weight = np.array([[np.nan, np.inf, -0.0], [1e-45, -1e38, 0.1], [1, 2, 3]], np.float32)
    return LinearClassifier(
        weight,
        np.array([-np.inf, 1.5, 0.1], np.float32),
        list(classes),
        class_names=["the b", "Ünïcode", "nothing"],
        scale=0.1 + 0.2,
        settings={"lr": [0.1, 0.05], "seed": None, "data": "arrays", "nested": {"a": [True]}},
    )


def same(a, b):
    return (
        a.weight.tobytes() == b.weight.tobytes()
        and a.bias.tobytes() == b.bias.tobytes()
        and a.weight.shape == b.weight.shape
        and a.classes.tolist() == b.classes.tolist()
        and a.classes.dtype.kind == b.classes.dtype.kind
        and a.class_names == b.class_names
        and a.scale == b.scale
        and a.settings == b.settings
    )


def write_model(path, drop=(), tensors=None, **header):
    """Writes the file of a good model, except for what is given."""
    good = {
        "format": FORMAT, "format_version": "1", "classes": "[0, 1, 2]", "class_names": "null",
        "scale": "1.0", "settings": "{}", **header,
    }  # fmt: skip
    if tensors is None:
        tensors = {"weight": WEIGHT, "bias": BIAS}
    save_file(tensors, path, metadata={k: v for k, v in good.items() if k not in drop})


LABELS = np.random.default_rng(1).integers(0, 3, 60)  # of X of helpers.arguments


def train_on(y, **options):
    """A model trained on X of helpers.arguments with these labels."""
    return fs.train((X, y), epochs=2, **options).model
