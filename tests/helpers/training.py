"""Rows to train on, and the loop of train() by hand."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import Velocity
from fastsoftmax.optim import SGDSettings

N, D, K = 500, 20, 4


def arrays(n=N, dtype=np.float32, seed=0):
    """Rows of classes that a linear model can mostly tell apart, and their labels."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((K, D)).astype(np.float32)
    rng = np.random.default_rng([2, seed])
    y = rng.integers(0, K, n)
    x = centres[y] + rng.standard_normal((n, D), np.float32)
    if dtype == np.uint8:
        x = (128 + 40 * x).clip(0, 255).astype(np.uint8)
    return x, y


def bits(result):
    """The bits of all that was trained and measured, except times."""
    digest = hashlib.sha256(result.model.weight.tobytes() + result.model.bias.tobytes())
    history = result.history
    losses = (history.train_loss, history.train_accuracy, history.test_loss, history.test_accuracy)
    return digest.hexdigest(), losses


def by_hand(
    x, target, *, test=None, epochs=3, batch_size=256, lr=lambda epoch: 0.1, momentum=0.0,
    shuffle=True, seed=0, init_std=0.01, backend="cython", n_classes=K, **settings,
):  # fmt: skip
    """What `train` does, by the functions of a backend: weight, bias, and the four lists."""
    steps = fs.get_backend(backend)
    scale = 1 / 255 if x.dtype == np.uint8 else 1.0
    rng = np.random.default_rng(seed)
    n_features = x[0].size
    weight = rng.standard_normal((n_classes, n_features), np.float32) * np.float32(init_std)
    bias = np.zeros(n_classes, np.float32)
    velocity = Velocity.of(weight, bias) if momentum else None
    lists = [], [], [], []
    for epoch in range(epochs):
        order = rng.permutation(len(x)) if shuffle else np.arange(len(x))
        loss, correct = 0.0, 0
        sgd = SGDSettings(lr(epoch), momentum, **settings)
        for begin in range(0, len(x), batch_size):
            batch = order[begin : begin + batch_size]
            sums = steps.train_step(
                x[batch], target[batch], weight, bias, sgd, velocity, scale=scale
            )
            loss, correct = loss + sums[0], correct + sums[1]
        lists[0].append(loss / len(x))
        lists[1].append(correct / len(x))
        if test is not None:
            test_loss, test_correct, *_ = steps.evaluate(*test, weight, bias, scale=scale)
            lists[2].append(test_loss / len(test[0]))
            lists[3].append(test_correct / len(test[0]))
    return weight, bias, lists


def assert_same(result, hand, rel=0.0):
    weight, bias, lists = hand
    assert result.model.weight.tobytes() == weight.tobytes()
    assert result.model.bias.tobytes() == bias.tobytes()
    history = result.history
    assert history.train_accuracy == lists[1]
    assert history.test_accuracy == lists[3]
    assert history.train_loss == pytest.approx(lists[0], rel=rel, abs=0)
    assert history.test_loss == pytest.approx(lists[2], rel=rel, abs=0)
