"""Bad weights, smoothing and labels to ignore of train() and of an evaluation."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastsoftmax as fs
from helpers.training import D, K, arrays

N = 300
X, Y = arrays(N)
T, V = TypeError, ValueError
BAD = {
    "class_weight negative": (
        {"class_weight": [1, 1, -1, 1]},
        V,
        "class_weight must be >= 0, got -1.0",
    ),
    "class_weight NaN": (
        {"class_weight": {0: np.nan}},
        V,
        "class_weight[0] must be finite in float32, got nan",
    ),
    "class_weight short": (
        {"class_weight": [1, 2, 3]},
        V,
        "class_weight must have shape (4,) as there are classes, got (3,)",
    ),
    "class_weight of no class": (
        {"class_weight": {4: 1.0}},
        V,
        "label 4 is none of the classes [0, 1, 2, 3]",
    ),
    "class_weight words": (
        {"class_weight": {0: "a"}},
        T,
        "class_weight[0] must be a number, got 'a'",
    ),
    "class_weight a word": (
        {"class_weight": "auto"},
        V,
        'class_weight must be "balanced", a mapping of labels',
    ),
    "sample_weight negative": (
        {"sample_weight": np.full(N, -1)},
        V,
        "sample_weight must be >= 0, got -1.0",
    ),
    "sample_weight infinite": (
        {"sample_weight": np.full(N, np.inf)},
        V,
        "sample_weight must be finite",
    ),
    "sample_weight short": (
        {"sample_weight": np.ones(5)},
        V,
        "sample_weight must have shape (300,) as there are rows, got (5,)",
    ),
    "sample_weight words": (
        {"sample_weight": ["a"] * N},
        T,
        "sample_weight must be an array of numbers, got <U1",
    ),
    "sample_weight 0": (
        {"sample_weight": np.zeros(N)},
        V,
        "no row counts for anything: all are ignored, or have weight 0",
    ),
    "class_weight 0": ({"class_weight": np.zeros(K)}, V, "no row counts for anything"),
    "smoothing": ({"label_smoothing": 1.5}, V, "label_smoothing must be in [0, 1], got 1.5"),
    "smoothing a word": ({"label_smoothing": "a"}, T, "label_smoothing must be a number, got 'a'"),
    "ignore_index a word": (
        {"ignore_index": "?"},
        T,
        "ignore_index must be a label as the others are, int64, got '?'",
    ),
    "ignore_index a float": (
        {"ignore_index": 0.5},
        T,
        "ignore_index must be a label, integer, boolean or string, got 0.5",
    ),
    "ignore_index two labels": (
        {"ignore_index": [0, 1]},
        T,
        "ignore_index must be a label, integer, boolean or string, got [0, 1]",
    ),
    "ignored but one class": (
        {"data": (X, np.minimum(Y, 1)), "ignore_index": 0},
        V,
        "labels must be of at least 2 classes, got [1]",
    ),
    "validation ignored": (
        {"ignore_index": 7, "validation_data": (X, Y * 0 + 7)},
        V,
        "the validation data has no rows",
    ),
    "validation label": (
        {"ignore_index": 7, "validation_data": (X, Y + 5)},
        V,
        "is none of the classes [0, 1, 2, 3]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case, monkeypatch):
    changed, error, message = BAD[case]
    kernels = fs.get_backend().kernels
    monkeypatch.setattr(kernels, "train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(error, match=re.escape(message)):
        fs.train(**{"data": (X, Y), "epochs": 1, **changed})


def test_a_class_without_rows_cannot_be_balanced():
    dataset = fs.Dataset(X, Y, X[:0], Y[:0], ("a", "b", "c", "d", "e"), "mine")
    with pytest.raises(ValueError, match="class 4 has no rows to balance it by"):
        fs.train(dataset, epochs=1, class_weight="balanced")
    with pytest.raises(ValueError, match="no row counts for anything"):
        only = fs.Dataset(X, Y * 0, X[:0], Y[:0], ("a", "b"), "mine")
        fs.train(only, epochs=1, ignore_index=0)


@pytest.mark.parametrize(
    "sample_weight, message",
    [
        (np.ones(5), r"sample_weight must have shape \(300,\) as there are rows, got \(5,\)"),
        (np.full(N, -1), "sample_weight must be >= 0, got -1.0"),
        (np.zeros(N), "sample_weight must be > 0 somewhere, got only 0"),
    ],
)
def test_bad_weights_of_an_evaluation(sample_weight, message):
    model = fs.LinearClassifier(np.zeros((K, D), np.float32), np.zeros(K, np.float32))
    for method in (model.evaluate, model.score):
        with pytest.raises(ValueError, match=message):
            method(X, Y, sample_weight)
