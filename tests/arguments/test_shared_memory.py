"""Arrays that share memory: refused if one of them is updated, allowed if one is a result."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import optim
from helpers.arguments import BIAS, WEIGHT, D, K, N, X, Y


def memory(*shapes, at):
    """Arrays of one buffer; `at` says, in floats, where each begins."""
    buffer = np.random.default_rng(2).standard_normal(2000).astype(np.float32)
    return [
        buffer[place : place + int(np.prod(shape))].reshape(shape)
        for shape, place in zip(shapes, at, strict=True)
    ]


READ = {
    "x": ((N, D), np.float32),
    "x of uint8": ((N, D), np.uint8),
    "target": ((N,), np.int32),
    "probabilities": ((N, K), np.float32),
    "order": ((N,), np.int64),
    "sample_weight": ((N,), np.float32),
}
WRITTEN = {
    "weight": (K, D), "bias": (K,), "velocity.weight": (K, D), "velocity.bias": (K,),
}  # fmt: skip
SGD = optim.SGDSettings(0.1, momentum=0.5)


def good():
    return {
        "x": X.copy(), "target": Y.astype(np.int32), "order": np.arange(N),
        "sample_weight": np.ones(N, np.float32), "weight": WEIGHT.copy(), "bias": BIAS.copy(),
        "velocity.weight": np.zeros_like(WEIGHT), "velocity.bias": np.zeros_like(BIAS),
    }  # fmt: skip


def overlapping(first, second):
    """Good arguments, except that `second` begins in the last element of `first`."""
    (shape, dtype), given = READ[second] if second in READ else (WRITTEN[second], "f4"), good()
    n = int(np.prod(WRITTEN[first]))
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    begin = 8 * n - 8 if dtype == np.int64 else 4 * n - 4
    buffer = np.zeros(begin + size + 8, np.uint8)
    start = begin - (4 * n - 4)
    given[first] = buffer[start : start + 4 * n].view(np.float32).reshape(WRITTEN[first])
    name = {"x of uint8": "x", "probabilities": "target"}.get(second, second)
    given[name] = buffer[begin : begin + size].view(dtype).reshape(shape)
    assert np.shares_memory(given[first], given[name])
    return name, given


def train_epoch(backend, given):
    velocity = fs.Velocity(given["velocity.weight"], given["velocity.bias"])
    return backend.train_epoch(
        given["x"], given["target"], given["order"], 16, given["weight"], given["bias"], SGD,
        velocity, sample_weight=given["sample_weight"],
    )  # fmt: skip


PAIRS = [
    (first, second)
    for first in WRITTEN
    for second in [*READ, *[name for name in WRITTEN if name > first]]
]


@pytest.mark.parametrize("first, second", PAIRS)
def test_training_refuses_what_shares_memory(backend, first, second):
    name, given = overlapping(first, second)
    before = {key: array.copy() for key, array in given.items()}
    message = r"^(\S+) shares memory with (\S+), and is written to; give a copy of one$"
    with pytest.raises(ValueError, match=message) as error:
        train_epoch(backend, given)
    assert set(re.match(message, str(error.value)).groups()) == {first, name}
    assert all(np.array_equal(given[key], before[key]) for key in given)


def test_neighbours_do_not_share(backend):
    """Arrays that touch in one buffer."""
    weight, bias, v_weight, v_bias, x, each = memory(
        (K, D), (K,), (K, D), (K,), (N, D), (N,), at=(0, 12, 15, 27, 30, 30 + N * D)
    )
    given = good() | {
        "weight": weight, "bias": bias, "velocity.weight": v_weight, "velocity.bias": v_bias,
        "x": x, "sample_weight": each,
    }  # fmt: skip
    apart = {key: array.copy() for key, array in given.items()}
    assert train_epoch(backend, given) == train_epoch(backend, apart)
    assert given["weight"].tobytes() == apart["weight"].tobytes()


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_optimizers_refuse_what_shares_memory(momentum):
    weight, bias = memory((K, D), (K,), at=(0, 11))
    with pytest.raises(ValueError, match="weight shares memory with bias, and is written to"):
        fs.SGD(weight, bias, 0.1, momentum=momentum)
    with pytest.raises(ValueError, match="weight shares memory with bias, and is written to"):
        fs.sgd_step(X, Y, weight, bias, lr=0.1)
    x, weight = memory((N, D), (K, D), at=(0, 100))
    with pytest.raises(ValueError, match="weight shares memory with x, and is written to"):
        fs.SGD(weight, BIAS.copy(), 0.1, momentum=momentum).step(x, Y)
    sgd = fs.SGD(WEIGHT.copy(), BIAS.copy(), 0.1, momentum=momentum)
    with pytest.raises(ValueError, match="weight shares memory with grad_weight"):
        sgd.update(sgd.weight, BIAS)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_an_update_by_what_shares_memory(backend, place):
    weight, grad = memory((K, D), (K, D), at=(3, place))
    before = weight.copy()
    with pytest.raises(ValueError, match="weight shares memory with grad_weight"):
        backend.sgd_update(weight, BIAS.copy(), grad, BIAS.copy(), 1.0, optim.SGDSettings(0.1))
    assert np.array_equal(weight, before)


@pytest.mark.parametrize("other", ["x", "weight", "bias", "target", "sample_weight"])
def test_results_over_what_is_read(backend, other):
    at = {"x": 5, "weight": 10, "bias": 10, "target": 10, "sample_weight": 10}
    buffer = np.zeros(2000, np.float32)
    given = {"x": X, "target": Y.astype(np.int32), "weight": WEIGHT, "bias": BIAS,
             "sample_weight": np.ones(N, np.float32)}  # fmt: skip
    array = given[other]
    place = buffer[at[other] : at[other] + array.size].view(array.dtype).reshape(array.shape)
    place[...] = array
    given[other] = place
    before = buffer.copy()
    each = given.pop("sample_weight")
    for function, name, result in (
        (backend.evaluate, "losses", buffer[:N]),
        (backend.loss_and_grad, "grad_input", buffer[: N * D].reshape(N, D)),
    ):
        with pytest.raises(ValueError, match=f"^{name} shares memory with {other}, and is wr"):
            function(*given.values(), sample_weight=each, **{name: result})
        assert np.array_equal(buffer, before)


@pytest.mark.parametrize("place", [0, 1, 7, N, N * D - N])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_over_the_input(place, dtype):
    x, w = X.astype(dtype), WEIGHT.astype(dtype)
    expected = fs.linear_cross_entropy(x, w, Y, reduction="none")
    out = x.reshape(-1)[place : place + N]
    assert fs.linear_cross_entropy(x, w, Y, reduction="none", out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_losses_over_anything():
    target = Y.astype(np.int32)
    w = np.random.default_rng(3).standard_normal((N, D)).astype(np.float32)
    bias = np.random.default_rng(3).standard_normal(N).astype(np.float32)
    given = {"linear_bias": bias, "weight": np.abs(bias)}
    expected = fs.linear_cross_entropy(X, w, target, reduction="none", **given)
    for out in (w.reshape(-1)[:N], bias, given["weight"], target.view(np.float32)):
        kept = out.copy()
        fs.linear_cross_entropy(X, w, target, reduction="none", out=out, **given)
        np.testing.assert_array_equal(out, expected)
        out[...] = kept


def test_losses_of_logits_over_them():
    logits, target = X @ WEIGHT.T, Y.astype(np.int32)
    for function, given in ((fs.cross_entropy, logits), (fs.nll_loss, fs.log_softmax(logits))):
        expected = function(given, target, reduction="none")
        for place in (0, 1, K * N - N):
            z = given.copy()
            out = z.reshape(-1)[place : place + N]
            function(z, target, reduction="none", out=out)
            np.testing.assert_array_equal(out, expected)
        t = target.copy()
        out = t.view(np.float32)
        function(given, t, reduction="none", out=out)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("function", [fs.softmax, fs.log_softmax])
@pytest.mark.parametrize("place", [0, 1, K])
def test_softmax_over_the_logits(function, place):
    buffer = np.random.default_rng(0).standard_normal(N * K + K).astype(np.float32)
    z, out = buffer[: N * K].reshape(N, K), buffer[place : place + N * K].reshape(N, K)
    expected = function(z.copy())
    assert function(z, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_k_dimensional_losses_over_the_input():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((8, 5)), rng.standard_normal((K, 2, 5))
    target = rng.integers(0, K, (8, 2))
    expected = fs.linear_cross_entropy(x, w, target, reduction="none")
    out = x.reshape(-1)[3 : 3 + 16].reshape(8, 2)
    fs.linear_cross_entropy(x, w, target, reduction="none", out=out)
    np.testing.assert_array_equal(out, expected)
