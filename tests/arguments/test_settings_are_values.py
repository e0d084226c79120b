"""An array given as a setting is read once: a later change of it has no effect."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.settings import CrossEntropy
from helpers.arguments import BIAS, WEIGHT, X, Y, tensor


def test_a_learning_rate_that_changes_later():
    rate, momentum = np.array(0.1), np.array(0.5)
    sgd = fs.SGD(WEIGHT.copy(), BIAS.copy(), lr=rate, momentum=momentum)
    other = fs.SGD(WEIGHT.copy(), BIAS.copy(), lr=0.1, momentum=0.5)
    rate[...] = momentum[...] = np.nan
    for _ in range(2):
        assert sgd.step(X, Y) == other.step(X, Y)
    assert sgd.weight.tobytes() == other.weight.tobytes()


@pytest.mark.parametrize("make", [np.array, lambda v: tensor(v)], ids=["array", "tensor"])
def test_a_step_takes_the_value_of_now(make):
    """Settings are kept for the next step: what they are found again by must not change."""
    rate, each = make(0.5), make([1.0, 2.0, 3.0])
    weight, bias, w, b = WEIGHT.copy(), BIAS.copy(), WEIGHT.copy(), BIAS.copy()
    for lr, heavy in ((0.5, 1.0), (0.25, 7.0), (0.125, 5.0)):
        rate[...] = lr
        each[0] = heavy
        loss = fs.sgd_step(X, Y, weight, bias, lr=rate, class_weight=each)
        assert loss == fs.sgd_step(X, Y, w, b, lr=lr, class_weight=[heavy, 2.0, 3.0])
    assert weight.tobytes() == w.tobytes()


def test_class_weights_that_change_later():
    each = np.array([1.0, 2.0, 3.0], np.float32)
    criterion = CrossEntropy(each)
    each[...] = np.nan
    assert criterion.class_weight.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        criterion.class_weight[0] = 5
