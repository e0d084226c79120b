"""What softmax and log_softmax refuse: bad results to write to, no last axis, words."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs

BOTH = pytest.mark.parametrize("function", [fs.softmax, fs.log_softmax])


@BOTH
@pytest.mark.parametrize(
    "logits, out, error, message",
    [
        (np.ones((2, 3)), np.ones((2, 3), np.float32), TypeError, "out must be .*float64, got fl"),
        ([[1, 2, 3]], np.ones((1, 3), int), TypeError, "out must be .*float64, got int64"),
        (
            np.ones((2, 3)),
            np.ones((3, 2)),
            ValueError,
            r"out must have shape \(2, 3\), got \(3, 2",
        ),
        (np.ones((2, 3)), np.ones((2, 6))[:, ::2], ValueError, "out must be C-contiguous"),
        (np.ones((2, 3)), [[1.0] * 3] * 2, TypeError, "out must be an array of float64, got list"),
        (
            np.ones((2, 3)),
            np.broadcast_to(1.0, (2, 3)),
            ValueError,
            "out must be C-contiguous|rea",
        ),
        (np.ones((2, 3)) * 1j, np.ones((2, 3)), TypeError, "logits must be real, got complex128"),
    ],
)
def test_a_bad_out_stays_as_it_was(function, logits, out, error, message):
    with pytest.raises(error, match=message):
        function(logits, out=out)
    assert (np.asarray(out) == 1).all()


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 0), (2, 3, 0)], ids=str)
def test_no_last_axis(function, dtype, shape):
    with pytest.raises(ValueError, match=r"logits must be \(\.\.\., K\) with K >= 1, got shape"):
        function(np.zeros(shape, dtype))


@BOTH
def test_a_scalar_and_words_are_refused(function):
    with pytest.raises(ValueError, match=r"got shape \(\)"):
        function(1.0)
    with pytest.raises(TypeError, match="logits must be numbers, got <U1"):
        function(["a", "b"])
