"""Options of the loss at their edges: batches that weigh 0, classes of coefficient 0, ties."""

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings, Velocity
from fastsoftmax.problem import Sums
from fastsoftmax.settings import CrossEntropy
from helpers import make_problem, shape_id
from helpers.backends import WEIGHED_SHAPES

_numpy = get_backend("numpy")


@pytest.fixture(params=WEIGHED_SHAPES, ids=shape_id)
def shape(request):
    return request.param


# ---- where nothing weighs ----


def test_all_rows_ignored(backend, shape, row_type):
    problem = make_problem(*shape, row_type)
    x, _, weight, bias = problem
    target = np.full(len(x), 7)
    keywords = {"criterion": CrossEntropy(ignore_index=7, label_smoothing=0.1), "scale": 0.5}
    grad_input, losses = np.ones(x.shape, np.float32), np.ones(len(x), np.float32)
    loss, *gradients = backend.loss_and_grad(
        x, target, weight, bias, **keywords, grad_input=grad_input
    )
    assert loss == 0
    for array in (*gradients, grad_input):
        assert not array.any()
    nothing = Sums(0.0, 0, 0.0, 0)
    assert backend.evaluate(x, target, weight, bias, **keywords, losses=losses) == nothing
    assert not losses.any()
    new = problem.parameters()
    assert (
        backend.train_step(x, target, *new, SGDSettings(lr=0.5, weight_decay=0.5), **keywords)
        == nothing
    )
    np.testing.assert_allclose(new[0], 0.75 * weight, rtol=1e-6)  # it decays all the same
    np.testing.assert_allclose(new[1], 0.75 * bias, rtol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_batch_of_weight_0(backend, shape, momentum):
    """It changes the parameters by the momentum alone; the batches around it as ever."""
    problem = make_problem(*shape)
    x, target, weight, bias = problem
    sample_weight = np.ones(len(x), np.float32)
    sample_weight[:50] = 0
    keywords = {"sample_weight": sample_weight, "scale": problem.scale}
    sgd = SGDSettings(lr=0.1, momentum=momentum)
    new = problem.parameters()
    velocity = Velocity.of(*new) if momentum else None
    sums = backend.train_epoch(x, target, np.arange(50), 50, *new, sgd, velocity, **keywords)
    assert (sums.loss, sums.total_weight, sums.counted) == (0, 0, 0)
    assert np.array_equal(new[0], weight) and np.array_equal(new[1], bias)
    backend.train_epoch(x, target, None, 50, *new, sgd, velocity, **keywords)
    assert np.isfinite(new[0]).all() and not np.array_equal(new[0], weight)


def test_classes_of_coefficient_0(backend, row_type):
    """A logit of -infinity has no part in the loss if its coefficient is 0."""
    problem = make_problem(70, 37, 13, row_type)
    x, target, weight, bias = problem
    bias = bias.copy()
    bias[[2, 5]] = -np.inf
    absent = (target == 2) | (target == 5)
    assert 3 < absent.sum() < 60
    class_weight = np.ones(13)
    class_weight[[2, 5]] = 0
    probabilities = np.full((70, 13), 1 / 11, np.float32)
    probabilities[:, [2, 5]] = 0
    for given, criterion, finite in (
        (target, CrossEntropy(class_weight), np.ones(70, bool)),
        (target, CrossEntropy(class_weight, 0.1), np.ones(70, bool)),
        (target, CrossEntropy(np.ones(13)), ~absent),
        (target, CrossEntropy(), ~absent),
        (target, CrossEntropy(label_smoothing=0.1), np.zeros(70, bool)),
        (probabilities, CrossEntropy(), np.ones(70, bool)),
        (probabilities, CrossEntropy(class_weight, 0.1), np.ones(70, bool)),
        (probabilities, CrossEntropy(label_smoothing=0.1), np.zeros(70, bool)),
    ):
        keywords = {"criterion": criterion, "scale": problem.scale}
        losses = np.empty(70, np.float32)
        true_losses = np.empty(70)
        backend.evaluate(x, given, weight, bias, **keywords, losses=losses)
        _numpy.evaluate(
            *(x, given, weight.astype(float), bias.astype(float)), **keywords, losses=true_losses
        )
        assert (np.isfinite(losses) == finite).all()
        assert (losses[~finite] == np.inf).all()
        np.testing.assert_allclose(losses, true_losses, rtol=1e-5, atol=1e-5)
        _, *gradients = backend.loss_and_grad(x, given, weight, bias, **keywords)
        truth = _numpy.loss_and_grad(
            x, given, weight.astype(float), bias.astype(float), **keywords
        )[1:]
        for ours, true in zip(gradients, truth, strict=True):
            np.testing.assert_allclose(ours, true, atol=1e-5 * np.abs(true).max())


def test_nan_is_no_right_prediction(backend):
    problem = make_problem(70, 37, 13)
    x, target, weight, bias = problem
    x = x.copy()
    x[::2, 3] = np.nan
    losses = np.empty(70, np.float32)
    sample_weight = np.full(70, 0.5)
    sums = backend.evaluate(x, target, weight, bias, sample_weight=sample_weight, losses=losses)
    assert np.isnan(losses).tolist() == [True, False] * 35
    assert np.isnan(sums.loss)
    assert sums.correct == ((x @ weight.T + bias).argmax(axis=1) == target)[1::2].sum() > 0
    x[::2] = np.nan
    ignoring = CrossEntropy(ignore_index=-1, label_smoothing=0.1)
    target = np.where(np.arange(70) % 2 == 0, -1, target)
    sums = backend.evaluate(x, target, weight, bias, criterion=ignoring, losses=losses)
    assert np.isfinite(sums.loss) and not losses[::2].any() and losses[1::2].all()


# ---- targets ----


def test_the_first_largest_probability_is_the_target(backend):
    x = np.eye(4, dtype=np.float32)
    weight, bias = np.eye(4, dtype=np.float32), np.zeros(4, np.float32)  # row i is of class i
    probabilities = np.array(
        [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.2, 0.4, 0.2], [0.25] * 4], np.float32
    )
    sums = backend.evaluate(x, probabilities, weight, bias)
    assert (sums.correct, sums.total_weight, sums.counted) == (2, 4, 4)
    # a row of probabilities is never ignored, and its weight is not that of a class
    criterion = CrossEntropy(np.array([5, 5, 5, 5]), ignore_index=0)
    sums = backend.evaluate(
        x, probabilities, weight, bias, criterion=criterion, sample_weight=[1, 2, 3, 4]
    )
    assert (sums.correct, sums.total_weight, sums.counted) == (2, 10, 4)


def test_a_class_can_be_ignored(backend):
    problem = make_problem(70, 37, 13)
    x, target, weight, bias = problem
    sums = backend.evaluate(x, target, weight, bias, criterion=CrossEntropy(ignore_index=3))
    truth = _numpy.evaluate(
        *(x, target, weight.astype(float), bias.astype(float)),
        criterion=CrossEntropy(ignore_index=3),
    )
    assert sums.counted == (target != 3).sum() < 70
    assert sums.correct == truth.correct
    assert sums.loss == pytest.approx(truth.loss, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_of_other_types(backend, dtype):
    problem = make_problem(70, 37, 13)
    x, target, weight, bias = problem
    probabilities = (np.eye(13)[target] * 0.5 + 0.5 / 13).round(2).astype(np.float16).astype(dtype)
    losses = [
        backend.evaluate(x, given, weight, bias).loss
        for given in (probabilities, probabilities.astype(np.float32))
    ]
    assert losses[0] == losses[1] > 0
    assert backend.evaluate(x, np.asfortranarray(probabilities), weight, bias).loss == losses[0]


def test_pictures(backend):
    """Trailing dimensions are flattened; grad_input is (N, D)."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (70, 4, 5), np.uint8)
    weight = rng.standard_normal((3, 20), np.float32)
    bias, target = np.zeros(3, np.float32), rng.integers(0, 3, 70)
    results = []
    for given in (x, x.reshape(70, 20)):
        grad_input = np.empty((70, 20), np.float32)
        backend.loss_and_grad(given, target, weight, bias, scale=0.01, grad_input=grad_input)
        results.append(grad_input.tobytes())
    assert results[0] == results[1] and np.frombuffer(results[0], np.float32).any()
