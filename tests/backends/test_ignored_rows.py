"""Rows that count for nothing, be they NaN or infinite: as if they were not there, in every
function of every backend, by rows and by tiles."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest

from fastsoftmax.optim import SGDSettings, Velocity
from fastsoftmax.settings import CrossEntropy
from helpers import make_problem, shape_id

# (N, D, K). SMALL go by rows, with full blocks and not, of one class block and of more; the last
# has fewer rows than classes. LARGE go by tiles; threads share their rows or their classes.
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


@dataclass(frozen=True, eq=False)
class Case:
    """A problem in which the rows of `nothing` count for nothing, and hold no numbers."""

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
        """The case with other numbers in these rows."""
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
def case(request):
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
    # if targets are probabilities, a mean divides by the number of rows
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
def test_nothing_but_such_rows(backend, shape, way):
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


def test_no_class_of_any_weight(backend):
    """Smoothing gives a part to every class, so a target of zeros counts."""
    x, target, weight, bias = make_problem(70, 37, 13)
    x = np.full_like(x, np.nan)
    keywords = {"criterion": CrossEntropy(np.zeros(13), 0.3)}
    grad_input = np.full(x.shape, np.nan, np.float32)
    results = backend.loss_and_grad(x, target, weight, bias, **keywords, grad_input=grad_input)
    assert not any(np.any(result) for result in (*results, grad_input))
    assert tuple(backend.evaluate(x, target, weight, bias, **keywords)) == (0, 0, 0, 0)


def test_smoothing_makes_a_row_count(backend):
    """A class of weight 0 is smoothed over the others: its rows count, and NaN is NaN."""
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
    """One class has an infinite weight: rows that count for nothing stay at 0."""
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
