"""Bad arguments of train(): refused before an epoch is trained."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastsoftmax as fs
from helpers.training import arrays

X, Y = arrays()
BAD = {
    "epochs 0": ({"epochs": 0}, ValueError, "epochs must be >= 1, got 0"),
    "epochs 1.5": ({"epochs": 1.5}, TypeError, "epochs must be an integer, got 1.5"),
    "batch_size 0": ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
    "batch_size -1": ({"batch_size": -1}, ValueError, "batch_size must be >= 1, got -1"),
    "batch_size None": ({"batch_size": None}, TypeError, "batch_size must be an integer, got N"),
    "lr -1": ({"lr": -1}, ValueError, "lr must be >= 0, got -1"),
    "lr nan": ({"lr": float("nan")}, ValueError, "lr must be finite in float32, got nan"),
    "lr '0.1'": ({"lr": "0.1"}, TypeError, "lr must be a number, got '0.1'"),
    "schedule -1": ({"lr": lambda epoch: -1}, ValueError, "lr(0) must be >= 0, got -1"),
    "schedule None": ({"lr": lambda epoch: None}, TypeError, "lr(0) must be a number, got N"),
    "momentum -1": ({"momentum": -1}, ValueError, "momentum must be >= 0, got -1"),
    "momentum None": ({"momentum": None}, TypeError, "momentum must be a number, got None"),
    "dampening inf": ({"dampening": np.inf}, ValueError, "dampening must be finite in float32"),
    "nesterov alone": (
        {"nesterov": True}, ValueError,
        "nesterov needs momentum > 0 and dampening == 0, got momentum=0.0, dampening=0.0",
    ),
    "weight_decay": ({"weight_decay": -0.1}, ValueError, "weight_decay must be >= 0, got -0.1"),
    "init_std -1": ({"init_std": -1}, ValueError, "init_std must be >= 0, got -1"),
    "seed 'a'": ({"seed": "a"}, TypeError, "seed must be an integer, got 'a'"),
    "seed -1": ({"seed": -1}, ValueError, "seed must be >= 0, got -1"),
    "backend": (
        {"backend": "gpu"}, ValueError,
        "backend must be one of ('auto', 'cython', 'numba', 'numpy'), got 'gpu'",
    ),
    "threads 0": ({"num_threads": 0}, ValueError, "num_threads must be >= 1, got 0"),
    "threads 1.5": (
        {"num_threads": 1.5}, TypeError, "num_threads must be an integer or None, got 1.5",
    ),
    "name": (
        {"data": "mnist"}, ValueError,
        "unknown dataset 'mnist': choose auto, fashion-mnist or synthetic",
    ),
    "data None": ({"data": None}, TypeError, "must be a dataset or a pair (X, y), got NoneType"),
    "data array": ({"data": X}, TypeError, "data must be a dataset or a pair (X, y), got ndarray"),
    "data triple": ({"data": (X, Y, Y)}, TypeError, "data must be a dataset or a pair (X, y)"),
    "float64": (
        {"data": (X.astype(np.float64), Y)}, TypeError,
        "x must be float32 or uint8, got float64; convert it once with np.ascont",
    ),
    "int64": ({"data": (X.astype(int), Y)}, TypeError, "float32 or uint8, got int64; convert it"),
    "a list": ({"data": (X.tolist(), Y)}, TypeError, "float32 or uint8, got float64; convert it"),
    "strided": (
        {"data": (X[:, ::2], Y)}, ValueError,
        "x must be C-contiguous, got shape (500, 10) with strides (80, 8); np.ascontiguousarray",
    ),
    "one row": ({"data": (X[0], Y)}, ValueError, "x must be (N, D) or (N, H, W) and the like"),
    "no features": ({"data": (X[:, :0].copy(), Y)}, ValueError, "0 features, expected at least 1"),
    "no rows": ({"data": (X[:0], Y[:0])}, ValueError, "at least 2 classes, got []"),
    "no rows but y": ({"data": (X[:0], Y)}, ValueError, "x has no rows, expected at least 1"),
    "one class": ({"data": (X, Y * 0)}, ValueError, "must be of at least 2 classes, got [0]"),
    "y too short": ({"data": (X, Y[:-1])}, ValueError, "(500,) as x has rows, got (499,)"),
    "y (N, 1)": ({"data": (X, Y[:, None])}, ValueError, "one-dimensional, got shape (500, 1)"),
    "y of floats": ({"data": (X, Y / 2)}, TypeError, "integers, booleans or strings, got float64"),
    "y with a gap": (
        {"data": (X, np.array(["a", None] * 250))}, TypeError,
        "labels[1] is missing, None; with keep = pandas.notna(labels)",
    ),
    "validation array": (
        {"validation_data": X}, TypeError, "validation_data must be a pair (X, y), got ndarray",
    ),
    "validation features": (
        {"validation_data": (X[:, 1:].copy(), Y)}, ValueError,
        "x has 19 features, expected 20 as the weight has",
    ),
    "validation float64": (
        {"validation_data": (X.astype(np.float64), Y)}, TypeError,
        "x must be float32 or uint8, got float64; convert it once with np.ascont",
    ),
    "validation y": (
        {"validation_data": (X, Y[1:])}, ValueError, "(500,) as x has rows, got (499,)",
    ),
    "validation label": ({"validation_data": (X, Y + 1)}, ValueError, "is none of the classes [0"),
    "validation no rows": (
        {"validation_data": (X[:0], Y[:0])}, ValueError, "the validation data has no rows",
    ),
    "validation words": (
        {"validation_data": (X, np.array(list("abcd"))[Y])}, ValueError,
        "is none of the classes [0, 1, 2, 3]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case, monkeypatch):
    changed, error, message = BAD[case]
    monkeypatch.setattr(fs.get_backend().kernels, "train", never)
    with pytest.raises(error, match=re.escape(message)):
        fs.train(**{"data": (X, Y), "epochs": 3, **changed})


def never(*args, **kwargs):
    pytest.fail("an epoch was trained before the arguments were checked")


@pytest.mark.parametrize("value, error", [("x", TypeError), (float("nan"), ValueError)], ids=repr)
def test_a_bad_init_std_is_called_by_its_name(value, error):
    with pytest.raises(error, match=r"init_std must be"):
        fs.train((X, Y), init_std=value)


def test_a_label_that_only_the_validation_data_has_is_named():
    with pytest.raises(ValueError, match=r"label .*'e'.* is none of the classes"):
        fs.train((X, np.array(list("abcd"))[Y]), validation_data=(X, np.array(list("abce"))[Y]))


def test_only_data_is_positional():
    with pytest.raises(TypeError, match="positional argument"):
        fs.train((X, Y), None)
