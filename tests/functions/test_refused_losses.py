"""Bad arguments of linear_cross_entropy, its gradient, cross_entropy and nll_loss."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastsoftmax as fs
from helpers.functions import loss_problem, probabilities

X, WEIGHT, TARGET, BIAS, CLASS_WEIGHT = loss_problem()
Q = probabilities(65, 7, np.float32)
T, V = TypeError, ValueError
BAD = {
    "float64 weight": (
        {"linear_weight": WEIGHT.astype(float)},
        T,
        "linear_weight must be float32 as input, got float64",
    ),
    "float64 input": (
        {"input": X.astype(float)},
        T,
        "linear_weight must be float64 as input, got float32",
    ),
    "float64 bias": (
        {"linear_bias": BIAS.astype(float)},
        T,
        "linear_bias must be float32 as input",
    ),
    "integers": (
        {"input": X.astype(int)},
        T,
        r"input must be float32 or float64, got int64; convert it once with np\.asc",
    ),
    "uint8": ({"input": X.astype(np.uint8)}, T, "input must be float32 or float64, got uint8"),
    "float16": (
        {"input": X.astype(np.float16)},
        T,
        "input must be float32 or float64, got float16",
    ),
    "complex": ({"input": X * 1j}, T, "input must be float32 or float64, got complex64"),
    "words": ({"input": "rows"}, T, "input must be float32 or float64, got str"),
    "input (2, B, D)": (
        {"input": X[None]},
        V,
        r"input must be \(B, D\) or \(D,\), got shape \(1, 65, 20\)",
    ),
    "input a number": ({"input": X[0, 0]}, V, r"input must be \(B, D\) or \(D,\), got shape \(\)"),
    "few features": ({"input": X[:, 1:]}, V, "input has 19 features, and linear_weight 20"),
    "flat weight": ({"linear_weight": WEIGHT[0]}, V, r"linear_weight must be .*got shape \(20,\)"),
    "one class": ({"linear_weight": WEIGHT[:1]}, V, r"K >= 2, got shape \(1, 20\)"),
    "short bias": (
        {"linear_bias": BIAS[1:]},
        V,
        r"linear_bias must have shape \(7,\), got \(6,\)",
    ),
    "target high": (
        {"target": np.where(TARGET < 0, 0, 7)},
        V,
        r"target\[0\] is 7, expected 0 <= target < 7 \(n_classes\), or ignore_index=-100",
    ),
    "target negative": (
        {"target": TARGET * 0 - 1},
        V,
        r"target\[0\] is -1, expected 0 <= target < 7",
    ),
    "target of floats": (
        {"target": TARGET * 1.0},
        T,
        "target must be an array of integers, got float64",
    ),
    "target short": (
        {"target": TARGET[1:]},
        V,
        r"target must have shape \(65,\), or \(65, 7\) where .*, got \(64,\) of int64",
    ),
    "target (B, 1)": ({"target": TARGET[:, None]}, V, r"target must have shape .*got \(65, 1\)"),
    "target one-hot": (
        {"target": Q.astype(int)},
        V,
        r"target must have shape .*got \(65, 7\) of int64",
    ),
    "probabilities short": ({"target": Q[:, 1:]}, V, r"target must have shape .*got \(65, 6\)"),
    "probabilities, ignored": (
        {"target": Q, "ignore_index": 1},
        V,
        "ignore_index must be negative where target is probabilities, got 1",
    ),
    "weight short": (
        {"weight": CLASS_WEIGHT[1:]},
        V,
        r"weight must have shape \(7,\) as there are classes, got \(6,\)",
    ),
    "weight NaN": (
        {"weight": CLASS_WEIGHT * np.nan},
        V,
        "weight must be finite in float32, got nan",
    ),
    "weight words": ({"weight": ["a"] * 7}, T, "weight must be an array of numbers, got <U1"),
    "smoothing 2": ({"label_smoothing": 2}, V, r"label_smoothing must be in \[0, 1\], got 2"),
    "smoothing NaN": (
        {"label_smoothing": math.nan},
        V,
        r"label_smoothing must be in \[0, 1\], got nan",
    ),
    "smoothing a word": ({"label_smoothing": "a"}, T, "label_smoothing must be a number, got 'a'"),
    "ignore_index 0.5": ({"ignore_index": 0.5}, T, "ignore_index must be an integer, got 0.5"),
    "reduction": (
        {"reduction": "avg"},
        V,
        r"reduction must be one of \('mean', 'sum', 'none'\), got 'avg'",
    ),
    "no threads": ({"num_threads": 0}, V, "num_threads must be >= 1, got 0"),
}
OF_LOSS = {
    "out, mean": (
        {"reduction": "mean"},
        V,
        "out is for the losses of reduction='none', got 'mean'",
    ),
    "out float64": ({"out": np.full(65, 7.0)}, T, "out must be an array of float32, got float64"),
    "out short": (
        {"out": np.full(64, 7, np.float32)},
        V,
        r"out must have shape \(65,\), got \(64,\)",
    ),
    "out a list": ({"out": [7] * 65}, T, "out must be an array of float32, got list"),
}


@pytest.mark.parametrize("case", [*BAD, *OF_LOSS])
def test_bad_arguments_of_linear_cross_entropy(case):
    changed, error, message = {**BAD, **OF_LOSS}[case]
    out = changed.get("out", np.full(65, 7, np.float32))
    arguments = {
        "input": X, "linear_weight": WEIGHT, "target": TARGET, "linear_bias": BIAS,
        "weight": CLASS_WEIGHT, "reduction": "none", "out": out, **changed,
    }  # fmt: skip
    with pytest.raises(error, match=message):
        fs.linear_cross_entropy(**arguments)
    assert (np.asarray(out) == 7).all()


OF_GRADIENT = {
    "grad_output short": (
        {"grad_output": [1.0]},
        V,
        r"grad_output must have shape \(65,\) as the losses, got \(1,\)",
    ),
    "grad_output a number": (
        {"grad_output": 2.0},
        V,
        r"grad_output must have shape \(65,\) as the losses, got \(\)",
    ),
    "grad_output NaN": (
        {"grad_output": [math.nan] * 65},
        V,
        "grad_output must be finite in float32",
    ),
    "grad_output of a mean": (
        {"grad_output": [1.0] * 65, "reduction": "mean"},
        T,
        "grad_output must be a number",
    ),
}


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("case", [*BAD, *OF_GRADIENT])
def test_bad_arguments_of_the_gradient(case, reduction):
    changed, error, message = {**BAD, **OF_GRADIENT}[case]
    if case in OF_GRADIENT and reduction == "mean":
        changed = {"grad_output": [1.0] * 65}
        error, message = TypeError, "grad_output must be a number"
    arguments = {
        "input": X, "linear_weight": WEIGHT, "target": TARGET, "linear_bias": BIAS,
        "weight": CLASS_WEIGHT, "reduction": reduction, **changed,
    }  # fmt: skip
    with pytest.raises(error, match=message):
        fs.linear_cross_entropy_grad(**arguments)


LOGITS = np.zeros((65, 7), np.float32)
BAD_LOGITS = {
    "complex": ({"logits": LOGITS * 1j}, T, "logits must be real, got complex64"),
    "a number": ({"logits": 1.0}, V, r"logits must be \(B, K\), \(K,\) or .*got shape \(\)"),
    "no classes": ({"logits": LOGITS[:, :0]}, V, r"with K >= 1, got shape \(65, 0\)"),
    "no classes, 4": ({"logits": np.zeros((2, 0, 3))}, V, r"with K >= 1, got shape \(2, 0, 3\)"),
    "target high": ({"target": np.where(TARGET < 0, 0, 7)}, V, r"target\[0\] is 7, expected"),
    "target negative": ({"target": TARGET * 0 - 1}, V, r"target\[0\] is -1, expected"),
    "target of floats": ({"target": TARGET * 1.0}, T, "array of integers, got float64"),
    "target short": (
        {"target": TARGET[1:]},
        V,
        r"target must have shape \(65,\), or \(65, 7\), got \(64,\)",
    ),
    "target one-hot": (
        {"target": Q.astype(int)},
        T,
        "target must be floats where it has the shape of logits, got int64",
    ),
    "probabilities, ignored": (
        {"target": Q, "ignore_index": 1},
        V,
        "ignore_index must be negative",
    ),
    "weight short": ({"weight": CLASS_WEIGHT[1:]}, V, r"weight must have shape \(7,\)"),
    "smoothing": ({"label_smoothing": -0.1}, V, r"label_smoothing must be in \[0, 1\]"),
    "reduction": ({"reduction": None}, V, "reduction must be one of"),
    "out, sum": ({"reduction": "sum"}, V, "out is for the losses of reduction='none', got 'sum'"),
    "out float64": ({"out": np.full(65, 7.0)}, T, "out must be an array of float32, got float64"),
    "no threads": ({"num_threads": 0}, V, "num_threads must be >= 1, got 0"),
}


@pytest.mark.parametrize("case", BAD_LOGITS)
def test_bad_arguments_of_cross_entropy_and_nll_loss(case):
    changed, error, message = BAD_LOGITS[case]
    out = changed.get("out", np.full(65, 7, np.float32))
    arguments = {"logits": LOGITS, "target": TARGET, "reduction": "none", "out": out, **changed}
    with pytest.raises(error, match=message):
        fs.cross_entropy(**arguments)
    if not set(changed) & {"label_smoothing", "num_threads"} and arguments["target"].ndim == 1:
        arguments["log_probs"] = arguments.pop("logits")
        with pytest.raises(error, match=message.replace("logits", "log_probs").split(", or")[0]):
            fs.nll_loss(**arguments)
    assert (np.asarray(out) == 7).all()


def test_the_arguments_of_the_bad_calls_are_otherwise_good():
    out = np.full(65, 7, np.float32)
    options = {"linear_bias": BIAS, "weight": CLASS_WEIGHT, "reduction": "none"}
    fs.linear_cross_entropy(X, WEIGHT, TARGET, out=out, **options)
    fs.linear_cross_entropy_grad(X, WEIGHT, TARGET, grad_output=np.ones(65), **options)
    assert np.isfinite(out).all() and not (out == 7).any()
    fs.cross_entropy(LOGITS, TARGET, reduction="none", out=out)
    fs.nll_loss(LOGITS, TARGET, reduction="none", out=out)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"input": X[0]}, r"input must be \(B, D\) where linear_weight is \(7, 2, 20\)"),
        ({"target": TARGET}, r"target must have shape \(65, 2\), or \(65, 7, 2\) where"),
        ({"linear_bias": BIAS}, r"linear_bias must have shape \(7, 2\), got \(7,\)"),
        ({"input": X[:, 1:]}, "input has 19 features, and linear_weight 20"),
    ],
)
def test_bad_arguments_of_the_k_dimensional_loss(changed, message):
    arguments = {
        "input": X, "linear_weight": WEIGHT[:, None].repeat(2, 1),
        "target": TARGET[:, None].repeat(2, 1), **changed,
    }  # fmt: skip
    for function in (fs.linear_cross_entropy, fs.linear_cross_entropy_grad):
        with pytest.raises(ValueError, match=message):
            function(**arguments)
