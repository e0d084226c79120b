"""linear_cross_entropy and its gradients, cross_entropy and nll_loss: by hand in float64, and
against PyTorch over shapes and options."""

from __future__ import annotations

import array
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastsoftmax as fs

try:
    import torch
except ModuleNotFoundError:
    torch = None
else:
    torch.set_num_threads(1)

IGNORED = -100


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def losses_of(log_p, target, weight, label_smoothing, ignore_index):
    """One row after the other, as the docstrings have it: the losses, and what a mean is over."""
    n_classes = log_p.shape[1]
    w = np.ones(n_classes) if weight is None else np.asarray(weight, np.float64)
    losses, total = [], 0.0
    for row, t in zip(log_p, target, strict=True):
        if np.ndim(t):
            q = (1 - label_smoothing) * t.astype(np.float64) + label_smoothing / n_classes
            losses.append(-sum(q * w * row))
            total += 1
        elif t == ignore_index:
            losses.append(0.0)
        else:
            smooth = -label_smoothing / n_classes * sum(w * row)
            losses.append(-(1 - label_smoothing) * w[t] * row[t] + smooth)
            total += w[t]
    return np.array(losses), total


def reduced(losses, total, reduction):
    if reduction == "none":
        return losses
    return losses.sum() / total if reduction == "mean" else losses.sum()


def problem(n_rows=65, n_features=20, n_classes=7, dtype=np.float32, seed=3):
    """Rows, a weight, targets in which two rows are ignored, a bias, class weights."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_rows, n_features)).astype(dtype)
    weight = (rng.standard_normal((n_classes, n_features)) / np.sqrt(n_features)).astype(dtype)
    target = rng.integers(0, n_classes, n_rows)
    target[1:3] = IGNORED
    bias = rng.standard_normal(n_classes).astype(dtype)
    return x, weight, target, bias, rng.uniform(0.5, 2, n_classes).astype(dtype)


def probabilities(n_rows, n_classes, dtype, seed=4):
    return np.random.default_rng(seed).dirichlet(np.ones(n_classes), n_rows).astype(dtype)


DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
OPTIONS = pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
WEIGHTED = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
TARGETS = pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
TOLERANCE = {np.float32: {"rtol": 1e-6, "atol": 1e-6}, np.float64: {"rtol": 1e-13, "atol": 1e-13}}


# ---- values ----


@DTYPES
@REDUCTIONS
@OPTIONS
@WEIGHTED
@TARGETS
def test_by_hand(dtype, reduction, smoothing, weighted, soft):
    x, weight, target, bias, class_weight = problem(dtype=dtype)
    if soft:
        target = probabilities(len(x), len(weight), dtype)
    options = {"weight": class_weight if weighted else None, "label_smoothing": smoothing}
    exact = [a.astype(np.float64) for a in (x, weight, bias)]
    logits = exact[0] @ exact[1].T + exact[2]
    losses = losses_of(log_softmax(logits), target, **options, ignore_index=IGNORED)
    expected = reduced(*losses, reduction)

    ours = fs.linear_cross_entropy(
        x, weight, target, linear_bias=bias, reduction=reduction, **options
    )
    np.testing.assert_allclose(ours, expected, **TOLERANCE[dtype])
    of_logits = fs.cross_entropy(logits.astype(dtype), target, reduction=reduction, **options)
    np.testing.assert_allclose(of_logits, expected, **TOLERANCE[dtype])
    for result in (ours, of_logits):
        assert result.dtype == dtype if reduction == "none" else type(result) is float
    if not soft and not smoothing:
        log_p = log_softmax(logits).astype(dtype)
        nll = fs.nll_loss(log_p, target, options["weight"], reduction=reduction)
        np.testing.assert_allclose(nll, expected, **TOLERANCE[dtype])


@REDUCTIONS
@OPTIONS
@WEIGHTED
@TARGETS
def test_gradients_by_differences(reduction, smoothing, weighted, soft):
    x, weight, target, bias, class_weight = problem(6, 3, 4, np.float64)
    if soft:
        target = probabilities(6, 4, np.float64)
    options = {
        "weight": class_weight if weighted else None, "label_smoothing": smoothing,
        "reduction": reduction,
    }  # fmt: skip
    grad_output = np.linspace(-1, 2, 6) if reduction == "none" else 0.5

    def loss(x, weight, bias):
        result = fs.linear_cross_entropy(x, weight, target, linear_bias=bias, **options)
        return np.sum(grad_output * np.asarray(result))

    grad = fs.linear_cross_entropy_grad(
        x, weight, target, linear_bias=bias, grad_output=grad_output, grad_input=True, **options
    )
    at = (x, weight, bias)
    for i, ours in enumerate((grad.grad_input, grad.grad_weight, grad.grad_bias)):
        for index in np.ndindex(at[i].shape):
            step = np.zeros_like(at[i])
            step[index] = 1e-6
            ahead = loss(*(a + step if j == i else a for j, a in enumerate(at)))
            behind = loss(*(a - step if j == i else a for j, a in enumerate(at)))
            assert ours[index] == pytest.approx((ahead - behind) / 2e-6, rel=1e-7, abs=1e-8)


@DTYPES
def test_the_gradient_comes_with_the_loss(dtype):
    x, weight, target, bias, class_weight = problem(dtype=dtype)
    for reduction in ("mean", "sum", "none"):
        options = {"linear_bias": bias, "weight": class_weight, "reduction": reduction}
        loss = fs.linear_cross_entropy(x, weight, target, **options)
        grad = fs.linear_cross_entropy_grad(x, weight, target, **options)
        np.testing.assert_allclose(grad.loss, loss, rtol=0 if reduction == "none" else 1e-6)
        assert grad.grad_weight.dtype == grad.grad_bias.dtype == dtype
        assert grad.grad_input is None


@REDUCTIONS
@pytest.mark.parametrize("grad_output", [0.0, -2.5, 1e-20])
def test_grad_output_multiplies(reduction, grad_output):
    x, weight, target, bias, class_weight = problem()
    options = {"linear_bias": bias, "weight": class_weight, "reduction": reduction}
    given = np.full(65, grad_output) if reduction == "none" else grad_output
    one, other = (
        fs.linear_cross_entropy_grad(x, weight, target, grad_output=g, grad_input=True, **options)
        for g in (None, given)
    )
    np.testing.assert_array_equal(one.loss, other.loss)
    for a, b in zip(one[1:], other[1:], strict=True):
        size = np.abs(a).max() * abs(grad_output)
        np.testing.assert_allclose(b, grad_output * a.astype(float), rtol=0, atol=2e-6 * size)


def test_no_bias_is_a_bias_of_zero():
    x, weight, target, bias, _ = problem()
    without = fs.linear_cross_entropy_grad(x, weight, target)
    zero = fs.linear_cross_entropy_grad(x, weight, target, linear_bias=bias * 0)
    assert without.grad_bias is None and zero.grad_bias.any()
    assert without.loss == zero.loss == fs.linear_cross_entropy(x, weight, target)
    assert without.grad_weight.tobytes() == zero.grad_weight.tobytes()


@DTYPES
def test_one_row(dtype):
    x, weight, target, bias, class_weight = problem(dtype=dtype)
    q = probabilities(1, len(weight), dtype)
    for one, many in ((target[0], target[:1]), (int(target[0]), target[:1]), (q[0], q)):
        for reduction in ("mean", "sum", "none"):
            options = {"linear_bias": bias, "weight": class_weight, "reduction": reduction}
            expected = fs.linear_cross_entropy_grad(
                x[:1], weight, many, grad_input=True, **options
            )
            ours = fs.linear_cross_entropy_grad(x[0], weight, one, grad_input=True, **options)
            loss = fs.linear_cross_entropy(x[0], weight, one, **options)
            assert loss == ours.loss == expected.loss and np.shape(loss) == ()
            assert ours.grad_weight.tobytes() == expected.grad_weight.tobytes()
            assert ours.grad_input.shape == (20,)
            assert ours.grad_input.tobytes() == expected.grad_input.tobytes()
            logits = weight @ x[0] + bias
            del options["linear_bias"]
            of_logits = fs.cross_entropy(logits, one, **options)
            assert of_logits == pytest.approx(float(loss), rel=1e-5)


@DTYPES
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}], ids=str)
@WEIGHTED
def test_all_ignored(dtype, options, weighted):
    x, weight, target, bias, class_weight = problem(dtype=dtype)
    options = {**options, "linear_bias": bias, "weight": class_weight if weighted else None}
    target[:] = IGNORED
    for reduction, expected in (("mean", math.nan), ("sum", 0.0), ("none", np.zeros(65))):
        grad = fs.linear_cross_entropy_grad(
            x, weight, target, reduction=reduction, grad_input=True, **options
        )
        loss = fs.linear_cross_entropy(x, weight, target, reduction=reduction, **options)
        np.testing.assert_array_equal(loss, expected)
        np.testing.assert_array_equal(grad.loss, expected)
        assert not (grad.grad_weight.any() or grad.grad_bias.any() or grad.grad_input.any())
        of_logits = fs.cross_entropy(x, target, reduction=reduction)
        np.testing.assert_array_equal(of_logits, expected)
        np.testing.assert_array_equal(fs.nll_loss(x, target, reduction=reduction), expected)


@DTYPES
@TARGETS
def test_no_rows(dtype, soft):
    x, weight, _, bias, _ = problem(dtype=dtype)
    target = np.zeros((0, len(weight)), dtype) if soft else np.zeros(0, int)
    for reduction, expected in (("mean", math.nan), ("sum", 0.0), ("none", np.zeros(0))):
        grad = fs.linear_cross_entropy_grad(
            x[:0], weight, target, linear_bias=bias, reduction=reduction, grad_input=True
        )
        np.testing.assert_array_equal(grad.loss, expected)
        assert grad.grad_input.shape == (0, 20)
        assert not (grad.grad_weight.any() or grad.grad_bias.any())
        loss = fs.linear_cross_entropy(x[:0], weight, target, reduction=reduction)
        np.testing.assert_array_equal(loss, expected)
        logits = np.zeros((0, len(weight)), dtype)
        of_logits = fs.cross_entropy(logits, target, reduction=reduction)
        np.testing.assert_array_equal(of_logits, expected)
    with pytest.raises(ValueError, match="weight must have shape"):
        fs.linear_cross_entropy_grad(x[:0], weight, target, weight=np.ones(3))


def test_classes_that_weigh_nothing():
    """A mean over the weight 0 of rows that are not ignored: 0 / 0, as in PyTorch."""
    x, weight, *_ = problem(4)
    options = {"weight": [0, 1, 1, 1, 1, 1, 1]}
    grad = fs.linear_cross_entropy_grad(x, weight, [0] * 4, grad_input=True, **options)
    assert math.isnan(grad.loss)
    assert np.isnan(grad.grad_weight).all() and np.isnan(grad.grad_input).all()
    target = [0, -100, 0, 0]
    grad = fs.linear_cross_entropy_grad(x, weight, target, grad_input=True, **options)
    assert np.isnan(grad.grad_input).all(axis=1).tolist() == [True, False, True, True]
    assert not grad.grad_input[1].any()
    assert fs.linear_cross_entropy(x, weight, [0] * 4, reduction="sum", **options) == 0
    logits = np.array([[-np.inf, 0.0]])
    assert fs.cross_entropy(logits, [0], [0, 1], reduction="sum") == 0
    assert fs.cross_entropy(logits, [[0.0, 1.0]]) == 0
    assert fs.cross_entropy(logits, [0]) == math.inf


@DTYPES
def test_classes_that_weigh_nothing_and_a_position_that_is_ignored(dtype):
    x, weight = np.ones((2, 3), dtype), np.ones((4, 2, 3), dtype)
    target = np.array([[2, -100], [2, -100]])
    grad = fs.linear_cross_entropy_grad(
        x, weight, target, linear_bias=weight[..., 0], weight=np.array([1, 1, 0, 1], dtype)
    )
    for gradient in (grad.grad_weight, grad.grad_bias):
        assert np.isnan(gradient[:, 0]).all()
        assert not gradient[:, 1].any()


def test_ignore_index_may_be_a_class_or_none():
    x, weight, target, *_ = problem()
    target[target == IGNORED] = 0
    kept = target != 2
    assert 0 < kept.sum() < len(x)
    ours = fs.linear_cross_entropy(x, weight, target, ignore_index=2)
    assert ours == pytest.approx(fs.linear_cross_entropy(x[kept], weight, target[kept]), rel=1e-6)
    target[~kept] = IGNORED
    assert fs.linear_cross_entropy(x, weight, target, ignore_index=None) == ours
    assert fs.cross_entropy(x, target, ignore_index=-100) == pytest.approx(
        fs.cross_entropy(x[kept], target[kept]), rel=1e-6
    )


@DTYPES
def test_nan_shows(dtype):
    x, weight, target, *_ = problem(dtype=dtype)
    x[5, 3] = np.nan
    losses = fs.linear_cross_entropy(x, weight, target, reduction="none")
    assert np.isnan(losses[5]) and np.isfinite(np.delete(losses, 5)).all()
    grad = fs.linear_cross_entropy_grad(x, weight, target)
    assert math.isnan(grad.loss) and np.isnan(grad.grad_weight).all()


@DTYPES
@TARGETS
def test_dimensions_after_the_classes(dtype, soft):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((5, 4, 2, 3)).astype(dtype)
    target = rng.random((5, 4, 2, 3)).astype(dtype) if soft else rng.integers(0, 4, (5, 2, 3))
    ours = fs.cross_entropy(logits, target, reduction="none")
    assert ours.shape == (5, 2, 3)
    for i, j in np.ndindex(2, 3):
        expected = fs.cross_entropy(logits[..., i, j], target[..., i, j], reduction="none")
        assert ours[:, i, j].tobytes() == expected.tobytes()
    assert fs.cross_entropy(logits, target) == pytest.approx(ours.mean(dtype=float), rel=1e-7)


# ---- against PyTorch ----


@st.composite
def calls(draw):
    """A call of linear_cross_entropy: arguments, options, and the dtype."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    n_rows, n_features = draw(st.integers(1, 70)), draw(st.integers(1, 40))
    n_classes, more = draw(st.integers(2, 20)), draw(st.sampled_from([(), (), (2,), (3, 1)]))
    rows = () if not more and draw(st.booleans()) and draw(st.booleans()) else (n_rows,)
    soft = draw(st.booleans())
    x = rng.standard_normal((*rows, n_features)).astype(dtype)
    weight = rng.standard_normal((n_classes, *more, n_features)).astype(dtype)
    options = {
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.7, 1.0])),
    }
    if draw(st.booleans()):
        options["linear_bias"] = rng.standard_normal((n_classes, *more)).astype(dtype)
    if draw(st.booleans()):
        options["weight"] = rng.choice([0, 0.5, 2], n_classes).astype(dtype)
    if soft:
        target = rng.random((*rows, n_classes, *more)).astype(dtype)
    else:
        ignore_index = draw(st.sampled_from([None, -100, -1, 0, n_classes]))
        options["ignore_index"] = ignore_index
        target = rng.integers(0, n_classes, (*rows, *more))
        ignored = rng.random(target.shape) < draw(st.sampled_from([0, 0.3, 1]))
        target = np.where(ignored, -100 if ignore_index is None else ignore_index, target)
    return x, weight, target, options, dtype


@pytest.mark.skipif(torch is None, reason="torch is not installed")
@settings(max_examples=300, deadline=None)
@given(calls())
def test_as_pytorch(call):
    x, weight, target, options, dtype = call
    of_torch = {
        name: torch.tensor(value).double() if isinstance(value, np.ndarray) else value
        for name, value in options.items()
    }
    args = torch.tensor(x).double(), torch.tensor(weight).double(), torch.tensor(target)
    if args[2].is_floating_point():
        args = (*args[:2], args[2].double())
    leaves = [*args[:2], *([of_torch["linear_bias"]] if "linear_bias" in options else [])]
    for leaf in leaves:
        leaf.requires_grad_(True)
    truth = torch.nn.functional.linear_cross_entropy(*args, **of_torch)
    gradients = torch.autograd.grad(truth.sum(), leaves)

    ours = fs.linear_cross_entropy_grad(x, weight, target, grad_input=True, **options)
    assert_near(fs.linear_cross_entropy(x, weight, target, **options), truth, dtype)
    assert_near(ours.loss, truth, dtype)
    results = (ours.grad_input, ours.grad_weight, ours.grad_bias)
    for result, gradient in zip(results, gradients, strict=False):
        assert_near(result, gradient, dtype)

    logits = torch.einsum("...d,k...d->...k", args[0], args[1]) if weight.ndim == 2 else None
    if logits is not None and "linear_bias" not in options:
        del options["label_smoothing"]
        options["ignore_index"] = options.get("ignore_index") or -100
        z = logits.detach().numpy().astype(dtype)
        of_torch = {
            n: torch.tensor(v).double() if isinstance(v, np.ndarray) else v
            for n, v in options.items()
        }
        truth = torch.nn.functional.cross_entropy(torch.tensor(z).double(), args[2], **of_torch)
        assert_near(fs.cross_entropy(z, target, **options), truth, dtype)


def assert_near(ours, truth, dtype):
    """Within some roundings of the largest true value; what is not finite is so in both."""
    ours, truth = np.asarray(ours, np.float64), truth.detach().numpy()
    assert ours.shape == truth.shape
    finite = np.isfinite(truth)
    np.testing.assert_array_equal(np.isfinite(ours), finite)
    size = max(1.0, np.abs(truth[finite]).max(initial=0))
    tolerance = {np.float32: 3e-6, np.float64: 1e-13}[dtype] * size
    np.testing.assert_allclose(ours[finite], truth[finite], rtol=0, atol=tolerance)


# ---- what comes in, and out ----


class Wrapped:
    """What is an array only when asked."""

    def __init__(self, value):
        self.value = value

    def __array__(self, dtype=None, copy=None):
        return self.value


@DTYPES
def test_anything_that_is_an_array(dtype):
    x, weight, target, bias, class_weight = problem(dtype=dtype)
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
    x, weight, target, bias, class_weight = problem()
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
    x, weight, target, *_ = problem(5, dtype=np.float64)
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
    arguments = problem(dtype=dtype)
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
    x, weight, target, bias, class_weight = problem(257, 300, 17)
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
    x, weight, target, *_ = problem(dtype=dtype)
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


# ---- what is refused ----

X, WEIGHT, TARGET, BIAS, CLASS_WEIGHT = problem()
Q = probabilities(65, 7, np.float32)
T, V = TypeError, ValueError
BAD = {
    "float64 weight": (
        {"linear_weight": WEIGHT.astype(float)},
        T,
        "linear_weight must be float32 as input, got float64",
    ),
    "float64 input": (
        {"input": X.astype(float)},
        T,
        "linear_weight must be float64 as input, got float32",
    ),
    "float64 bias": (
        {"linear_bias": BIAS.astype(float)},
        T,
        "linear_bias must be float32 as input",
    ),
    "integers": (
        {"input": X.astype(int)},
        T,
        r"input must be float32 or float64, got int64; convert it once with np\.asc",
    ),
    "uint8": ({"input": X.astype(np.uint8)}, T, "input must be float32 or float64, got uint8"),
    "float16": (
        {"input": X.astype(np.float16)},
        T,
        "input must be float32 or float64, got float16",
    ),
    "complex": ({"input": X * 1j}, T, "input must be float32 or float64, got complex64"),
    "words": ({"input": "rows"}, T, "input must be float32 or float64, got str"),
    "input (2, B, D)": (
        {"input": X[None]},
        V,
        r"input must be \(B, D\) or \(D,\), got shape \(1, 65, 20\)",
    ),
    "input a number": ({"input": X[0, 0]}, V, r"input must be \(B, D\) or \(D,\), got shape \(\)"),
    "few features": ({"input": X[:, 1:]}, V, "input has 19 features, and linear_weight 20"),
    "flat weight": ({"linear_weight": WEIGHT[0]}, V, r"linear_weight must be .*got shape \(20,\)"),
    "one class": ({"linear_weight": WEIGHT[:1]}, V, r"K >= 2, got shape \(1, 20\)"),
    "short bias": (
        {"linear_bias": BIAS[1:]},
        V,
        r"linear_bias must have shape \(7,\), got \(6,\)",
    ),
    "target high": (
        {"target": np.where(TARGET < 0, 0, 7)},
        V,
        r"target\[0\] is 7, expected 0 <= target < 7 \(n_classes\), or ignore_index=-100",
    ),
    "target negative": (
        {"target": TARGET * 0 - 1},
        V,
        r"target\[0\] is -1, expected 0 <= target < 7",
    ),
    "target of floats": (
        {"target": TARGET * 1.0},
        T,
        "target must be an array of integers, got float64",
    ),
    "target short": (
        {"target": TARGET[1:]},
        V,
        r"target must have shape \(65,\), or \(65, 7\) where .*, got \(64,\) of int64",
    ),
    "target (B, 1)": ({"target": TARGET[:, None]}, V, r"target must have shape .*got \(65, 1\)"),
    "target one-hot": (
        {"target": Q.astype(int)},
        V,
        r"target must have shape .*got \(65, 7\) of int64",
    ),
    "probabilities short": ({"target": Q[:, 1:]}, V, r"target must have shape .*got \(65, 6\)"),
    "probabilities, ignored": (
        {"target": Q, "ignore_index": 1},
        V,
        "ignore_index must be negative where target is probabilities, got 1",
    ),
    "weight short": (
        {"weight": CLASS_WEIGHT[1:]},
        V,
        r"weight must have shape \(7,\) as there are classes, got \(6,\)",
    ),
    "weight NaN": (
        {"weight": CLASS_WEIGHT * np.nan},
        V,
        "weight must be finite in float32, got nan",
    ),
    "weight words": ({"weight": ["a"] * 7}, T, "weight must be an array of numbers, got <U1"),
    "smoothing 2": ({"label_smoothing": 2}, V, r"label_smoothing must be in \[0, 1\], got 2"),
    "smoothing NaN": (
        {"label_smoothing": math.nan},
        V,
        r"label_smoothing must be in \[0, 1\], got nan",
    ),
    "smoothing a word": ({"label_smoothing": "a"}, T, "label_smoothing must be a number, got 'a'"),
    "ignore_index 0.5": ({"ignore_index": 0.5}, T, "ignore_index must be an integer, got 0.5"),
    "reduction": (
        {"reduction": "avg"},
        V,
        r"reduction must be one of \('mean', 'sum', 'none'\), got 'avg'",
    ),
    "no threads": ({"num_threads": 0}, V, "num_threads must be >= 1, got 0"),
}
OF_LOSS = {
    "out, mean": (
        {"reduction": "mean"},
        V,
        "out is for the losses of reduction='none', got 'mean'",
    ),
    "out float64": ({"out": np.full(65, 7.0)}, T, "out must be an array of float32, got float64"),
    "out short": (
        {"out": np.full(64, 7, np.float32)},
        V,
        r"out must have shape \(65,\), got \(64,\)",
    ),
    "out a list": ({"out": [7] * 65}, T, "out must be an array of float32, got list"),
}


@pytest.mark.parametrize("case", [*BAD, *OF_LOSS])
def test_bad_arguments_of_linear_cross_entropy(case):
    changed, error, message = {**BAD, **OF_LOSS}[case]
    out = changed.get("out", np.full(65, 7, np.float32))
    arguments = {
        "input": X, "linear_weight": WEIGHT, "target": TARGET, "linear_bias": BIAS,
        "weight": CLASS_WEIGHT, "reduction": "none", "out": out, **changed,
    }  # fmt: skip
    with pytest.raises(error, match=message):
        fs.linear_cross_entropy(**arguments)
    assert (np.asarray(out) == 7).all()


OF_GRADIENT = {
    "grad_output short": (
        {"grad_output": [1.0]},
        V,
        r"grad_output must have shape \(65,\) as the losses, got \(1,\)",
    ),
    "grad_output a number": (
        {"grad_output": 2.0},
        V,
        r"grad_output must have shape \(65,\) as the losses, got \(\)",
    ),
    "grad_output NaN": (
        {"grad_output": [math.nan] * 65},
        V,
        "grad_output must be finite in float32",
    ),
    "grad_output of a mean": (
        {"grad_output": [1.0] * 65, "reduction": "mean"},
        T,
        "grad_output must be a number",
    ),
}


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("case", [*BAD, *OF_GRADIENT])
def test_bad_arguments_of_the_gradient(case, reduction):
    changed, error, message = {**BAD, **OF_GRADIENT}[case]
    if case in OF_GRADIENT and reduction == "mean":
        changed = {"grad_output": [1.0] * 65}
        error, message = TypeError, "grad_output must be a number"
    arguments = {
        "input": X, "linear_weight": WEIGHT, "target": TARGET, "linear_bias": BIAS,
        "weight": CLASS_WEIGHT, "reduction": reduction, **changed,
    }  # fmt: skip
    with pytest.raises(error, match=message):
        fs.linear_cross_entropy_grad(**arguments)


LOGITS = np.zeros((65, 7), np.float32)
BAD_LOGITS = {
    "complex": ({"logits": LOGITS * 1j}, T, "logits must be real, got complex64"),
    "a number": ({"logits": 1.0}, V, r"logits must be \(B, K\), \(K,\) or .*got shape \(\)"),
    "no classes": ({"logits": LOGITS[:, :0]}, V, r"with K >= 1, got shape \(65, 0\)"),
    "no classes, 4": ({"logits": np.zeros((2, 0, 3))}, V, r"with K >= 1, got shape \(2, 0, 3\)"),
    "target high": ({"target": np.where(TARGET < 0, 0, 7)}, V, r"target\[0\] is 7, expected"),
    "target negative": ({"target": TARGET * 0 - 1}, V, r"target\[0\] is -1, expected"),
    "target of floats": ({"target": TARGET * 1.0}, T, "array of integers, got float64"),
    "target short": (
        {"target": TARGET[1:]},
        V,
        r"target must have shape \(65,\), or \(65, 7\), got \(64,\)",
    ),
    "target one-hot": (
        {"target": Q.astype(int)},
        T,
        "target must be floats where it has the shape of logits, got int64",
    ),
    "probabilities, ignored": (
        {"target": Q, "ignore_index": 1},
        V,
        "ignore_index must be negative",
    ),
    "weight short": ({"weight": CLASS_WEIGHT[1:]}, V, r"weight must have shape \(7,\)"),
    "smoothing": ({"label_smoothing": -0.1}, V, r"label_smoothing must be in \[0, 1\]"),
    "reduction": ({"reduction": None}, V, "reduction must be one of"),
    "out, sum": ({"reduction": "sum"}, V, "out is for the losses of reduction='none', got 'sum'"),
    "out float64": ({"out": np.full(65, 7.0)}, T, "out must be an array of float32, got float64"),
    "no threads": ({"num_threads": 0}, V, "num_threads must be >= 1, got 0"),
}


@pytest.mark.parametrize("case", BAD_LOGITS)
def test_bad_arguments_of_cross_entropy_and_nll_loss(case):
    changed, error, message = BAD_LOGITS[case]
    out = changed.get("out", np.full(65, 7, np.float32))
    arguments = {"logits": LOGITS, "target": TARGET, "reduction": "none", "out": out, **changed}
    with pytest.raises(error, match=message):
        fs.cross_entropy(**arguments)
    if not set(changed) & {"label_smoothing", "num_threads"} and arguments["target"].ndim == 1:
        arguments["log_probs"] = arguments.pop("logits")
        with pytest.raises(error, match=message.replace("logits", "log_probs").split(", or")[0]):
            fs.nll_loss(**arguments)
    assert (np.asarray(out) == 7).all()


def test_the_arguments_of_the_bad_calls_are_otherwise_good():
    out = np.full(65, 7, np.float32)
    options = {"linear_bias": BIAS, "weight": CLASS_WEIGHT, "reduction": "none"}
    fs.linear_cross_entropy(X, WEIGHT, TARGET, out=out, **options)
    fs.linear_cross_entropy_grad(X, WEIGHT, TARGET, grad_output=np.ones(65), **options)
    assert np.isfinite(out).all() and not (out == 7).any()
    fs.cross_entropy(LOGITS, TARGET, reduction="none", out=out)
    fs.nll_loss(LOGITS, TARGET, reduction="none", out=out)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"input": X[0]}, r"input must be \(B, D\) where linear_weight is \(7, 2, 20\)"),
        ({"target": TARGET}, r"target must have shape \(65, 2\), or \(65, 7, 2\) where"),
        ({"linear_bias": BIAS}, r"linear_bias must have shape \(7, 2\), got \(7,\)"),
        ({"input": X[:, 1:]}, "input has 19 features, and linear_weight 20"),
    ],
)
def test_bad_arguments_of_the_k_dimensional_loss(changed, message):
    arguments = {
        "input": X, "linear_weight": WEIGHT[:, None].repeat(2, 1),
        "target": TARGET[:, None].repeat(2, 1), **changed,
    }  # fmt: skip
    for function in (fs.linear_cross_entropy, fs.linear_cross_entropy_grad):
        with pytest.raises(ValueError, match=message):
            function(**arguments)
