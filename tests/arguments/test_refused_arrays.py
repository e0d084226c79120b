"""Rows, logits, targets and results that are no plain array: the message says what makes one."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastsoftmax as fs
from helpers.arguments import BIAS, WEIGHT, K, N, X, Y, masked, model, sparse, tensor

T, V = TypeError, ValueError


def frame(array):
    return pytest.importorskip("pandas").DataFrame(array)


ROWS = {
    "sparse": (lambda: sparse(X), T, r"is sparse, csr_matrix; \w+\.toarray\(\)"),
    "masked": (lambda: masked(X), T, r"is a masked array, .* \w+\.filled\(\.\.\.\)"),
    "bfloat16": (
        lambda: tensor(X, dtype=pytest.importorskip("torch").bfloat16), T,
        r"got Tensor that NumPy cannot read .*; \w+\.float\(\)\.numpy\(\) is one",
    ),
    "requires_grad": (
        lambda: tensor(X, requires_grad=True), T, r"; \w+\.detach\(\)\.numpy\(\) is one"
    ),
    "sparse tensor": (
        lambda: tensor(X).to_sparse(), T, r"; \w+\.to_dense\(\)\.numpy\(\) is one"
    ),
    "jagged": (lambda: [[1.0], [1.0, 2.0]], V, "must be an array, got list that NumPy cannot "),
}  # fmt: skip
NOT_FLOAT32 = {
    "object frame": (
        lambda: frame({"a": [1.0], "b": ["c"]}), T,
        r"and its columns \['b'\] are no numbers; .*np\.ascontiguousarray\(\w+, np\.float32\)",
    ),
    "float16": (
        lambda: X.astype(np.float16), T,
        r"got float16; convert it once with np\.ascontiguousarray\(\w+, np\.float32\)",
    ),
    "list of text": (lambda: [["a", "b"]], T, "got <U1"),
    "None": (lambda: None, T, "got NoneType"),
    "a set": (lambda: {1}, T, "got set"),
}  # fmt: skip
NOT_FLOAT32_OR_64 = {
    "float64 frame": (
        lambda: frame(X.astype(float)), T,
        r"got float64; convert it once with np\.ascontiguousarray\(\w+, np\.float32\)",
    ),
    "list of lists": (
        lambda: X.tolist(), T,
        r"got float64; convert it once with np\.ascontiguousarray\(\w+, np\.float32\)",
    ),
    "frame": (
        lambda: frame(X.astype(np.float32)).astype(np.float32), V,
        r"must be C-contiguous, .*; np\.ascontiguousarray\(\w+\) makes",
    ),
    "a number": (lambda: np.float32(3), V, r"got shape \(\)"),
}  # fmt: skip
OF_ROWS = {
    "train": lambda x: fs.train((x, Y)),
    "validation": lambda x: fs.train((X, Y), validation_data=(x, Y)),
    "sgd_step": lambda x: fs.sgd_step(x, Y, WEIGHT.copy(), BIAS.copy(), lr=1),
    "SGD.step": lambda x: fs.SGD(WEIGHT.copy(), BIAS.copy(), lr=1).step(x, Y),
    "predict": lambda x: model().predict(x),
    "predict_proba": lambda x: model().predict_proba(x),
    "evaluate": lambda x: model().evaluate(x, Y),
    "score": lambda x: model().score(x, Y, np.ones(N)),
}
OF_INPUT = {
    "linear_cross_entropy": lambda x: fs.linear_cross_entropy(x, WEIGHT, Y),
    "linear_cross_entropy_grad": lambda x: fs.linear_cross_entropy_grad(x, WEIGHT, Y),
}
OF_LOGITS = {
    "softmax": fs.softmax,
    "log_softmax": fs.log_softmax,
    "cross_entropy": lambda z: fs.cross_entropy(z, Y),
    "nll_loss": lambda z: fs.nll_loss(z, Y),
}


@pytest.mark.parametrize("case", {**ROWS, **NOT_FLOAT32, **NOT_FLOAT32_OR_64})
@pytest.mark.parametrize("where", OF_ROWS)
def test_rows_of_other_kinds(where, case):
    make, error, message = {**ROWS, **NOT_FLOAT32, **NOT_FLOAT32_OR_64}[case]
    with pytest.raises(error, match=f"^x .*{message}"):
        OF_ROWS[where](make())


@pytest.mark.parametrize("case", {**ROWS, **NOT_FLOAT32})
@pytest.mark.parametrize("where", OF_INPUT)
def test_input_of_other_kinds(where, case):
    make, error, message = {**ROWS, **NOT_FLOAT32}[case]
    with pytest.raises(error, match=f"^input .*{message}"):
        OF_INPUT[where](make())


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("where", OF_LOGITS)
def test_logits_of_other_kinds(where, case):
    make, error, message = ROWS[case]
    with pytest.raises(error, match=f"^log(its|_probs) .*{message}"):
        OF_LOGITS[where](make())


@pytest.mark.parametrize("value", [None, "a", ["a"], [None], np.array([1], "M8[s]")], ids=repr)
@pytest.mark.parametrize("where", OF_LOGITS)
def test_logits_that_are_no_numbers(where, value):
    with pytest.raises(TypeError, match=r"must be numbers, got .*np\.asarray\(\w+, np\.float64\)"):
        OF_LOGITS[where](value)


TARGETS = {
    "masked": (lambda: masked(Y), T, r"target is a masked array, .*; target\.filled\(\.\.\.\)"),
    "whole floats": (lambda: Y.astype(float), T, r"got float64; target\.astype\(int\) makes one"),
    "bools": (lambda: Y == 1, T, r"got bool; target\.astype\(int\) makes one of whole"),
    "sparse": (lambda: sparse(np.eye(K)[Y]), T, r"target is sparse, csr_matrix; target\.toarray"),
    "jagged": (lambda: [[1], [1, 2]], V, "target must be an array, got list that NumPy cannot"),
    "text": (lambda: Y.astype(str), T, "target must be an array of integers, got <U"),
}
OF_TARGETS = {
    "sgd_step": lambda t: fs.sgd_step(X, t, WEIGHT.copy(), BIAS.copy(), lr=1),
    "linear_cross_entropy": lambda t: fs.linear_cross_entropy(X, WEIGHT, t),
    "linear_cross_entropy_grad": lambda t: fs.linear_cross_entropy_grad(X, WEIGHT, t),
    "cross_entropy": lambda t: fs.cross_entropy(X, t),
    "nll_loss": lambda t: fs.nll_loss(X, t),
}


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("where", OF_TARGETS)
def test_targets_of_other_kinds(where, case):
    make, error, message = TARGETS[case]
    with pytest.raises(error, match=message):
        OF_TARGETS[where](make())


def test_results_go_to_arrays_alone():
    for out in (np.ma.array(np.zeros(N, np.float32)), tensor(np.zeros(N, np.float32)), [0.0] * N):
        for call in (
            lambda out=out: fs.linear_cross_entropy(X, WEIGHT, Y, reduction="none", out=out),
            lambda out=out: fs.cross_entropy(X, Y, reduction="none", out=out),
        ):
            with pytest.raises(TypeError, match=r"^out must be an array "):
                call()
    with pytest.raises(TypeError, match=r"weight must be an array without a mask; weight\.data"):
        fs.sgd_step(X, Y, np.ma.array(WEIGHT), BIAS.copy(), lr=1)


def test_how_to_make_parameters():
    given = {
        "np.array(weight, np.float32)": WEIGHT.tolist(),
        "weight.astype(np.float32)": WEIGHT.astype(np.float16),
        "weight.numpy()": tensor(WEIGHT),
        "weight.detach().numpy()": tensor(WEIGHT, requires_grad=True),
    }
    for how, weight in given.items():
        for call in (
            lambda weight=weight: fs.sgd_step(X, Y, weight, BIAS.copy(), lr=1),
            lambda weight=weight: fs.SGD(weight, BIAS.copy(), lr=1),
            lambda weight=weight: fs.LinearClassifier(weight, BIAS),
        ):
            with pytest.raises(TypeError, match=re.escape(f"; {how} is one")):
                call()
        fs.LinearClassifier(eval(how, {"np": np, "weight": weight}), BIAS)
