"""A small problem, for calls of every public function, and arrays of other kinds."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs

N, D, K = 60, 4, 3
X = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
Y = np.arange(N) % K
WEIGHT = np.random.default_rng(1).standard_normal((K, D)).astype(np.float32)
BIAS = np.zeros(K, np.float32)


def train(**settings):
    return fs.train((X, Y), **{"epochs": 2, **settings})


def model():
    return fs.LinearClassifier(WEIGHT, BIAS)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)


def tensor(value, **options):
    return pytest.importorskip("torch").tensor(value, **options)


def sparse(array):
    return pytest.importorskip("scipy.sparse").csr_matrix(array)


def masked(array):
    return np.ma.array(array, mask=np.arange(np.size(array)).reshape(np.shape(array)) == 0)


# The settings of train() that are numbers
NUMBERS = {
    "lr": 0.25,
    "momentum": 0.5,
    "dampening": 0.5,
    "weight_decay": 0.125,
    "l1": 0.125,
    "init_std": 0.5,
    "label_smoothing": 0.25,
}
