"""Rows that count for nothing, be they NaN or infinite: as if they were not there, in every entry
point of every backend, by rows and by tiles."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.optim import SGDSettings, Velocity
from fastsoftmax.settings import CrossEntropy

# (N, D, K): by rows, with and without a tail, of one class block and of two; fewer rows than
# classes; by tiles, with panels, two threads sharing rows and sharing classes
SMALL = [(70, 37, 13), (200, 784, 10), (65, 5, 2), (129, 1, 3), (30, 97, 200)]
LARGE = [(300, 2049, 40), (90, 1025, 100), (1100, 97, 700)]
BAD = [np.nan, np.inf, -np.inf, 3e38]
WAYS = [
    "ignored",
    "ignored, smoothing",
    "sample_weight",
    "sample_weight, smoothing",
    "class_weight",
    "class_weight, sample_weight, ignored",
    "probabilities",
    "probabilities, class_weight",
    "probabilities, sample_weight, smoothing",
]
TOGETHER = [
    "ignored, smoothing",
    "class_weight, sample_weight, ignored",
    "probabilities, sample_weight, smoothing",
]


def shape_id(shape):
    return "x".join(map(str, shape))


@dataclass(frozen=True, eq=False)
class Case:
    """Rows some of which, `nothing`, count for nothing; `x` has what is no number there."""

    x: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    criterion: CrossEntropy
    sample_weight: np.ndarray | None
    nothing: np.ndarray  # (N,) bool

    @property
    def arguments(self):
        return self.x, self.target, self.weight, self.bias

    @property
    def keywords(self):
        return {"criterion": self.criterion, "sample_weight": self.sample_weight}

    def kept(self):
        """The case without these rows."""
        rows = ~self.nothing
        weights = self.sample_weight
        return replace(
            self,
            x=self.x[rows],
            target=self.target[rows],
            sample_weight=None if weights is None else weights[rows],
        )

    def with_numbers(self):
        """The case with numbers in these rows."""
        x = self.x.copy()
        x[self.nothing] = np.random.default_rng(1).standard_normal(x[self.nothing].shape)
        return replace(self, x=x)


def make_case(problem, way):
    x, target, weight, bias = (array.copy() for array in problem)
    n_rows, n_classes = len(x), len(bias)
    rng = np.random.default_rng(0)
    nothing = rng.random(n_rows) < 0.3
    nothing[[0, -1]] = True  # beside the rows of padding, too
    nothing[16:80] = True  # a block or a chunk of them
    nothing[[1, 15]] = False
    sample_weight = class_weight = None
    if "probabilities" in way:
        target = rng.dirichlet(np.ones(n_classes), n_rows).astype(np.float32)
    if "sample_weight" in way:
        sample_weight = rng.uniform(0.5, 2, n_rows).astype(np.float32)
    if "class_weight" in way:
        class_weight = rng.uniform(0.5, 2, n_classes).astype(np.float32)
        class_weight[1] = 0
    cycle = itertools.cycle([name for name in way if name != "smoothing"])
    for row in np.flatnonzero(nothing):
        how = next(cycle)
        if how == "ignored":
            target[row] = -100
        elif how == "sample_weight":
            sample_weight[row] = 0
        elif how == "probabilities":
            if "smoothing" in way:
                sample_weight[row] = 0
            target[row] = 0
        else:
            target[row] = np.eye(n_classes)[1] if target.ndim == 2 else 1
    if class_weight is not None and target.ndim == 1:
        nothing |= target == 1
    x[nothing] = np.resize(BAD, nothing.sum())[:, None]
    x[nothing, ::2] *= -1
    smoothing = 0.3 if "smoothing" in way else 0.0
    criterion = CrossEntropy(class_weight, smoothing, -100)
    assert 0 < nothing.sum() < n_rows
    return Case(x, target, weight, bias, criterion, sample_weight, nothing)


@pytest.fixture(
    params=[*itertools.product(SMALL, WAYS), *itertools.product(LARGE, TOGETHER)],
    ids=lambda case: f"{shape_id(case[0])}-{case[1]}",
)
def case(request, make_problem):
    shape, way = request.param
    return make_case(make_problem(*shape), way.split(", "))


def loss_and_grad(backend, case, num_threads=None):
    grad_input = np.full(case.x.shape, np.nan, np.float32)
    loss, grad_weight, grad_bias = backend.loss_and_grad(
        *case.arguments, **case.keywords, grad_input=grad_input, num_threads=num_threads
    )
    return np.float64(loss), grad_weight, grad_bias, grad_input


def evaluate(backend, case, num_threads=None):
    losses = np.full(len(case.x), np.nan, np.float32)
    sums = backend.evaluate(
        *case.arguments, **case.keywords, losses=losses, num_threads=num_threads
    )
    return sums, losses


def train_epoch(backend, case, order, batch_size, num_threads=None):
    weight, bias = case.weight.copy(), case.bias.copy()
    sgd, velocity = SGDSettings(lr=0.1, momentum=0.9, weight_decay=0.01), Velocity.of(weight, bias)
    sums = backend.train_epoch(
        *(case.x, case.target, order, batch_size, weight, bias, sgd, velocity),
        **case.keywords,
        num_threads=num_threads,
    )
    return sums, weight, bias


def test_as_without_them(backend, case):
    without = case.kept()
    loss, *gradients, grad_input = loss_and_grad(backend, case)
    true_loss, *true_gradients, true_grad_input = loss_and_grad(backend, without)
    assert loss == pytest.approx(true_loss, rel=1e-6)
    assert not grad_input[case.nothing].any()
    for ours, true in zip(
        (*gradients, grad_input[~case.nothing]), (*true_gradients, true_grad_input), strict=True
    ):
        np.testing.assert_allclose(ours, true, atol=4e-6 * np.abs(true).max(), rtol=0)

    sums, losses = evaluate(backend, case)
    true_sums, true_losses = evaluate(backend, without)
    assert not losses[case.nothing].any()
    np.testing.assert_allclose(losses[~case.nothing], true_losses, rtol=1e-5, atol=1e-5)
    assert sums.loss == pytest.approx(true_sums.loss, rel=1e-6)
    assert (sums.correct, sums.counted) == (true_sums.correct, true_sums.counted)
    assert sums.counted == (~case.nothing).sum()
    # with probabilities a mean is over the number of rows
    extra = 0.0
    if case.target.ndim == 2:
        weights = np.ones(len(case.x)) if case.sample_weight is None else case.sample_weight
        extra = weights[case.nothing].sum()
    assert sums.total_weight == pytest.approx(true_sums.total_weight + extra, rel=1e-6)


def test_train_step_as_without_them(backend, case):
    sums, *trained = train_epoch(backend, case, None, len(case.x))
    without = case.kept()
    true_sums, *true_trained = train_epoch(backend, without, None, len(without.x))
    assert (sums.correct, sums.counted) == (true_sums.correct, true_sums.counted)
    if sums.total_weight == pytest.approx(true_sums.total_weight):
        for ours, true in zip(trained, true_trained, strict=True):
            np.testing.assert_allclose(ours, true, atol=4e-6 * np.abs(true).max(), rtol=0)
    assert all(np.isfinite(array).all() for array in trained)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_what_they_hold_changes_no_bit(backend, case, num_threads):
    order = np.random.default_rng(2).integers(0, len(case.x), len(case.x) + 11)
    results = []
    for each in (case, case.with_numbers()):
        arrays = [*loss_and_grad(backend, each, num_threads)]
        sums, losses = evaluate(backend, each, num_threads)
        arrays += [np.array(sums), losses]
        for positions, batch_size in ((order, 50), (order[:30], 3), (None, len(case.x))):
            sums, *trained = train_epoch(backend, each, positions, batch_size, num_threads)
            arrays += [np.array(sums), *trained]
        assert all(np.isfinite(array).all() for array in arrays)
        results.append([array.tobytes() for array in arrays])
    assert results[0] == results[1]


@pytest.mark.parametrize("way", ["ignored", "sample_weight", "probabilities"])
@pytest.mark.parametrize("shape", [SMALL[0], *LARGE], ids=shape_id)
def test_nothing_but_such_rows(backend, make_problem, shape, way):
    case = make_case(make_problem(*shape), [way])
    case = replace(case.kept(), **{  # all rows as those
        "x": np.full_like(case.x, np.nan),
        "target": np.full_like(case.target, 0 if way != "ignored" else -100),
        "sample_weight": np.zeros(len(case.x), np.float32) if way == "sample_weight" else None,
    })  # fmt: skip
    assert not any(array.any() for array in loss_and_grad(backend, case))
    sums, losses = evaluate(backend, case)
    assert (sums.loss, sums.correct, sums.counted) == (0, 0, 0) and not losses.any()
    weight, bias = case.weight.copy(), case.bias.copy()
    backend.train_step(case.x, case.target, weight, bias, SGDSettings(lr=0.1), **case.keywords)
    assert np.array_equal(weight, case.weight) and np.array_equal(bias, case.bias)


def test_no_class_of_any_weight(backend, make_problem):
    """Smoothing gives parts to all classes, which are nothing then."""
    x, target, weight, bias = make_problem(70, 37, 13)
    x = np.full_like(x, np.nan)
    keywords = {"criterion": CrossEntropy(np.zeros(13), 0.3)}
    grad_input = np.full(x.shape, np.nan, np.float32)
    results = backend.loss_and_grad(x, target, weight, bias, **keywords, grad_input=grad_input)
    assert not any(np.any(result) for result in (*results, grad_input))
    assert tuple(backend.evaluate(x, target, weight, bias, **keywords)) == (0, 0, 0, 0)


def test_smoothing_makes_a_row_count(backend, make_problem):
    """Of a class of weight 0: the others have a part in its loss, so NaN is NaN."""
    x, target, weight, bias = make_problem(70, 37, 13)
    class_weight = np.ones(13)
    class_weight[target[0]] = 0
    keywords = {"criterion": CrossEntropy(class_weight, 0.3)}
    assert backend.evaluate(x, target, weight, bias, **keywords).counted == 70
    x = x.copy()
    x[0] = np.nan
    loss, grad_weight, _ = backend.loss_and_grad(x, target, weight, bias, **keywords)
    assert np.isnan(loss) and np.isnan(grad_weight).all()


def test_rows_that_count_show_their_nan(backend, case):
    case.x[1] = np.nan
    loss, *gradients, grad_input = loss_and_grad(backend, case)
    assert np.isnan(loss) and all(np.isnan(gradient).any() for gradient in gradients)
    assert np.isnan(grad_input[1]).all() and np.isfinite(grad_input[2:]).all()
    sums, losses = evaluate(backend, case)
    assert np.isnan(sums.loss) and np.flatnonzero(np.isnan(losses)).tolist() == [1]
    assert sums.counted == (~case.nothing).sum()


def test_infinite_weight(backend, case):
    """Of one class: logits are no numbers, and rows that count for nothing stay at 0."""
    case = replace(case.with_numbers(), weight=case.weight.copy())
    case.weight[0] = np.inf
    *_, grad_input = loss_and_grad(backend, case)
    assert not grad_input[case.nothing].any() and np.isnan(grad_input[~case.nothing]).any()


@pytest.mark.parametrize("shape", [SMALL[0], LARGE[0]], ids=shape_id)
def test_bytes_that_overflow(backend, shape):
    n_rows, n_features, n_classes = shape
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (n_rows, n_features)).astype(np.uint8)
    target = rng.integers(0, n_classes, n_rows)
    x[::3], target[::3] = 255, -100
    weight = rng.normal(0, 1e-38, (n_classes, n_features)).astype(np.float32)
    bias = np.zeros(n_classes, np.float32)
    kept = target >= 0
    weight[:, 0] = 1
    x[kept, 0] = 0
    results = []
    for rows in (slice(None), kept):
        results.append(
            backend.loss_and_grad(
                *(x[rows], target[rows], weight, bias),
                criterion=CrossEntropy(),
                scale=1e37,
                grad_scale=1e-30,
            )
        )
    for ours, true in zip(*results, strict=True):
        assert np.isfinite(true).all()
        np.testing.assert_allclose(ours, true, rtol=1e-5, atol=4e-6 * np.abs(true).max())


# ---- the functions that people call ----


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("positions", [(), (2,), (2, 3)])
def test_linear_cross_entropy(reduction, positions, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 7)).astype(dtype)
    weight = rng.standard_normal((5, *positions, 7)).astype(dtype)
    bias = rng.standard_normal((5, *positions)).astype(dtype)
    target = rng.integers(0, 5, (20, *positions))
    target[::3] = -100
    kept = np.arange(20) % 3 > 0
    x[~kept] = np.nan
    options = {"linear_bias": bias, "reduction": reduction}
    loss = fs.linear_cross_entropy(x, weight, target, **options)
    true_loss = fs.linear_cross_entropy(x[kept], weight, target[kept], **options)
    grad = fs.linear_cross_entropy_grad(x, weight, target, grad_input=True, **options)
    true = fs.linear_cross_entropy_grad(x[kept], weight, target[kept], grad_input=True, **options)
    if reduction == "none":
        assert not loss[~kept].any() and not grad.loss[~kept].any()
        loss, grad = loss[kept], grad._replace(loss=grad.loss[kept])
    assert not grad.grad_input[~kept].any()
    grad = grad._replace(grad_input=grad.grad_input[kept])
    for ours, theirs in zip((loss, *grad), (true_loss, *true), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_row_ignored_at_one_position(dtype):
    """Of a K-dimensional loss: the other position's gradient is NaN, its own is not."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((6, 4)).astype(dtype), rng.standard_normal((3, 2, 4))
    target = rng.integers(0, 3, (6, 2))
    x[2], target[2, 0] = np.nan, -100
    grad = fs.linear_cross_entropy_grad(x, weight.astype(dtype), target, reduction="sum")
    assert np.isfinite(grad.grad_weight[:, 0]).all() and np.isnan(grad.grad_weight[:, 1]).all()


def test_grad_output_of_0(dtype):
    """What the losses are used for with factor 0 has no part in the gradients."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((6, 4)).astype(dtype), rng.standard_normal((3, 4))
    x[2] = np.nan
    grad = fs.linear_cross_entropy_grad(
        x, weight.astype(dtype), rng.integers(0, 3, 6), reduction="none", grad_input=True,
        grad_output=[1, 1, 0, 1, 1, 1],
    )  # fmt: skip
    assert np.flatnonzero(np.isnan(grad.loss)).tolist() == [2]
    assert np.isfinite(grad.grad_weight).all() and not grad.grad_input[2].any()


@pytest.mark.parametrize("value", BAD)
def test_losses_of_logits(value, dtype):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((20, 5)).astype(dtype)
    target = rng.integers(1, 5, 20)
    probabilities = rng.dirichlet(np.ones(5), 20)
    bad = np.arange(20) % 3 == 0
    logits[bad], probabilities[bad] = value, 0
    logits[bad, 0] = -value
    class_weight = np.array([0, 1, 2, 1, 1])
    for given, keywords in (
        (np.where(bad, -100, target), {}),
        (np.where(bad, -100, target), {"label_smoothing": 0.1}),
        (np.where(bad, 0, target), {"weight": class_weight}),
        (probabilities, {}),
    ):
        losses = fs.cross_entropy(logits, given, reduction="none", **keywords)
        assert not losses[bad].any() and np.isfinite(losses).all() and losses[~bad].all()
        total = fs.cross_entropy(logits, given, reduction="sum", **keywords)
        without = fs.cross_entropy(logits[~bad], given[~bad], reduction="sum", **keywords)
        assert total == pytest.approx(without, rel=1e-6)
        if given.ndim == 1 and not keywords.get("label_smoothing"):
            losses = fs.nll_loss(logits, given, reduction="none", **keywords)
            assert not losses[bad].any() and np.isfinite(losses).all()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_step(momentum, dtype):
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((20, 7)).astype(dtype), rng.integers(0, 3, 20)
    bad = np.arange(20) % 3 == 0
    x[bad], target[bad] = np.nan, -100
    states = []
    for rows in (slice(None), ~bad):
        weight, bias = np.ones((3, 7), dtype), np.ones(3, dtype)
        sgd = fs.SGD(weight, bias, lr=0.1, momentum=momentum)
        loss = sgd.step(x[rows], target[rows])
        velocity = Velocity.of(weight, bias)
        loss += fs.sgd_step(
            *(x[rows], target[rows], weight, bias), lr=0.1, momentum=momentum, velocity=velocity
        )
        states.append((loss, weight, bias))
    for ours, true in zip(*states, strict=True):
        np.testing.assert_allclose(ours, true, rtol=1e-5)


@pytest.mark.parametrize("backend_name", fs.backends.BACKENDS)
@pytest.mark.parametrize("how", ["ignore_index", "sample_weight", "class_weight"])
def test_train(backend_name, how, need_backend):
    need_backend(backend_name)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 4), np.float32), rng.integers(0, 3, 60)
    bad = np.arange(60) % 4 == 0
    options = {"epochs": 3, "batch_size": 60, "shuffle": False, "backend": backend_name}
    y[bad], y[1:4] = 2, range(3)
    if how == "ignore_index":
        y[bad], given = 9, {"ignore_index": 9}
    elif how == "sample_weight":
        given = {"sample_weight": np.where(bad, 0.0, 1.0)}
    else:
        bad, given = y == 2, {"class_weight": {2: 0}}
    results = []
    for value in (np.nan, 0.5):
        X[bad] = value
        result = fs.train((X, y), **options, **given)
        results.append((result.model.weight, result.history.train_loss))
        assert result.history.train_accuracy[-1] <= 1
    assert np.isfinite(results[0][0]).all() and np.array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    if how == "sample_weight":
        kept = fs.train((X[~bad], y[~bad]), **options)
        np.testing.assert_allclose(kept.model.weight, results[0][0], rtol=1e-4, atol=1e-6)
        assert kept.history.train_accuracy == result.history.train_accuracy
