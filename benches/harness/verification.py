"""The truth, by float64 NumPy in the plainest way. Each result is held to it, and then timed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benches.harness.jobs import Job

Array = NDArray[np.float64]

SUM_TOLERANCE = 1e-5  # of a sum over rows, relative
MOST_TIES = 2  # a tie between two logits may fall either way in float32


@dataclass(frozen=True)
class Trained:
    """Where training ends."""

    weight: Array  # (K, D)
    bias: Array  # (K,)
    loss: float  # summed over the rows, each before the update by its own batch
    correct: int


@dataclass(frozen=True)
class LossAndGradients:
    """Of some rows, summed."""

    loss: float
    correct: int
    grad_logits: Array  # (B, K)
    grad_weight: Array  # (K, D)
    grad_bias: Array  # (K,)


def loss_and_gradients(
    x: Array,  # (B, D)
    coefficients: Array,  # (B, K)
    weight: Array,  # (K, D)
    bias: Array,  # (K,)
) -> LossAndGradients:
    """The cross-entropy - sum(coefficients * log(softmax(x @ weight.T + bias))).

    Every option of the loss is a way to choose the coefficients: a target has a one, a row weight
    multiplies its row, a class weight its column.
    """
    logits = x @ weight.T + bias
    correct = logits.argmax(axis=1) == coefficients.argmax(axis=1)
    logits -= logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = -float((coefficients * log_p).sum())
    grad_logits = coefficients.sum(axis=1, keepdims=True) * np.exp(log_p) - coefficients
    return LossAndGradients(
        loss, int(correct.sum()), grad_logits, grad_logits.T @ x, grad_logits.sum(axis=0)
    )


def one_hot(target: NDArray[np.int64], n_classes: int) -> Array:
    """(B, K)"""
    coefficients = np.zeros((len(target), n_classes))
    coefficients[np.arange(len(target)), target] = 1
    return coefficients


def train(
    job: Job,
    pixels: NDArray[np.uint8],  # (N, D)
    target: NDArray[np.int64],  # (N,)
    weight: NDArray[np.float32],  # (K, D)
    bias: NDArray[np.float32],  # (K,)
    order: NDArray[np.int64],
) -> Trained:
    """One pass over the rows in the given order."""
    w, b = weight.astype(np.float64), bias.astype(np.float64)
    loss, correct = 0.0, 0
    for start in range(0, len(order), job.batch_size):
        rows = order[start : start + job.batch_size]
        step = loss_and_gradients(pixels[rows] / 255.0, one_hot(target[rows], len(b)), w, b)
        loss += step.loss
        correct += step.correct
        w -= job.lr / len(rows) * step.grad_weight
        b -= job.lr / len(rows) * step.grad_bias
    return Trained(w, b, loss, correct)


def assert_trained(
    name: str,
    start: NDArray[np.float32],
    end: NDArray[np.float32],
    truth: Array,
    tolerance: float,
) -> None:
    """The error is at most `tolerance` of the distance trained."""
    error = np.abs(np.asarray(end) - truth).max() / np.abs(truth - start).max()
    assert error < tolerance, f"{name} is off by {error:.1e} of the distance trained"


def assert_sums(
    loss: float,
    correct: int,
    true_loss: float,
    true_correct: int,
    tolerance: float = SUM_TOLERANCE,
) -> None:
    """The summed loss, and the number of correct predictions."""
    assert abs(loss / true_loss - 1) < tolerance, (loss, true_loss)
    assert abs(correct - true_correct) <= MOST_TIES, (correct, true_correct)
