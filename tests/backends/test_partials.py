"""loss_and_grad in parts: the sums and gradients of each fixed chunk of the rows, and how they add
up."""

import numpy as np
import pytest

from fastsoftmax import backends, door
from fastsoftmax.backends.chunks import BLOCK_ROWS, MAX_CHUNKS, chunks_of
from fastsoftmax.problem import Rows, Sums
from helpers import make_problem, shape_id
from helpers.backends import TOGETHER, weigh

# (N, D, K): one chunk, and half a one; four; many, the last of few rows; of more than a block each
SHAPES = [
    (1, 3, 2),
    (16, 7, 3),
    (70, 17, 10),
    (256, 784, 10),
    (700, 33, 7),
    (BLOCK_ROWS * MAX_CHUNKS + 5, 5, 4),
]
LARGE = (70, 1200, 40)  # which other calls compute by tiles


@pytest.fixture
def kernels(backend):
    return backend.kernels


def problem_of(shape, row_type, flags, dtype=np.float32):
    """Rows, their loss and parameters."""
    weighed = weigh(make_problem(*shape, row_type), flags)
    weight, bias = weighed.problem.parameters(dtype)
    return door.problem(
        *(weighed.problem.x, weighed.target, weight, bias),
        *(weighed.criterion, weighed.sample_weight, weighed.problem.scale),
        floats=(np.dtype(dtype),),
    )


def tree_sum(parts):
    """The sum of parts (C, ...) as a balanced binary tree over their index."""
    parts, apart = parts.copy(), 1
    while apart < len(parts):
        for i in range(0, len(parts) - apart, 2 * apart):
            parts[i] += parts[i + apart]
        apart *= 2
    return parts[0]


def sum_in_order(sums):
    total = Sums(0.0, 0, 0.0, 0)
    for part in sums:
        total = total.plus(part)
    return total


@pytest.mark.parametrize("flags", TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize("shape", [*SHAPES, LARGE], ids=shape_id)
def test_each_is_that_of_its_rows(kernels, shape, row_type, flags):
    """Against float64, row by row of the chunks."""
    sums, grad_weight, grad_bias = kernels.chunk_partials(*problem_of(shape, row_type, flags), 2)
    n_chunks, size = chunks_of(shape[0])
    n_classes, n_features = shape[2], shape[1]
    assert len(sums) == n_chunks == len(range(0, shape[0], size))
    assert grad_weight.shape == (n_chunks, n_classes, n_features)
    assert grad_bias.shape == (n_chunks, n_classes)
    rows, loss, params = problem_of(shape, row_type, flags, np.float64)
    exact = backends.get_backend("numpy").kernels
    for c, begin in enumerate(range(0, shape[0], size)):
        chunk = slice(begin, begin + size)
        true_sums, *true_gradients, _ = exact.loss_and_grad(
            Rows(rows.x[chunk], rows.scale), loss.take(chunk), params, 1
        )
        assert sums[c].correct == true_sums.correct and sums[c].counted == true_sums.counted
        assert sums[c].loss == pytest.approx(true_sums.loss, rel=1e-5)
        assert sums[c].total_weight == pytest.approx(true_sums.total_weight, rel=1e-6)
        for ours, truth in zip((grad_weight[c], grad_bias[c]), true_gradients, strict=True):
            np.testing.assert_allclose(ours, truth, rtol=0, atol=2e-5 * (np.abs(truth).max() or 1))


@pytest.mark.parametrize("flags", TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_they_add_up_to_the_whole(kernels, shape, row_type, flags):
    """Bit for bit: the sums in order, the gradients as a tree."""
    given = problem_of(shape, row_type, flags)
    sums, grad_weight, grad_bias = kernels.chunk_partials(*given, 2)
    whole, *gradients, _ = kernels.loss_and_grad(*given, 2)
    if kernels.name == "numpy":  # which does not add up chunks
        np.testing.assert_allclose(sum_in_order(sums), whole, rtol=1e-5)
        return
    assert sum_in_order(sums) == whole
    assert tree_sum(grad_weight).tobytes() == gradients[0].tobytes()
    assert tree_sum(grad_bias).tobytes() == gradients[1].tobytes()


def test_where_the_whole_is_by_tiles(kernels, row_type):
    """The whole is added up in another order."""
    given = problem_of(LARGE, row_type, TOGETHER["none"])
    sums, *partials = kernels.chunk_partials(*given, 2)
    whole, *gradients, _ = kernels.loss_and_grad(*given, 2)
    np.testing.assert_allclose(sum_in_order(sums), whole, rtol=1e-6)
    for parts, gradient in zip(partials, gradients, strict=True):
        np.testing.assert_allclose(
            tree_sum(parts), gradient, rtol=0, atol=1e-5 * np.abs(gradient).max()
        )


def test_the_same_bits_for_any_number_of_threads(kernels, threads, row_type):
    given = problem_of((700, 33, 7), row_type, TOGETHER["none"])
    sums, *partials = kernels.chunk_partials(*given, 1)
    same_sums, *same_partials = kernels.chunk_partials(*given, threads)
    assert same_sums == sums
    assert [part.tobytes() for part in same_partials] == [part.tobytes() for part in partials]


def test_parameters_are_only_read(kernels, row_type):
    rows, loss, params = problem_of((70, 17, 10), row_type, TOGETHER["none"])
    before = [array.copy() for array in params[:2]]
    kernels.chunk_partials(rows, loss, params, 2)
    for array, its in zip(params[:2], before, strict=True):
        assert array.tobytes() == its.tobytes()
