"""Class and sample weights that are refused, by every function that takes them."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.settings import CrossEntropy
from helpers.arguments import BIAS, WEIGHT, K, N, X, Y, masked, model, sparse, tensor, train

T, V = TypeError, ValueError
BAD_CLASS_WEIGHTS = {
    "too small": ([1.0, 1e-31, 1.0], V, "must be 0 or from 1e-30 to 1e30 in magnitude, got 1e-31"),
    "too large": (
        [1.0, 1e31, 1.0],
        V,
        r"0 or from 1e-30 to 1e30 in magnitude, got 1e\+31",
    ),
    "beyond float32": ([1, 1, 1e39], V, r"from 1e-30 to 1e30 in magnitude, got 1e\+39"),
    "of 400 digits": ([1, 1, 10**400], V, r"class_weight\[2\] must be finite in float32, got 10"),
    "NaN": ([1, np.nan, 1], V, "must be finite in float32, got nan"),
    "text": (["1", "2", "3"], T, "must be an array of numbers, got <U1"),
    "text of objects": (np.array(["1", "2", "3"], object), T, r"\[0\] must be a number, got '1'"),
    "a number": (2.0, V, r"must be one-dimensional, \(K,\), got shape \(\)"),
    "jagged": ([[1], [1, 2]], V, "must be an array, got list that NumPy cannot read as one"),
    "a set": ({1, 2, 3}, T, "must be an array of numbers, got set"),
    "masked": (np.ma.array([1, 2, 3], mask=[0, 0, 1]), T, r"class_weight\.filled\(\.\.\.\)"),
    "a mapping": ({0: 1.0, 1: 2.0}, T, r"got dict; \[class_weight\.get\(k, 1\) for k in range\(K"),
}


# ---- of classes, and of both ----


@pytest.mark.parametrize("case", BAD_CLASS_WEIGHTS)
def test_bad_class_weights(case):
    value, error, message = BAD_CLASS_WEIGHTS[case]
    sgd = fs.SGD(WEIGHT.copy(), BIAS.copy(), 1)
    named = message.replace("class_weight", "weight")
    for call, its in (
        (lambda: CrossEntropy(value), message),
        (lambda: fs.sgd_step(X, Y, sgd.weight, sgd.bias, lr=1, class_weight=value), message),
        (lambda: sgd.step(X, Y, class_weight=value), message),
        (lambda: fs.linear_cross_entropy(X, WEIGHT, Y, weight=value), named),
        (lambda: fs.linear_cross_entropy_grad(X, WEIGHT, Y, weight=value), named),
        (lambda: fs.cross_entropy(X[:, :K], Y, weight=value), named),
        (lambda: fs.nll_loss(X[:, :K], Y, weight=value), named),
    ):
        with pytest.raises(error, match=its):
            call()
    assert sgd.weight.tobytes() == WEIGHT.tobytes()


def test_a_series_is_not_taken_by_position():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series([1.0, 2.0, 3.0], index=[2, 0, 1])
    with pytest.raises(TypeError, match=r"weight\.loc\[classes\]\.to_numpy\(\) is one"):
        fs.linear_cross_entropy(X, WEIGHT, Y, weight=series)
    in_order = series.loc[[0, 1, 2]]
    assert fs.linear_cross_entropy(X, WEIGHT, Y, weight=in_order) == fs.linear_cross_entropy(
        X, WEIGHT, Y, weight=[2.0, 3.0, 1.0]
    )


def test_weights_too_far_apart_for_batches():
    each = np.where(np.arange(N) < 30, 1e20, 1e-20)
    with pytest.raises(ValueError, match=r"a factor of 1e\+30 of the largest, got one 1e\+40"):
        train(sample_weight=each)
    with pytest.raises(ValueError, match=r"a factor of 1e\+30 of the largest, got one 1e\+60"):
        train(sample_weight=np.where(np.arange(N) < 30, 1, 1e-60))
    with pytest.raises(ValueError, match="no row counts for anything"):
        train(sample_weight=np.zeros(N))
    # in one batch the heavy rows outweigh the light ones
    assert np.isfinite(fs.sgd_step(X, Y, WEIGHT.copy(), BIAS.copy(), lr=1, sample_weight=each))


SAMPLE_WEIGHTS = {
    "masked": (lambda: masked(np.ones(N)), T, r"sample_weight is a masked array"),
    "sparse": (lambda: sparse(np.ones((1, N))), T, r"sample_weight\.toarray\(\)"),
    "bfloat16": (
        lambda: tensor(np.ones(N), dtype=pytest.importorskip("torch").bfloat16), T,
        r"sample_weight\.float\(\)\.numpy\(\)",
    ),
    "text": (lambda: ["1"] * N, T, "sample_weight must be an array of numbers, got <U1"),
    "of 400 digits": (lambda: [1] * (N - 1) + [10**400], V, r"sample_weight\[59\] must be finite"),
    "beyond float32": (lambda: np.full(N, 1e39), V, r"sample_weight must be finite in float32"),
    "None among them": (lambda: [None] * N, T, r"sample_weight\[0\] must be a number, got None"),
}  # fmt: skip


# ---- of rows ----


@pytest.mark.parametrize("case", SAMPLE_WEIGHTS)
def test_sample_weights_of_other_kinds(case):
    make, error, message = SAMPLE_WEIGHTS[case]
    for call in (
        lambda each: fs.train((X, Y), sample_weight=each),
        lambda each: fs.sgd_step(X, Y, WEIGHT.copy(), BIAS.copy(), lr=1, sample_weight=each),
        lambda each: model().evaluate(X, Y, each),
    ):
        with pytest.raises(error, match=message):
            call(make())
