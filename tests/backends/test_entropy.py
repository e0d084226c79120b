"""loss_and_grad adds up S * (log(sum(exp(z))) - p . z) of each row where it is asked for: the
entropy of p = softmax(z), times S, the sum of the row's coefficients."""

import numpy as np
import pytest

from fastsoftmax import door
from fastsoftmax.settings import CrossEntropy
from helpers import log_softmax, make_problem, shape_id
from helpers.backends import COMBINATIONS, weigh

# (N, D, K): by rows; by tiles in two spans, classes in several blocks
SHAPES = [(70, 17, 10), (1100, 97, 700)]


@pytest.fixture
def kernels(backend):
    return backend.kernels


def by_formula(weighed):
    """In float64."""
    problem, criterion = weighed.problem, weighed.criterion
    n_classes = len(problem.bias)
    c = weighed.target.astype(np.float64)
    if weighed.target.ndim == 1:
        c = (weighed.target[:, None] == np.arange(n_classes)).astype(np.float64)
    c = (1 - criterion.label_smoothing) * c + criterion.label_smoothing / n_classes
    if criterion.class_weight is not None:
        c = c * criterion.class_weight
    if weighed.sample_weight is not None:
        c = c * weighed.sample_weight[:, None]
    if weighed.target.ndim == 1:
        c[weighed.target < 0] = 0
    logits = problem.x * np.float64(problem.scale) @ problem.weight.T.astype(np.float64)
    log_p = log_softmax(logits + problem.bias)
    return (c.sum(axis=1) * -(np.exp(log_p) * log_p).sum(axis=1)).sum()


def nouns(problem, target, criterion=None, sample_weight=None):
    x, _, weight, bias = problem
    return door.problem(x, target, weight, bias, criterion, sample_weight, problem.scale)


@pytest.mark.parametrize("flags", COMBINATIONS.values(), ids=COMBINATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_value(kernels, shape, row_type, flags):
    weighed = weigh(make_problem(*shape, row_type), flags)
    given = nouns(weighed.problem, weighed.target, weighed.criterion, weighed.sample_weight)
    *_, entropy = kernels.loss_and_grad(*given, 2, entropy=True)
    assert entropy == pytest.approx(by_formula(weighed), rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_all_else_stays_the_same(kernels, shape, row_type):
    problem = make_problem(*shape, row_type)
    given = nouns(problem, problem.target)
    sums, *gradients, none = kernels.loss_and_grad(*given, 2)
    same_sums, *same_gradients, entropy = kernels.loss_and_grad(*given, 2, entropy=True)
    assert (none, same_sums) == (0.0, sums) and entropy > 0
    for ours, same in zip(gradients, same_gradients, strict=True):
        assert ours.tobytes() == same.tobytes()


def test_the_same_bits_for_any_number_of_threads(kernels, threads, row_type):
    problem = make_problem(1100, 33, 7, row_type)
    given = nouns(problem, problem.target)
    *_, alone = kernels.loss_and_grad(*given, 1, entropy=True)
    *_, entropy = kernels.loss_and_grad(*given, threads, entropy=True)
    assert entropy == alone


def of_logits(kernels, logits, target, criterion=None):
    """The entropy of rows whose logits these are: the weight is the identity."""
    logits = np.array(logits, np.float32)
    n_classes = logits.shape[1]
    given = door.problem(
        *(logits, np.array(target), np.eye(n_classes, dtype=np.float32)),
        *(np.zeros(n_classes, np.float32), criterion, None, 1.0),
    )
    return kernels.loss_and_grad(*given, 1, entropy=True)[-1]


def test_by_hand(kernels):
    assert of_logits(kernels, [[3, 3, 3, 3]], [1]) == pytest.approx(np.log(4), rel=1e-6)
    assert of_logits(kernels, [[1e4, 0, 0, 0]], [1]) == 0  # certain, and wrong
    p = np.array([0.25, 0.75])
    one_sure = [np.log(p), [0, 0]]
    assert of_logits(kernels, one_sure, [0, 1]) == pytest.approx(
        -(p * np.log(p)).sum() + np.log(2), rel=1e-6
    )


def test_rows_that_do_not_count_have_no_part_in_it(kernels):
    """Be they NaN."""
    criterion = CrossEntropy(ignore_index=1)
    logits = [[0, 0], [np.nan, 0], [0, 0]]
    entropy = of_logits(kernels, logits, [0, 1, 0], criterion)
    assert entropy == pytest.approx(2 * np.log(2), rel=1e-6)


def test_a_row_of_nan_shows(kernels):
    assert np.isnan(of_logits(kernels, [[0, 0], [np.nan, 0]], [0, 1]))


def test_a_class_that_cannot_be_has_no_part_in_it(kernels):
    """Its logit is -infinity, by its bias."""
    x, bias = np.zeros((3, 2), np.float32), np.array([0, 0, -np.inf], np.float32)
    given = door.problem(
        *(x, np.array([0, 1, 1]), np.ones((3, 2), np.float32), bias, None, None, 1.0)
    )
    *_, entropy = kernels.loss_and_grad(*given, 1, entropy=True)
    assert entropy == pytest.approx(3 * np.log(2), rel=1e-6)
