"""Arrays of other kinds that lie in memory as NumPy's do are as good as these."""

from __future__ import annotations

import numpy as np

import fastsoftmax as fs
from fastsoftmax import optim
from helpers.arguments import BIAS, WEIGHT, X, Y, close, model, tensor

SGD = optim.SGDSettings(0.1, momentum=0.5)


def test_arrays_that_are_as_good():
    """Whatever lies in memory as an array of NumPy's does."""
    expected = model().decision_function(X)
    for x in (np.ma.array(X), X.view(np.matrix), tensor(X), memoryview(X)):
        np.testing.assert_array_equal(model().decision_function(x), expected)
        assert fs.linear_cross_entropy(x, WEIGHT, Y) == fs.linear_cross_entropy(X, WEIGHT, Y)


def test_a_matrix_is_updated_as_an_array(backend):
    matrix = WEIGHT.copy().view(np.matrix)
    weight, bias, b = WEIGHT.copy(), BIAS.copy(), BIAS.copy()
    for w, its in ((matrix, bias), (weight, b)):
        velocity = fs.Velocity.of(w, its)
        backend.train_step(X, Y, w, its, SGD, velocity)
        gradients = backend.loss_and_grad(X, Y, w, its)[1:]
        backend.sgd_update(w, its, *gradients, 1.0, SGD, velocity)
    close(matrix, weight)
