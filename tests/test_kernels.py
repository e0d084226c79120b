"""The values that every backend computes, against float64.

The rule for tolerances: our error may exceed that of PyTorch's float32, or of NumPy's where
PyTorch is not installed, by TOLERANCE, relative to the largest true value; that of a loss,
relative to the largest logit.
"""

import math

import numpy as np
import pytest

from fastsoftmax.backends import numpy as _numpy
from fastsoftmax.optim import SGDSettings

# Sums over 784 features and 257 rows in another order: 17 roundings of float32. Gradients sum
# residuals that cancel: twice as many.
TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 2e-6

# Values that straddle vectors (4, 8, 16 lanes), class blocks (5) and row blocks (64)
FEATURES = (1, 2, 3, 7, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 784)
CLASSES = (2, 3, 7, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 784)
ROWS = (1, 2, 31, 63, 64, 65, 256, 257)

# The C backend has a second plan for 256 KB of weight and more, in spans of 1024 rows or of 8 MB,
# and for fewer rows than classes; and takes features in ranges of 512 (AVX-512) or 1024, of uint8
# rows 816 or 1636
LARGE = [
    (1, 784, 64),
    (31, 97, 784),
    (65, 784, 784),
    (257, 513, 130),
    (2, 784, 97),
    (1060, 97, 700),
    (65, 512, 3),
    (31, 513, 7),
    (65, 1024, 3),
    (33, 1025, 7),
    (10, 4200, 17),
    (130, 2100, 16),
    (530, 4200, 16),
]

# Every value, each with three others: 16, 15 and 8 have few multiples in common
SHAPES = sorted(
    {
        (ROWS[(i + turn) % len(ROWS)], d, CLASSES[(i + 5 * turn) % len(CLASSES)])
        for turn in range(3)
        for i, d in enumerate(FEATURES)
    }
    | {(256, 784, 10), (257, 784, 10), (2, 1, 784)}
    | set(LARGE)
)


def shape_id(shape):
    return "x".join(str(n) for n in shape)


def test_every_size_is_covered():
    for sizes, used in zip((ROWS, FEATURES, CLASSES), zip(*SHAPES, strict=True), strict=True):
        assert set(used) >= set(sizes)


@pytest.fixture(params=SHAPES, ids=shape_id)
def problem(request, row_type, make_problem):
    return make_problem(*request.param, row_type)


# ---- against float64 and plain float32 ----


def loss_size(truth):
    """Of a summed loss, which is a sum of differences of logits."""
    return len(truth["logits"]) * np.abs(truth["logits"]).max()


def test_loss_and_grad(problem, backend, exact, plain_float32, assert_as_good):
    truth, float32 = exact(problem), plain_float32(problem)
    loss, grad_weight, grad_bias = backend.loss_and_grad(*problem, scale=problem.scale)
    assert_as_good(loss, float32["loss"], truth["loss"], TOLERANCE, loss_size(truth))
    assert_as_good(grad_weight, float32["grad_weight"], truth["grad_weight"], GRADIENT_TOLERANCE)
    assert_as_good(grad_bias, float32["grad_bias"], truth["grad_bias"], GRADIENT_TOLERANCE)
    assert grad_weight.dtype == grad_bias.dtype == np.float32


def test_predict_logits_and_evaluate(problem, backend, exact, plain_float32, assert_as_good):
    truth, float32 = exact(problem), plain_float32(problem)
    x, target, weight, bias = problem
    logits = backend.predict_logits(x, weight, bias, scale=problem.scale)
    assert logits.dtype == np.float32
    assert_as_good(logits, float32["logits"], truth["logits"], TOLERANCE)
    loss, correct, *_ = backend.evaluate(x, target, weight, bias, scale=problem.scale)
    assert_as_good(loss, float32["loss"], truth["loss"], TOLERANCE, loss_size(truth))
    assert correct == (truth["logits"].argmax(axis=1) == target).sum()


def test_train_step(problem, backend, exact, plain_float32, assert_as_good):
    truth, float32 = exact(problem), plain_float32(problem)
    x, target, weight, bias = problem
    n = len(target)
    new_weight, new_bias = problem.parameters()
    loss, correct, *_ = backend.train_step(
        x, target, new_weight, new_bias, SGDSettings(lr=0.5), scale=problem.scale
    )
    for new, old, gradient in (
        (new_weight, weight, "grad_weight"),
        (new_bias, bias, "grad_bias"),
    ):
        true_new = old - 0.5 / n * truth[gradient]
        float32_new = old - np.float32(0.5 / n) * float32[gradient]
        assert_as_good(new, float32_new, true_new, TOLERANCE)
    evaluated = backend.evaluate(x, target, weight, bias, scale=problem.scale)
    assert (pytest.approx(loss, rel=1e-14), correct) == evaluated[:2]


def test_softmax_ends_gradually(backend):
    """Below 2**-126, where but subnormals are left, too: to two of the least, 2**-149."""
    least = 2.0**-149
    below = np.linspace(-150 * np.log(2), -86, 5000).astype(np.float32)
    for n_equal in (1, 3):  # which share the rest
        logits = np.zeros((5000, n_equal + 1), np.float32)
        logits[:, -1] = below
        ours = backend.softmax(logits)[:, -1].astype(np.float64)
        truth = np.exp(below.astype(np.float64)) / n_equal
        assert (np.abs(ours - truth) <= 1e-5 * truth + 2 * least).all()
        assert np.count_nonzero(ours < 2.0**-126) > 3000
    edge = np.array([[0, -104, -1e4, -3e38, -np.inf]], np.float32)
    assert backend.softmax(edge).tolist() == [[1, 0, 0, 0, 0]]
    assert np.isnan(backend.softmax(np.array([[0, -100, np.nan]], np.float32))).all()


@pytest.mark.parametrize("n_classes", [1, 2, 10, 97, 1000])
@pytest.mark.parametrize("n_rows", [1, 67])
def test_softmax(n_classes, n_rows, backend):
    rng = np.random.default_rng(n_classes)
    logits = (8 * rng.standard_normal((n_rows, n_classes))).astype(np.float32)
    log_p = _numpy.log_softmax(logits.astype(np.float64))
    # roundings: two of the size of log p, a few of exp and log, and those of a sum over classes
    tolerance = 2.0**-24 * (2 * np.abs(log_p) + 8)
    ours = backend.log_softmax(logits)
    assert ours.dtype == np.float32
    assert (np.abs(ours - log_p) <= tolerance).all()
    ours = backend.softmax(logits)
    assert ours.dtype == np.float32
    assert (np.abs(ours - np.exp(log_p)) <= tolerance * np.exp(log_p)).all()


def test_scaled_float32_rows(backend, make_problem):
    x, target, weight, bias = make_problem(70, 33, 7)
    loss, grad_weight, grad_bias = backend.loss_and_grad(x, target, weight, bias, scale=0.25)
    loss_of_scaled, *grads_of_scaled = backend.loss_and_grad(x / 4, target, weight, bias)
    assert loss == pytest.approx(loss_of_scaled, rel=1e-6)
    for ours, scaled in zip((grad_weight, grad_bias), grads_of_scaled, strict=True):
        np.testing.assert_allclose(ours, scaled, rtol=0, atol=1e-6 * np.abs(scaled).max())


# ---- known values ----


def test_hand_computed_zero_weight(backend):
    x = np.array([[1, 2], [3, 4]], np.float32)
    target = np.array([0, 1])
    weight, bias = np.zeros((2, 2), np.float32), np.zeros(2, np.float32)
    loss, grad_weight, grad_bias = backend.loss_and_grad(x, target, weight, bias)
    # residuals (-1/2, 1/2) and (1/2, -1/2)
    assert loss == pytest.approx(2 * math.log(2), rel=1e-7)
    assert grad_weight.tolist() == [[1, 1], [-1, -1]]
    assert grad_bias.tolist() == [0, 0]
    # the mean gradient is half the sum; of equal logits the first counts as the prediction
    sums = backend.train_step(x, target, weight, bias, SGDSettings(lr=1))
    assert sums == (loss, 1, 2, 2)
    assert weight.tolist() == [[-0.5, -0.5], [0.5, 0.5]]
    assert bias.tolist() == [0, 0]


def test_hand_computed_softmax(backend):
    x = np.array([[1, 0], [0, 1]], np.float32)
    weight, bias = np.array([[math.log(3), 0], [0, 0]], np.float32), np.zeros(2, np.float32)
    loss, grad_weight, grad_bias = backend.loss_and_grad(x, np.array([1, 0]), weight, bias)
    # probabilities (3/4, 1/4) and (1/2, 1/2)
    assert loss == pytest.approx(math.log(4) + math.log(2), rel=2e-7)
    np.testing.assert_allclose(grad_weight, [[0.75, -0.5], [-0.75, 0.5]], rtol=2e-7)
    np.testing.assert_allclose(grad_bias, [0.25, -0.25], rtol=4e-7)
    np.testing.assert_allclose(
        backend.softmax(np.array([[math.log(3), 0]], np.float32)), [[0.75, 0.25]], rtol=2e-7
    )


def test_uint8_pixels(backend):
    x = np.array([[0, 51, 255]], np.uint8)
    weight = np.array([[7, 5, 1], [0, 10, -1]], np.float32)
    logits = backend.predict_logits(x, weight, np.array([0.5, 0], np.float32), scale=1 / 255)
    np.testing.assert_allclose(logits, [[2.5, 1]], rtol=5e-7)


def test_oracle_against_plain_loops():
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)), rng.normal(size=4)
    target = [0, 3, 1, 1, 2]
    loss = 0.0
    for row, label in zip(x.tolist(), target, strict=True):
        logits = [
            sum(a * b for a, b in zip(row, w, strict=True)) + c
            for w, c in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
        loss += math.log(sum(math.exp(z) for z in logits)) - logits[label]
    ours = _numpy.loss_and_grad(x, np.array(target), weight, bias)[0]
    assert ours == pytest.approx(loss, rel=1e-14)
    assert _numpy.evaluate(x, np.array(target), weight, bias)[0] == ours


@pytest.mark.parametrize("shape", [(1, 1, 2), (4, 3, 2), (5, 4, 7)], ids=shape_id)
def test_oracle_gradient_is_the_slope_of_its_loss(shape, row_type, make_problem):
    problem = make_problem(*shape, row_type)
    parameters = problem.parameters(np.float64)
    x, target = problem.x, problem.target
    _, *gradients = _numpy.loss_and_grad(x, target, *parameters, scale=problem.scale)
    step = 1e-5
    for parameter, gradient in zip(parameters, gradients, strict=True):
        for index in np.ndindex(parameter.shape):
            kept = parameter[index]
            losses = []
            for moved in (kept + step, kept - step):
                parameter[index] = moved
                losses.append(_numpy.evaluate(x, target, *parameters, scale=problem.scale)[0])
            parameter[index] = kept
            slope = (losses[0] - losses[1]) / (2 * step)
            assert slope == pytest.approx(gradient[index], rel=1e-7, abs=1e-9)


# ---- extreme logits ----

EXTREME = {
    "plus and minus 100": [100, -100, 99],
    "plus and minus 1e4": [-1e4, 1e4, 0, 9990],
    "certain": [0, 0, 1e4, 0],
    "all equal": [3] * 11,
    "all equal and large": [1e4] * 5,
    "all equal and far below": [-1e4] * 5,
    "beyond the range of exp": [88, 89, 0, -88, -104, 200],
    "two": [-100, 100],
}


@pytest.mark.parametrize("logits", EXTREME.values(), ids=EXTREME)
def test_extreme_logits(logits, backend):
    n_classes = len(logits)
    z = np.array(logits, np.float64)
    log_p = z - z.max() - math.log(np.exp(z - z.max()).sum())
    x, weight = np.ones((1, 1), np.float32), np.array(logits, np.float32)[:, None]
    bias = np.zeros(n_classes, np.float32)
    for label in range(n_classes):
        target = np.array([label])
        loss, grad_weight, grad_bias = backend.loss_and_grad(x, target, weight, bias)
        assert loss == pytest.approx(-log_p[label], rel=2e-7, abs=2e-7)
        residual = np.exp(log_p) - (np.arange(n_classes) == label)
        np.testing.assert_allclose(grad_weight[:, 0], residual, rtol=0, atol=2e-7)
        np.testing.assert_allclose(grad_bias, residual, rtol=0, atol=2e-7)
        evaluated = backend.evaluate(x, target, weight, bias)
        assert evaluated == (loss, z.argmax() == label, 1, 1)
        trained = backend.train_step(x, target, weight.copy(), bias.copy(), SGDSettings(lr=0.1))
        assert trained == evaluated


def test_certain_and_right_costs_nothing(backend):
    x, weight = np.ones((1, 1), np.float32), np.array([[1e4], [0], [-1e4]], np.float32)
    loss, grad_weight, grad_bias = backend.loss_and_grad(
        x, np.array([0]), weight, np.zeros(3, np.float32)
    )
    assert loss == 0
    assert not grad_weight.any() and not grad_bias.any()


def test_nearly_equal_logits_are_not_a_tie(backend):
    # apart by less than the spacing of their log-softmax, which so says nothing on the largest
    x, weight = np.ones((2, 1), np.float32), np.array([[0], [1e-9]], np.float32)
    target, bias = np.array([0, 1]), np.zeros(2, np.float32)
    assert backend.evaluate(x, target, weight, bias)[1] == 1
    assert backend.evaluate(x[:1], target[:1], weight, bias)[1] == 0
    assert backend.train_step(x[:1], target[:1], weight, bias, SGDSettings(lr=0))[1] == 0


# ---- rows that are not finite ----


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "shape, row, feature",
    [((67, 37, 12), row, feature) for row in (0, 63, 64, 66) for feature in (0, 16, 36)]
    + [((67, 97, 700), 66, 96), ((67, 97, 700), 5, 0)],
    ids=str,
)
def test_a_bad_feature_shows(bad, shape, row, feature, backend, make_problem):
    """In a full vector or after them; in an odd last row, or before it."""
    good = make_problem(*shape)
    x = good.x.copy()
    target = _numpy.predict_logits(x, good.weight, good.bias).argmax(axis=1)
    assert backend.evaluate(x, target, good.weight, good.bias)[1] == 67
    x[row, feature] = bad
    for label in range(12):  # whatever the first largest of its logits may seem to be
        target[row] = label
        assert not math.isfinite(backend.loss_and_grad(x, target, good.weight, good.bias)[0])
        loss, correct, *_ = backend.evaluate(x, target, good.weight, good.bias)
        assert not math.isfinite(loss) and correct == 66
        weight, bias = good.parameters()
        loss, correct, *_ = backend.train_epoch(
            x, target, None, 67, weight, bias, SGDSettings(lr=0.1)
        )
        assert not math.isfinite(loss) and correct == 66
    # not hidden in the sum over batches either, and the other rows' logits are theirs
    weight, bias = good.parameters()
    loss, *_ = backend.train_epoch(x, target, None, 1, weight, bias, SGDSettings(lr=0))
    assert not math.isfinite(loss)
    logits = backend.predict_logits(x, good.weight, good.bias)
    assert np.isfinite(np.delete(logits, row, axis=0)).all()
    assert not np.isfinite(logits[row]).any()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_parameters_show(bad, backend, make_problem):
    problem = make_problem(5, 3, 4)
    for k in range(4):
        weight, bias = problem.parameters()
        weight[k, 1] = bad
        assert not math.isfinite(backend.evaluate(problem.x, problem.target, weight, bias)[0])


INFINITE = [
    ([-np.inf, 0], [0, 1], [-np.inf, 0]),
    ([0, -np.inf, 0], [0.5, 0, 0.5], [-math.log(2), -np.inf, -math.log(2)]),
    ([-np.inf, -np.inf], [np.nan] * 2, [np.nan] * 2),
    ([np.inf, 0], [np.nan] * 2, [np.nan] * 2),
    ([np.inf, np.inf, 1], [np.nan] * 3, [np.nan] * 3),
    ([np.inf, -np.inf], [np.nan] * 2, [np.nan] * 2),
    ([0, np.nan, 1], [np.nan] * 3, [np.nan] * 3),
    ([np.nan, 0], [np.nan] * 2, [np.nan] * 2),
    ([-np.inf], [np.nan], [np.nan]),
    ([np.inf], [np.nan], [np.nan]),
    ([-5e37], [1], [0]),
]


@pytest.mark.parametrize("logits, softmax, log_softmax", INFINITE, ids=lambda z: str(z))
def test_softmax_of_infinite_logits(logits, softmax, log_softmax, backend):
    """As PyTorch defines it."""
    z = np.array([[0] * len(logits), logits, [1] * len(logits)], np.float32)
    np.testing.assert_allclose(backend.softmax(z)[1], softmax, rtol=2e-7)
    np.testing.assert_allclose(backend.log_softmax(z)[1], log_softmax, rtol=2e-7)
    for neighbour in (0, 2):
        np.testing.assert_allclose(backend.softmax(z)[neighbour], 1 / len(logits), rtol=2e-7)


def test_a_class_masked_by_an_infinite_bias(backend, make_problem):
    x, _, weight, bias = make_problem(20, 5, 3)
    bias = bias.copy()
    bias[1] = -np.inf
    target = np.arange(20) % 2 * 2  # never 1
    loss, grad_weight, grad_bias = backend.loss_and_grad(x, target, weight, bias)
    two, *_ = backend.loss_and_grad(x, target // 2, weight[::2].copy(), bias[::2].copy())
    assert loss == pytest.approx(two, rel=1e-6)
    assert grad_bias[1] == 0 and not grad_weight[1].any()
    assert backend.evaluate(x, np.full(20, 1), weight, bias)[0] == np.inf


# ---- rows of every kind ----


def everything(backend, problem, x):
    """Results of all functions that take rows, as bytes."""
    _, target, weight, bias = problem
    loss, grad_weight, grad_bias = backend.loss_and_grad(
        x, target, weight, bias, scale=problem.scale
    )
    new_weight, new_bias = problem.parameters()
    order = np.arange(len(x))[::-1]
    trained = backend.train_epoch(
        x, target, order, 20, new_weight, new_bias, SGDSettings(lr=0.1), scale=problem.scale
    )
    evaluated = backend.evaluate(x, target, weight, bias, scale=problem.scale)
    logits = backend.predict_logits(x, weight, bias, scale=problem.scale)
    arrays = (grad_weight, grad_bias, new_weight, new_bias, logits)
    return loss, trained, evaluated, *(a.tobytes() for a in arrays)


@pytest.fixture(params=[(67, 45, 11), (67, 97, 700)], ids=shape_id)
def mixed_problem(request, make_problem, row_type):
    return make_problem(*request.param, row_type)


@pytest.mark.parametrize("offset", [1, 2, 3, 4, 8, 20, 33])
def test_unaligned_rows(offset, backend, mixed_problem):
    x = mixed_problem.x
    base = np.zeros(x.nbytes + 64 + offset, np.uint8)
    begin = -base.ctypes.data % 64 + offset
    unaligned = base[begin : begin + x.nbytes].view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    assert unaligned.ctypes.data % 64 == offset
    expected = everything(backend, mixed_problem, x)
    assert everything(backend, mixed_problem, unaligned) == expected


def test_writeable_and_mapped_rows(backend, mixed_problem, tmp_path):
    x = mixed_problem.x
    assert not x.flags.writeable
    expected = everything(backend, mixed_problem, x)
    assert everything(backend, mixed_problem, x.copy()) == expected
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert everything(backend, mixed_problem, mapped) == expected


@pytest.mark.parametrize("shape", [(28, 28), (14, 28, 2), (784, 1)], ids=shape_id)
def test_pictures(shape, backend, row_type, make_problem):
    problem = make_problem(67, 784, 10, row_type)
    pictures = problem.x.reshape(67, *shape)
    expected = everything(backend, problem, problem.x)
    assert everything(backend, problem, pictures) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint64, ">i4"])
def test_labels_of_every_integer_type(dtype, backend, make_problem):
    x, target, weight, bias = make_problem(9, 5, 7)
    expected = backend.evaluate(x, target, weight, bias)
    assert backend.evaluate(x, target.astype(dtype), weight, bias) == expected
    assert backend.evaluate(x, target.tolist(), weight, bias) == expected
    assert backend.evaluate(x, np.repeat(target, 2).astype(dtype)[::2], weight, bias) == expected


# ---- orders and batches ----


def orders(n_rows):
    rng = np.random.default_rng(1)
    return {
        "none": None,
        "shuffled": rng.permutation(n_rows),
        "repeated": rng.integers(0, n_rows, 3 * n_rows),
        "partial": np.arange(1, n_rows, 3),
        "one row": np.full(5, n_rows - 1),
        "single": np.array([0]),
        "int32": rng.permutation(n_rows).astype(np.int32),
        "strided": np.arange(n_rows)[::-1],
        "a list": [3, 1, 2],
    }


N_ORDERED = 130


@pytest.mark.parametrize("batch_size", [1, 32, 100, 130, 1000, 2**40])
@pytest.mark.parametrize("order", orders(N_ORDERED).values(), ids=orders(N_ORDERED))
def test_train_epoch_over_orders(
    order, batch_size, backend, row_type, make_problem, assert_as_good
):
    problem = make_problem(N_ORDERED, 19, 6, row_type)
    sgd = SGDSettings(lr=0.2)
    results = {}
    for name, module, dtype in (
        ("ours", backend, np.float32),
        ("float32", _numpy, np.float32),
        ("truth", _numpy, np.float64),
    ):
        weight, bias = problem.parameters(dtype)
        loss, correct, *_ = module.train_epoch(
            problem.x, problem.target, order, batch_size, weight, bias, sgd, scale=problem.scale
        )
        results[name] = weight, bias, loss, correct
    n = N_ORDERED if order is None else len(order)
    for which, size in ((0, None), (1, None), (2, n)):
        ours, float32, truth = (results[name][which] for name in ("ours", "float32", "truth"))
        assert_as_good(ours, float32, truth, 2e-6, size)  # errors of up to 390 steps add up
    assert results["ours"][3] == results["truth"][3]


@pytest.mark.parametrize("n_rows", [64 * 64 - 1, 64 * 64 + 1, 64 * 64 + 200])
def test_chunks_of_more_than_one_block(
    n_rows, backend, row_type, make_problem, exact, assert_as_good
):
    problem = make_problem(n_rows, 5, 3, row_type)
    truth = exact(problem)
    loss, grad_weight, grad_bias = backend.loss_and_grad(*problem, scale=problem.scale)
    float32 = _numpy.loss_and_grad(*problem, scale=problem.scale)
    assert_as_good(loss, float32[0], truth["loss"], TOLERANCE, loss_size(truth))
    assert_as_good(grad_weight, float32[1], truth["grad_weight"], GRADIENT_TOLERANCE)
    assert_as_good(grad_bias, float32[2], truth["grad_bias"], GRADIENT_TOLERANCE)
    correct = (truth["logits"].argmax(axis=1) == problem.target).sum()
    evaluated_loss, evaluated_correct, *_ = backend.evaluate(*problem, scale=problem.scale)
    assert_as_good(evaluated_loss, float32[0], truth["loss"], TOLERANCE, loss_size(truth))
    assert evaluated_correct == correct


def test_losses_add_up_in_double(backend, make_problem):
    x, target, weight, bias = make_problem(1, 5, 3)
    one, *_ = backend.evaluate(x, target, weight, bias)
    n = 100_003
    x, target = np.repeat(x, n, axis=0), np.repeat(target, n)
    assert backend.evaluate(x, target, weight, bias)[0] == pytest.approx(n * one, rel=1e-9)
    assert backend.loss_and_grad(x, target, weight, bias)[0] == pytest.approx(n * one, rel=1e-9)
    new = weight.copy(), bias.copy()
    loss, *_ = backend.train_epoch(x, target, None, 1000, *new, SGDSettings(lr=0))
    assert loss == pytest.approx(n * one, rel=1e-9)


# A last batch that by the rounding of chunks has more of them than a whole one. In a process of
# its own, as writing past the room for them may end it.
MORE_CHUNKS_IN_THE_LAST_BATCH = """
import numpy as np
from fastsoftmax import backends
from fastsoftmax.optim import SGDSettings

def check(n_rows, batch_size, n_features, n_classes):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_rows, n_features), np.float32)
    target = rng.integers(0, n_classes, n_rows)
    results = []
    for name in backends.available_backends():
        backend = backends.get_backend(name)
        weight = np.zeros((n_classes, n_features), np.float32)
        bias = np.zeros(n_classes, np.float32)
        backend.train_epoch(x, target, None, batch_size, weight, bias, SGDSettings(lr=1))
        results.append(weight)
    for weight in results:
        assert np.abs(weight - results[-1]).max() <= 1e-5 * np.abs(results[-1]).max()

check(4097 + 4096, 4097, 200, 10)
check(129 + 128, 129, 784, 90)
print("done")
"""


def test_more_chunks_in_the_last_batch(run_python):
    result = run_python(MORE_CHUNKS_IN_THE_LAST_BATCH)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_spans_of_fewer_rows(backend, make_problem):
    """So many classes that the residuals of 500 rows at once would take over 64 MB."""
    problem = make_problem(500, 3, 40_000)
    weight, bias = problem.parameters(np.float64)
    truth = _numpy.loss_and_grad(problem.x, problem.target, weight, bias)
    results = [backend.loss_and_grad(*problem, num_threads=threads) for threads in (1, 2)]
    for ours, other, expected in zip(*results, truth, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
        if backend is not _numpy:  # whose threads are those of its BLAS
            assert np.array_equal(ours, other)
