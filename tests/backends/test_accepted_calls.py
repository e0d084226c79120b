"""Arguments at the edge of what a backend takes: large numbers, no rows, every integer type."""

import pickle

import numpy as np
import pytest

from fastsoftmax import checks
from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings
from fastsoftmax.settings import CrossEntropy
from helpers import make_problem
from helpers.backends import FUNCTIONS, MOMENTUM, UPDATING, D, K, arguments, call, users

_numpy = get_backend("numpy")


@pytest.mark.parametrize("n", [2, 100, 128, 129, 200, 256, 300, 40_000, 70_000, 2**31])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", ">i2", "u2", "i4", ">u4", "i8", "u8", ">i8"])
def test_range_of_indices_of_every_type(dtype, n):
    """Tried on `checks` alone: an index that it let through would be an address to the kernels."""
    limits = np.iinfo(dtype)
    values = {limits.min, -200, -128, -2, -1, 0, 1, n - 1, n, n + 1, limits.max}
    for value in sorted(v for v in values if limits.min <= v <= limits.max):
        indices = np.array([0, value, 1], dtype)
        for check, given in (
            (checks.targets, (indices, 3, n)),
            (checks.row_order, (indices, n)),
        ):
            if 0 <= value < n:
                assert check(*given).tolist() == [0, value, 1]
            else:
                with pytest.raises(ValueError, match=rf"\[1\] is {value}, expected 0 <= "):
                    check(*given)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_good_arguments(function, backend):
    """The arguments that test_refused_calls.py makes bad ones of."""
    given = arguments(MOMENTUM)
    before = given["weight"].copy()
    call(backend, function, given)
    updated = not np.array_equal(given["weight"], before)
    assert updated == given["velocity"].started == (function in UPDATING)


@pytest.mark.parametrize(
    "function, name, value",
    [("train_epoch", "batch_size", 2**63)]
    + [(function, "num_threads", 2**31) for function in users("num_threads")],
)
def test_large_numbers(function, name, value, backend):
    results = []
    for number in (value, 10):  # of so few rows that 10 is as much
        given = arguments(MOMENTUM) | {name: number}
        returned = call(backend, function, given)
        results.append(pickle.dumps((returned, given["weight"])))
    assert results[0] == results[1]


def test_no_rows(backend):
    given = arguments(SGDSettings(lr=0.1))
    for x in (given["x"][:0], np.zeros((0, D), np.uint8)):
        given |= {"x": x, "target": given["target"][:0], "logits": given["logits"][:0]}
        assert call(backend, "evaluate", given) == (0.0, 0, 0, 0)
        for function in ("predict_logits", "softmax", "log_softmax"):
            empty = call(backend, function, given)
            assert empty.shape == (0, K) and empty.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.uint32, np.int64, np.uint64])
def test_an_ignored_class_of_any_integer_type(dtype, backend):
    problem = make_problem(64, 17, 3)
    criterion = CrossEntropy(ignore_index=1)
    expected = _numpy.evaluate(*problem, criterion=criterion)
    assert expected.counted < 64
    x, target, weight, bias = problem
    sums = backend.evaluate(x, target.astype(dtype), weight, bias, criterion=criterion)
    assert (sums.correct, sums.total_weight, sums.counted) == expected[1:]
    assert sums.loss == pytest.approx(expected.loss)
