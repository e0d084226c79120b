"""The values that every backend computes, against float64.

The rule for tolerances: our error may exceed that of PyTorch's float32, or of NumPy's where
PyTorch is not installed, by TOLERANCE, relative to the largest true value; that of a loss,
relative to the largest logit.
"""

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings
from helpers import assert_as_good, exact, make_problem, plain_float32, shape_id

_numpy = get_backend("numpy")

# 17 roundings of float32, for sums over 784 features and 257 rows in another order; twice as many
# for gradients, whose residuals cancel
TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 2e-6

# Values that straddle vectors (4, 8, 16 lanes), class blocks (5) and row blocks (64)
FEATURES = (1, 2, 3, 7, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 784)
CLASSES = (2, 3, 7, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 784)
ROWS = (1, 2, 31, 63, 64, 65, 256, 257)

# By tiles: a weight of 256 KB and more, rows in one span and in two, fewer rows than classes. And
# features beyond those that the C kernels take at a time: 512 or 1024, of uint8 rows 816 or 1636.
LARGE = [
    (1, 784, 64),
    (31, 97, 784),
    (65, 784, 784),
    (257, 513, 130),
    (2, 784, 97),
    (1060, 97, 700),
    (65, 512, 3),
    (31, 513, 7),
    (65, 1024, 3),
    (33, 1025, 7),
    (10, 4200, 17),
    (130, 2100, 16),
    (530, 4200, 16),
]

# Each value above meets three of the others; 16, 15 and 8 have few common multiples
SHAPES = sorted(
    {
        (ROWS[(i + turn) % len(ROWS)], d, CLASSES[(i + 5 * turn) % len(CLASSES)])
        for turn in range(3)
        for i, d in enumerate(FEATURES)
    }
    | {(256, 784, 10), (257, 784, 10), (2, 1, 784)}
    | set(LARGE)
)


def test_every_size_is_covered():
    for sizes, used in zip((ROWS, FEATURES, CLASSES), zip(*SHAPES, strict=True), strict=True):
        assert set(used) >= set(sizes)


@pytest.fixture(params=SHAPES, ids=shape_id)
def problem(request, row_type):
    return make_problem(*request.param, row_type)


def loss_size(truth):
    """What the error of a summed loss is relative to: it is a sum of differences of logits."""
    return len(truth["logits"]) * np.abs(truth["logits"]).max()


# ---- against float64 and plain float32 ----


def test_loss_and_grad(problem, backend):
    truth, float32 = exact(problem), plain_float32(problem)
    loss, grad_weight, grad_bias = backend.loss_and_grad(*problem, scale=problem.scale)
    assert_as_good(loss, float32["loss"], truth["loss"], TOLERANCE, loss_size(truth))
    assert_as_good(grad_weight, float32["grad_weight"], truth["grad_weight"], GRADIENT_TOLERANCE)
    assert_as_good(grad_bias, float32["grad_bias"], truth["grad_bias"], GRADIENT_TOLERANCE)
    assert grad_weight.dtype == grad_bias.dtype == np.float32


def test_predict_logits_and_evaluate(problem, backend):
    truth, float32 = exact(problem), plain_float32(problem)
    x, target, weight, bias = problem
    logits = backend.predict_logits(x, weight, bias, scale=problem.scale)
    assert logits.dtype == np.float32
    assert_as_good(logits, float32["logits"], truth["logits"], TOLERANCE)
    loss, correct, *_ = backend.evaluate(x, target, weight, bias, scale=problem.scale)
    assert_as_good(loss, float32["loss"], truth["loss"], TOLERANCE, loss_size(truth))
    assert correct == (truth["logits"].argmax(axis=1) == target).sum()


def test_train_step(problem, backend):
    truth, float32 = exact(problem), plain_float32(problem)
    x, target, weight, bias = problem
    n = len(target)
    new_weight, new_bias = problem.parameters()
    loss, correct, *_ = backend.train_step(
        x, target, new_weight, new_bias, SGDSettings(lr=0.5), scale=problem.scale
    )
    for new, old, gradient in (
        (new_weight, weight, "grad_weight"),
        (new_bias, bias, "grad_bias"),
    ):
        true_new = old - 0.5 / n * truth[gradient]
        float32_new = old - np.float32(0.5 / n) * float32[gradient]
        assert_as_good(new, float32_new, true_new, TOLERANCE)
    evaluated = backend.evaluate(x, target, weight, bias, scale=problem.scale)
    assert (pytest.approx(loss, rel=1e-14), correct) == evaluated[:2]


def test_softmax_ends_gradually(backend):
    """Below 2**-126, too, where all numbers are subnormal: within two of the least, 2**-149."""
    least = 2.0**-149
    below = np.linspace(-150 * np.log(2), -86, 5000).astype(np.float32)
    for n_equal in (1, 3):  # which share the rest
        logits = np.zeros((5000, n_equal + 1), np.float32)
        logits[:, -1] = below
        ours = backend.softmax(logits)[:, -1].astype(np.float64)
        truth = np.exp(below.astype(np.float64)) / n_equal
        assert (np.abs(ours - truth) <= 1e-5 * truth + 2 * least).all()
        assert np.count_nonzero(ours < 2.0**-126) > 3000
    edge = np.array([[0, -104, -1e4, -3e38, -np.inf]], np.float32)
    assert backend.softmax(edge).tolist() == [[1, 0, 0, 0, 0]]
    assert np.isnan(backend.softmax(np.array([[0, -100, np.nan]], np.float32))).all()


@pytest.mark.parametrize("n_classes", [1, 2, 10, 97, 1000])
@pytest.mark.parametrize("n_rows", [1, 67])
def test_softmax(n_classes, n_rows, backend):
    rng = np.random.default_rng(n_classes)
    logits = (8 * rng.standard_normal((n_rows, n_classes))).astype(np.float32)
    log_p = _numpy.log_softmax(logits.astype(np.float64))
    # two roundings of the size of log p, a few of exp and log, and those of a sum over classes
    tolerance = 2.0**-24 * (2 * np.abs(log_p) + 8)
    ours = backend.log_softmax(logits)
    assert ours.dtype == np.float32
    assert (np.abs(ours - log_p) <= tolerance).all()
    ours = backend.softmax(logits)
    assert ours.dtype == np.float32
    assert (np.abs(ours - np.exp(log_p)) <= tolerance * np.exp(log_p)).all()


def test_scaled_float32_rows(backend):
    x, target, weight, bias = make_problem(70, 33, 7)
    loss, grad_weight, grad_bias = backend.loss_and_grad(x, target, weight, bias, scale=0.25)
    loss_of_scaled, *grads_of_scaled = backend.loss_and_grad(x / 4, target, weight, bias)
    assert loss == pytest.approx(loss_of_scaled, rel=1e-6)
    for ours, scaled in zip((grad_weight, grad_bias), grads_of_scaled, strict=True):
        np.testing.assert_allclose(ours, scaled, rtol=0, atol=1e-6 * np.abs(scaled).max())


# ---- more than a chunk ----


@pytest.mark.parametrize("n_rows", [64 * 64 - 1, 64 * 64 + 1, 64 * 64 + 200])
def test_chunks_of_more_than_one_block(n_rows, backend, row_type):
    problem = make_problem(n_rows, 5, 3, row_type)
    truth = exact(problem)
    loss, grad_weight, grad_bias = backend.loss_and_grad(*problem, scale=problem.scale)
    float32 = _numpy.loss_and_grad(*problem, scale=problem.scale)
    assert_as_good(loss, float32[0], truth["loss"], TOLERANCE, loss_size(truth))
    assert_as_good(grad_weight, float32[1], truth["grad_weight"], GRADIENT_TOLERANCE)
    assert_as_good(grad_bias, float32[2], truth["grad_bias"], GRADIENT_TOLERANCE)
    correct = (truth["logits"].argmax(axis=1) == problem.target).sum()
    evaluated_loss, evaluated_correct, *_ = backend.evaluate(*problem, scale=problem.scale)
    assert_as_good(evaluated_loss, float32[0], truth["loss"], TOLERANCE, loss_size(truth))
    assert evaluated_correct == correct


def test_losses_add_up_in_double(backend):
    x, target, weight, bias = make_problem(1, 5, 3)
    one, *_ = backend.evaluate(x, target, weight, bias)
    n = 100_003
    x, target = np.repeat(x, n, axis=0), np.repeat(target, n)
    assert backend.evaluate(x, target, weight, bias)[0] == pytest.approx(n * one, rel=1e-9)
    assert backend.loss_and_grad(x, target, weight, bias)[0] == pytest.approx(n * one, rel=1e-9)
    new = weight.copy(), bias.copy()
    loss, *_ = backend.train_epoch(x, target, None, 1000, *new, SGDSettings(lr=0))
    assert loss == pytest.approx(n * one, rel=1e-9)
