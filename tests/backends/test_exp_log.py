"""The bounds that csrc/exp.h states for its two functions, on every instruction set.

Over every float32 in range the largest errors are 1.011 ULP for exp and 0.830 for log (0.991 and
0.830 without fused multiply-add).
"""

import numpy as np
import pytest

from fastsoftmax.backends import cython as _cython

EXP_ULP = 1.1
LOG_ULP = 0.9

LOWEST = np.float32(-87.33654)  # log(2**-126): below it exp has but subnormals
TINY, HUGE = np.finfo(np.float32).tiny, np.finfo(np.float32).max


def ulp_error(ours, truth):
    """The error in units of the last place of the float32 nearest to `truth`."""
    unit = np.spacing(np.abs(truth.astype(np.float32))).astype(np.float64)
    return np.abs(ours.astype(np.float64) - truth) / unit


def neighbours(values, steps=50):
    """The float32 numbers around each of `values`."""
    bits = np.asarray(values, np.float32).view(np.int32)
    return (bits[:, None] + np.arange(-steps, steps + 1, dtype=np.int32)).ravel().view(np.float32)


def every_nth_float(first, last, n):
    """About n float32 numbers from first to last, which have one sign, evenly in their bits."""
    begin, end = (int(np.float32(value).view(np.int32)) for value in (first, last))
    return np.arange(begin, end + 1, max(1, (end - begin) // n), dtype=np.int32).view(np.float32)


def test_exp_error(isa):
    halves = np.arange(-251, 253) / 2 * np.log(2)  # where the argument reduction turns over
    x = np.concatenate(
        [
            np.linspace(LOWEST, 0, 500_000, dtype=np.float32),
            np.linspace(0, 88, 250_000, dtype=np.float32),
            every_nth_float(0, 88, 250_000),
            -every_nth_float(0, -LOWEST, 250_000),
            neighbours(halves),
        ]
    )
    x = x[(x >= LOWEST) & (x <= 88)]
    assert len(x) > 1_200_000
    assert ulp_error(_cython._exp(x), np.exp(x.astype(np.float64))).max() <= EXP_ULP


def test_log_error(isa):
    x = np.concatenate(
        [
            every_nth_float(TINY, HUGE, 500_000),
            every_nth_float(0.5, 2, 500_000),
            np.linspace(1, 1000, 250_000, dtype=np.float32),  # sums of exponentials
            neighbours(np.ldexp([1, np.sqrt(0.5)], np.arange(-120, 120)[:, None]).ravel()),
        ]
    )
    assert len(x) > 1_200_000 and x.min() == TINY and x.max() > 0.99 * HUGE
    assert ulp_error(_cython._log(x), np.log(x.astype(np.float64))).max() <= LOG_ULP


def test_exact_values(isa):
    assert _cython._exp(np.array([0, -0.0], np.float32)).tolist() == [1, 1]
    assert _cython._log(np.array([1], np.float32)).tolist() == [0]


def test_exp_underflows_to_zero(isa):
    below = np.nextafter(LOWEST, np.float32(-np.inf))
    x = np.array([below, -88, -103, -104, -1e4, -HUGE, -np.inf], np.float32)
    assert _cython._exp(x).tolist() == [0] * len(x)
    assert _cython._exp(np.array([LOWEST]))[0] > 0


def test_nan_and_infinity(isa):
    nans = np.array([np.nan, -np.nan], np.float32)
    assert np.isnan(_cython._exp(nans)).all()
    assert np.isnan(_cython._log(np.array([*nans, np.inf], np.float32))).all()


@pytest.mark.parametrize("function", [_cython._exp, _cython._log])
def test_any_length(function, isa):
    x = np.linspace(0.1, 3, 40, dtype=np.float32)
    whole = function(x)
    for n in range(1, 40):
        assert function(x[:n]).tolist() == whole[:n].tolist()
        assert function(x[n:]).tolist() == whole[n:].tolist()
