"""softmax and log_softmax, against float64 by hand."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs

SHAPES = [(1,), (7,), (1, 2), (5, 10), (257, 33), (2, 3, 17), (3, 1, 65), (2, 2, 2, 4)]
BOTH = pytest.mark.parametrize("function", [fs.softmax, fs.log_softmax])


def exact_log_softmax(logits):
    """In float64, and in another way than the code: by logaddexp, without the maximum."""
    z = np.asarray(logits, np.float64)
    return z - np.logaddexp.reduce(z, axis=-1, keepdims=True)


def exact(function, logits):
    log_p = exact_log_softmax(logits)
    return np.exp(log_p) if function is fs.softmax else log_p


def random_logits(shape, dtype=np.float64, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 4).astype(dtype)


def ulp32(x):
    return np.spacing(np.abs(x).astype(np.float32)).astype(np.float64)


@BOTH
@pytest.mark.parametrize("shape", SHAPES)
def test_float64_has_float64_accuracy(function, shape):
    logits = random_logits(shape)
    result = function(logits)
    assert result.dtype == np.float64
    # one rounding of |z| < 20: absolute in the logarithm, relative in the probability
    np.testing.assert_allclose(result, exact(function, logits), rtol=2e-15, atol=8e-15)


@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_of_float32_is_within_a_few_ulp(shape):
    logits = random_logits(shape, np.float32)
    result = fs.softmax(logits)
    assert result.dtype == np.float32
    p = exact(fs.softmax, logits)
    # four ULP for exp and the division, a random walk over the K terms of the sum, and what the
    # rounding of z - max does to an exponential in any softmax of float32
    shift = logits.max(axis=-1, keepdims=True) - logits.astype(np.float64)
    allowed = (4 + np.sqrt(shape[-1])) * ulp32(p) + shift * 2**-24 * p
    assert (np.abs(result - p) <= allowed).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_of_logits_whose_differences_are_exact_is_within_a_few_ulp(shape):
    logits = np.random.default_rng(1).integers(-512, 512, shape).astype(np.float32) / 64
    p = exact(fs.softmax, logits)
    allowed = (4 + np.sqrt(shape[-1])) * ulp32(p)
    assert (np.abs(fs.softmax(logits) - p) <= allowed).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_log_softmax_of_float32_is_within_a_few_ulp(shape):
    logits = random_logits(shape, np.float32)
    result = fs.log_softmax(logits)
    assert result.dtype == np.float32
    log_p = exact(fs.log_softmax, logits)
    # a ULP of 1 at least: near p = 1 the logarithm is a difference of numbers about 1
    allowed = (3 + np.sqrt(shape[-1]) / 2) * ulp32(np.maximum(np.abs(log_p), 1))
    assert (np.abs(result - log_p) <= allowed).all()


def test_hand_computed_values():
    np.testing.assert_allclose(
        fs.softmax(np.log([[1.0, 1.0, 2.0], [5.0, 3.0, 2.0]])),
        [[0.25, 0.25, 0.5], [0.5, 0.3, 0.2]],
        rtol=1e-15,
    )
    np.testing.assert_allclose(fs.log_softmax([0.0, 0.0, 0.0, 0.0]), [-np.log(4)] * 4, rtol=1e-15)


@BOTH
def test_lists_integers_and_other_dtypes_are_computed_in_float64(function):
    expected = exact(function, [[1, 2, 3], [3, 0, -3]])
    for logits in (
        [[1, 2, 3], [3, 0, -3]],
        [[1.0, 2.0, 3.0], [3.0, 0.0, -3.0]],
        np.array([[1, 2, 3], [3, 0, -3]], np.int8),
        np.array([[1, 2, 3], [3, 0, -3]], np.float16),
        np.array([[1, 2, 3], [3, 0, -3]], ">f8"),
    ):
        result = function(logits)
        assert result.dtype == np.float64 and result.dtype.isnative
        np.testing.assert_allclose(result, expected, rtol=2e-15, atol=2e-15)


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_dimensions_are_rows(function, dtype):
    logits = random_logits((3, 4, 10), dtype)
    result = function(logits)
    assert result.shape == (3, 4, 10)
    assert result.tobytes() == function(logits.reshape(12, 10)).tobytes()
    assert result[1, 2].tobytes() == function(logits[1, 2]).tobytes()


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.T,
        lambda a: a[::2],
        lambda a: a[:, 1::3],
        lambda a: a[::-1, ::-1],
        lambda a: np.broadcast_to(a[0], (5, a.shape[1])),
    ],
    ids=["transposed", "rows", "columns", "reversed", "broadcast"],
)
def test_strides_make_no_difference(function, dtype, view):
    logits = view(random_logits((8, 12), dtype))
    assert function(logits).tobytes() == function(np.array(logits, order="C")).tobytes()


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_argument_stays_as_it_was(function, dtype):
    logits = random_logits((6, 10), dtype)
    before = logits.copy()
    logits.flags.writeable = False
    result = function(logits)
    assert result.flags.writeable and not np.shares_memory(result, logits)
    assert logits.tobytes() == before.tobytes()


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_out(function, dtype):
    logits = random_logits((3, 5, 10), dtype)
    expected, out = function(logits), np.zeros((3, 5, 10), dtype)
    assert function(logits, out=out) is out and out.tobytes() == expected.tobytes()
    assert function(logits, out=logits) is logits and logits.tobytes() == expected.tobytes()
    ahead = np.append(random_logits((7, 4), dtype), np.zeros((1, 4), dtype), axis=0)
    expected = function(ahead[:-1])
    assert function(ahead[:-1], out=ahead[1:]).tobytes() == expected.tobytes()  # they overlap


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (0, 0, 1)])
def test_no_rows_give_no_rows(function, dtype, shape):
    result = function(np.empty(shape, dtype))
    assert result.shape == shape and result.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits(dtype):
    logits = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4]], dtype)
    np.testing.assert_allclose(
        fs.softmax(logits), [[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0]], rtol=2e-7, atol=0
    )
    log2, log3 = np.log(2), np.log(3)
    np.testing.assert_allclose(
        fs.log_softmax(logits),
        [[0, -2e4, -1e4], [-log3] * 3, [-log2, -log2, -2e4 - log2]],
        rtol=2e-7,
        atol=0,
    )


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adding_a_constant_changes_nothing(function, dtype):
    # multiples of 1/64 stay exact when 1000 is added
    logits = np.random.default_rng(2).integers(-512, 512, (20, 10)).astype(dtype) / 64
    assert function(logits + dtype(1000)).tobytes() == function(logits).tobytes()


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "row",
    [
        [0.0, np.nan, 1.0],
        [np.nan] * 3,
        [0.0, np.inf, 1.0],
        [np.inf, np.inf, 0.0],
        [-np.inf, np.inf, 0.0],
        [-np.inf, np.nan, 0.0],
        [-np.inf] * 3,
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_rows_without_an_answer_are_nan_and_alone_so(function, dtype, row):
    logits = np.array([[1, 2, 3], row, [3, 2, 1]], dtype)
    result = function(logits)
    assert np.isnan(result[1]).all()
    assert result[::2].tobytes() == function(logits[::2]).tobytes()
    assert np.isfinite(result[::2]).all()


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_minus_infinity_is_a_class_that_cannot_be(function, dtype):
    result = function(np.array([[0, -np.inf, 0], [-np.inf, 5, -np.inf]], dtype))
    p = np.array([[0.5, 0, 0.5], [0, 1, 0]])
    with np.errstate(divide="ignore"):
        expected = p if function is fs.softmax else np.log(p)
    np.testing.assert_allclose(result, expected, rtol=2e-7, atol=0)


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_num_threads(function, dtype):
    logits = random_logits((300, 10), dtype)
    bits = {n: function(logits, num_threads=n).tobytes() for n in (None, 1, 2, 3, 5)}
    assert len(set(bits.values())) == 1
    with pytest.raises(ValueError, match="num_threads must be >= 1, got 0"):
        function(logits, num_threads=0)
    with pytest.raises(TypeError, match="num_threads must be an integer or None, got 'two'"):
        function(logits, num_threads="two")
