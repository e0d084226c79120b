"""What the losses take and give: arrays of any kind, targets of any integer type, `out`."""

from __future__ import annotations

import array

import numpy as np
import pytest

import fastsoftmax as fs
from helpers import log_softmax
from helpers.functions import loss_problem, losses_of

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
WEIGHTED = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])


class Wrapped:
    """Becomes an array only when NumPy asks for one."""

    def __init__(self, value):
        self.value = value

    def __array__(self, dtype=None, copy=None):
        return self.value


@DTYPES
def test_anything_that_is_an_array(dtype):
    x, weight, target, bias, class_weight = loss_problem(dtype=dtype)
    expected = fs.linear_cross_entropy_grad(
        x, weight, target, linear_bias=bias, weight=class_weight, grad_input=True
    )
    code = np.dtype(dtype).char
    for arguments in (
        [Wrapped(a) for a in (x, weight, target, bias, class_weight)],
        [memoryview(a) for a in (x, weight, target, bias, class_weight)],
        [x, weight, target.tolist(), array.array(code, bias), class_weight.tolist()],
        [np.asfortranarray(x), weight.repeat(2, 1)[:, ::2], target.repeat(3)[::3], bias.repeat(2)[
            ::2], class_weight[::-1][::-1]],
        [x, weight, target.astype(np.int16), bias, class_weight],
    ):  # fmt: skip
        x_, weight_, target_, bias_, class_weight_ = arguments
        ours = fs.linear_cross_entropy_grad(
            x_, weight_, target_, linear_bias=bias_, weight=class_weight_, grad_input=True
        )
        for one, other in zip(ours, expected, strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@WEIGHTED
@pytest.mark.parametrize("target_dtype", [np.uint8, np.int16, np.int32, np.uint64])
def test_targets_of_any_integer_type(target_dtype, weighted):
    x, weight, target, bias, class_weight = loss_problem()
    target = np.abs(target) % 7
    options = {"linear_bias": bias, "weight": class_weight if weighted else None}
    for t in (target, target % 6):
        expected = fs.linear_cross_entropy_grad(x, weight, t, **options)
        ours = fs.linear_cross_entropy_grad(x, weight, t.astype(target_dtype), **options)
        assert ours.loss == expected.loss
        assert ours.grad_weight.tobytes() == expected.grad_weight.tobytes()
        kwargs = {"weight": options["weight"], "label_smoothing": 0.1}
        of_logits = fs.cross_entropy(x[:, :7], t.astype(target_dtype), **kwargs)
        assert of_logits == fs.cross_entropy(x[:, :7], t, **kwargs)


def test_lists_are_float64():
    x, weight, target, *_ = loss_problem(5, dtype=np.float64)
    ours = fs.linear_cross_entropy(x.tolist(), weight.tolist(), target.tolist())
    assert ours == fs.linear_cross_entropy(x, weight, target)
    logits = np.array([[1, 2, 3], [3, 0, -3]])
    expected = losses_of(log_softmax(logits), [0, 1], None, 0, -100)[0]
    for z in (logits, logits.tolist(), logits.astype(np.float16), logits.astype(np.int8)):
        ours = fs.cross_entropy(z, [0, 1], reduction="none")
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, expected, rtol=1e-14)


@DTYPES
def test_the_arguments_stay_as_they_were(dtype):
    arguments = loss_problem(dtype=dtype)
    x, weight, target, bias, class_weight = arguments
    before = [a.tobytes() for a in arguments]
    for a in arguments:
        a.flags.writeable = False
    options = {"linear_bias": bias, "weight": class_weight, "label_smoothing": 0.1}
    for reduction in ("mean", "none"):
        options["reduction"] = reduction
        fs.linear_cross_entropy(x, weight, target, **options)
        grad = fs.linear_cross_entropy_grad(x, weight, target, grad_input=True, **options)
        assert all(a.flags.writeable for a in grad[1:])
    fs.cross_entropy(x, target, label_smoothing=0.1)
    fs.nll_loss(x, target)
    assert [a.tobytes() for a in arguments] == before


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_same_bits_for_any_number_of_threads(reduction):
    x, weight, target, bias, class_weight = loss_problem(257, 300, 17)
    bits = set()
    for n in (None, 1, 2, 3, 5):
        grad = fs.linear_cross_entropy_grad(
            x, weight, target, linear_bias=bias, weight=class_weight, label_smoothing=0.1,
            reduction=reduction, grad_input=True, num_threads=n,
        )  # fmt: skip
        bits.add(tuple(np.asarray(a).tobytes() for a in grad))
    assert len(bits) == 1


@DTYPES
def test_out(dtype):
    x, weight, target, *_ = loss_problem(dtype=dtype)
    log_p = fs.log_softmax(x)
    deep = weight.reshape(7, 1, 20).repeat(2, 1)
    bad = np.zeros((65, 2), np.float16)
    with pytest.raises(TypeError, match="out must be an array of float"):
        fs.linear_cross_entropy(x, deep, target[:, None].repeat(2, 1), reduction="none", out=bad)
    for function, arguments, shape in (
        (fs.linear_cross_entropy, (x, weight, target), (65,)),
        (fs.linear_cross_entropy, (x[0], weight, target[0]), ()),
        (fs.linear_cross_entropy, (x, deep, target[:, None].repeat(2, 1)), (65, 2)),
        (fs.cross_entropy, (x, target), (65,)),
        (fs.cross_entropy, (x[0], target[0]), ()),
        (fs.cross_entropy, (x[:, :, None], target[:, None]), (65, 1)),
        (fs.nll_loss, (log_p, target), (65,)),
    ):
        out = np.full(shape, 7, dtype)
        assert function(*arguments, reduction="none", out=out) is out
        expected = function(*arguments, reduction="none")
        assert np.shape(expected) == shape and expected.dtype == dtype
        assert out.tobytes() == expected.tobytes()
