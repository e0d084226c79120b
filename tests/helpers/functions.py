"""Problems for the losses and for SGD, and their losses by hand."""

from __future__ import annotations

import numpy as np

import fastsoftmax as fs

IGNORED = -100


def losses_of(log_p, target, weight, label_smoothing, ignore_index):
    """The losses, one row after the other as the docstrings say, and what a mean divides by."""
    n_classes = log_p.shape[1]
    w = np.ones(n_classes) if weight is None else np.asarray(weight, np.float64)
    losses, total = [], 0.0
    for row, t in zip(log_p, target, strict=True):
        if np.ndim(t):
            q = (1 - label_smoothing) * t.astype(np.float64) + label_smoothing / n_classes
            losses.append(-sum(q * w * row))
            total += 1
        elif t == ignore_index:
            losses.append(0.0)
        else:
            smooth = -label_smoothing / n_classes * sum(w * row)
            losses.append(-(1 - label_smoothing) * w[t] * row[t] + smooth)
            total += w[t]
    return np.array(losses), total


def reduced(losses, total, reduction):
    """The losses by that reduction; a mean divides by `total`."""
    if reduction == "none":
        return losses
    return losses.sum() / total if reduction == "mean" else losses.sum()


def loss_problem(n_rows=65, n_features=20, n_classes=7, dtype=np.float32, seed=3):
    """Rows, weight, targets of which two are ignored, bias, class weights."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_rows, n_features)).astype(dtype)
    weight = (rng.standard_normal((n_classes, n_features)) / np.sqrt(n_features)).astype(dtype)
    target = rng.integers(0, n_classes, n_rows)
    target[1:3] = IGNORED
    bias = rng.standard_normal(n_classes).astype(dtype)
    return x, weight, target, bias, rng.uniform(0.5, 2, n_classes).astype(dtype)


def probabilities(n_rows, n_classes, dtype, seed=4):
    return np.random.default_rng(seed).dirichlet(np.ones(n_classes), n_rows).astype(dtype)


def step_problem(dtype=np.float32, shape=(65, 20), n_classes=7, seed=3):
    """Rows, targets, and float32 parameters to train."""
    rng = np.random.default_rng(seed)
    if dtype == np.uint8:
        x = rng.integers(0, 256, shape, np.uint8)
    else:
        x = rng.standard_normal(shape, np.float32)
    n_features = int(np.prod(shape[1:]))
    weight = rng.standard_normal((n_classes, n_features), np.float32) * np.float32(0.3)
    bias = rng.standard_normal(n_classes, np.float32)
    return x, rng.integers(0, n_classes, shape[0]), weight, bias


SETTINGS = [
    {"lr": 0.5},
    {"lr": 0.0},
    {"lr": 0.5, "weight_decay": 0.1},
    {"lr": 0.5, "momentum": 0.9},
    {"lr": 0.5, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    {"lr": 0.5, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    {"lr": 0.5, "l1": 0.1},
    {"lr": 0.5, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "l1": 0.1},
]


def sgd_of(weight, bias, lr=0.5, **settings):
    return fs.SGD(weight.copy(), bias.copy(), lr, **settings)
