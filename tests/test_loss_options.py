"""Class and sample weights, label smoothing, ignored rows, probabilities for targets, the gradient
of the input and the loss of each row, for every backend.

Truth is the NumPy oracle in float64, itself held to PyTorch in float64; our error may exceed that
of PyTorch in float32, or where it is not installed of NumPy, by TOLERANCE, relative to the largest
true value; that of a loss, relative to the largest logit and weight.
"""

import importlib.util
import itertools
import operator
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
import pytest

from fastsoftmax.backends import numpy as _numpy
from fastsoftmax.optim import SGDSettings, Velocity
from fastsoftmax.problem import Sums
from fastsoftmax.settings import CrossEntropy

TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 2e-6
IGNORED = -100

# class_weight, sample_weight, label_smoothing, ignore_index, probabilities: all combinations, but
# that no probability is ignored
NAMES = "class_weight", "sample_weight", "label_smoothing", "ignore_index", "probabilities"
COMBINATIONS = {
    ", ".join(itertools.compress(NAMES, flags)) or "none": flags
    for flags in itertools.product((False, True), repeat=len(NAMES))
    if not (flags[3] and flags[4])
}
TOGETHER = {
    name: COMBINATIONS[name]
    for name in (
        "none",
        "class_weight, sample_weight, label_smoothing, ignore_index",
        "class_weight, sample_weight, label_smoothing, probabilities",
    )
}

# (N, D, K): partial vectors and class blocks; the job's; more than 1,024 rows, by tiles
SHAPES = [(70, 37, 13), (200, 784, 10), (1100, 97, 700)]


@pytest.fixture(params=SHAPES, ids=lambda shape: "x".join(str(n) for n in shape))
def shape(request):
    return request.param


@dataclass(frozen=True, eq=False)
class Weighed:
    """A problem whose rows are weighed, as a combination says."""

    problem: object
    target: np.ndarray
    criterion: CrossEntropy
    sample_weight: np.ndarray | None

    @property
    def arguments(self):
        return self.problem.x, self.target, self.problem.weight, self.problem.bias

    @property
    def keywords(self):
        return {
            "criterion": self.criterion,
            "sample_weight": self.sample_weight,
            "scale": self.problem.scale,
        }

    def of(self, rows):
        """Rows, targets and keywords of some rows."""
        sample_weight = None if self.sample_weight is None else self.sample_weight[rows]
        return (
            (self.problem.x[rows], self.target[rows]),
            self.keywords | {"sample_weight": sample_weight},
        )


def weigh(problem, flags):
    class_weight, sample_weight, smoothing, ignored, probabilities = flags
    n_rows, n_classes = len(problem.x), len(problem.bias)
    rng = np.random.default_rng([n_rows, n_classes, *flags])
    target = problem.target.copy()
    if ignored:
        target[rng.random(n_rows) < 0.3] = IGNORED
        target[-1] = IGNORED  # beside the rows of padding
    if probabilities:
        target = rng.dirichlet(np.ones(n_classes), n_rows).astype(np.float32)
    weights = rng.uniform(0.1, 3, n_classes).astype(np.float32)
    weights[1] = 0
    sample_weights = rng.uniform(0.1, 3, n_rows).astype(np.float32)
    sample_weights[1::5] = 0
    return Weighed(
        problem,
        target,
        CrossEntropy(weights if class_weight else None, 0.3 if smoothing else 0.0, IGNORED),
        sample_weights if sample_weight else None,
    )


def by_numpy(weighed, dtype):
    problem = weighed.problem
    weight, bias = problem.parameters(dtype)
    grad_input = np.empty(problem.x.shape, dtype)
    losses = np.empty(len(problem.x), dtype)
    arguments = problem.x, weighed.target, weight, bias
    loss, grad_weight, grad_bias = _numpy.loss_and_grad(
        *arguments, **weighed.keywords, grad_input=grad_input
    )
    sums = _numpy.evaluate(*arguments, **weighed.keywords, losses=losses)
    return {
        "loss": loss,
        "losses": losses,
        "grad_weight": grad_weight,
        "grad_bias": grad_bias,
        "grad_input": grad_input,
        "sums": sums,
    }


def by_torch(weighed, dtype):
    import torch

    torch.set_num_threads(1)  # its threads and ours on the same cores slow each other down
    problem, criterion = weighed.problem, weighed.criterion
    dtype = getattr(torch, np.dtype(dtype).name)
    x, weight, bias = (
        torch.tensor(array).to(dtype).requires_grad_()
        for array in (problem.x, problem.weight, problem.bias)
    )
    class_weight = criterion.class_weight
    target = torch.tensor(weighed.target)
    losses = torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(x * problem.scale, weight, bias),
        target.to(dtype) if target.is_floating_point() else target,
        weight=None if class_weight is None else torch.tensor(class_weight).to(dtype),
        label_smoothing=criterion.label_smoothing,
        ignore_index=criterion.ignore_index,
        reduction="none",
    )
    if weighed.sample_weight is not None:
        losses = losses * torch.tensor(weighed.sample_weight).to(dtype)
    losses.sum().backward()
    return {
        "loss": losses.double().sum().item(),
        "losses": losses.detach().numpy(),
        "grad_weight": weight.grad.numpy(),
        "grad_bias": bias.grad.numpy(),
        "grad_input": x.grad.numpy(),
    }


@lru_cache(maxsize=64)
def _answers(problem, flags):
    weighed = weigh(problem, flags)
    plain = by_torch if importlib.util.find_spec("torch") else by_numpy
    return weighed, by_numpy(weighed, np.float64), plain(weighed, np.float32)


@pytest.fixture(params=COMBINATIONS.values(), ids=COMBINATIONS)
def answers(request, make_problem, shape, row_type):
    """What is asked, the truth, and how PyTorch does in float32."""
    return _answers(make_problem(*shape, row_type), request.param)


@pytest.fixture(params=TOGETHER.values(), ids=TOGETHER)
def weighed(request, make_problem, shape, row_type):
    return weigh(make_problem(*shape, row_type), request.param)


def parameters(weighed, momentum=0.9):
    """SGD, and weight, bias and velocity to train."""
    weight, bias = weighed.problem.parameters()
    sgd = SGDSettings(lr=0.1, momentum=momentum, weight_decay=0.01)
    return weight, bias, sgd, Velocity.of(weight, bias) if momentum else None


def bits(weight, bias, _, velocity):
    arrays = [weight, bias, *((velocity.weight, velocity.bias) if velocity else ())]
    return [array.tobytes() for array in arrays]


# ---- the values ----


def test_the_oracle_is_pytorch(answers):
    pytest.importorskip("torch")
    weighed, truth, _ = answers
    for name, value in by_torch(weighed, np.float64).items():
        np.testing.assert_allclose(truth[name], value, rtol=1e-11, atol=1e-11, err_msg=name)


def test_values(backend, answers, assert_as_good):
    weighed, truth, float32 = answers
    grad_input = np.full(weighed.problem.x.shape, np.nan, np.float32)
    losses = np.full(len(weighed.target), np.nan, np.float32)
    loss, grad_weight, grad_bias = backend.loss_and_grad(
        *weighed.arguments, **weighed.keywords, grad_input=grad_input
    )
    sums = backend.evaluate(*weighed.arguments, **weighed.keywords, losses=losses)

    largest = max(1.0, truth["losses"].max())
    assert_as_good(loss, float32["loss"], truth["loss"], TOLERANCE, largest * len(losses))
    assert_as_good(losses, float32["losses"], truth["losses"], TOLERANCE, largest)
    for name, ours in (
        ("grad_weight", grad_weight),
        ("grad_bias", grad_bias),
        ("grad_input", grad_input),
    ):
        assert_as_good(ours, float32[name], truth[name], GRADIENT_TOLERANCE)

    assert isinstance(sums, Sums)
    assert sums.loss == pytest.approx(loss, rel=1e-12)
    assert (sums.correct, sums.counted) == (truth["sums"].correct, truth["sums"].counted)
    assert sums.total_weight == pytest.approx(truth["sums"].total_weight, rel=1e-6)
    assert [type(value) for value in (sums.correct, sums.counted)] == [int, int]


@pytest.mark.parametrize(
    "flags",
    [flags for flags in COMBINATIONS.values() if flags[3]],
    ids=[name for name, flags in COMBINATIONS.items() if flags[3]],
)
def test_ignored_rows_count_for_nothing(backend, make_problem, shape, flags):
    """Their losses and gradients are just 0, and they could as well not be there."""
    weighed = weigh(make_problem(*shape), flags)
    kept = weighed.target >= 0
    grad_input = np.empty(weighed.problem.x.shape, np.float32)
    losses = np.empty(len(kept), np.float32)
    _, *gradients = backend.loss_and_grad(
        *weighed.arguments, **weighed.keywords, grad_input=grad_input
    )
    sums = backend.evaluate(*weighed.arguments, **weighed.keywords, losses=losses)
    assert not losses[~kept].any() and not grad_input[~kept].any()
    assert losses[kept].any() and grad_input[kept].any()
    (x, target), keywords = weighed.of(kept)
    parameters = weighed.problem.weight, weighed.problem.bias
    _, *without = backend.loss_and_grad(x, target, *parameters, **keywords)
    sums_without = backend.evaluate(x, target, *parameters, **keywords)
    assert sums == pytest.approx(sums_without, rel=1e-6)
    if weighed.sample_weight is not None:  # 0 of some rows, which count for nothing either
        kept &= weighed.sample_weight > 0
    if weighed.criterion.class_weight is not None and not weighed.criterion.label_smoothing:
        kept[kept] = weighed.criterion.class_weight[weighed.target[kept]] > 0
    assert sums.counted == kept.sum()
    for with_them, without_them in zip(gradients, without, strict=True):
        size = np.abs(without_them).max()
        np.testing.assert_allclose(with_them, without_them, atol=4e-6 * size, rtol=0)


# ---- bit for bit ----


def test_plain_criterion_changes_nothing(backend, make_problem, shape, row_type):
    problem = make_problem(*shape, row_type)
    results = []
    for keywords in ({}, {"criterion": CrossEntropy()}):
        state = problem.parameters()
        sums = backend.train_epoch(
            *(problem.x, problem.target, None, 64, *state, SGDSettings(lr=0.1)),
            **keywords,
            scale=problem.scale,
        )
        results.append((sums, *(array.tobytes() for array in state)))
    assert results[0] == results[1]


def test_weights_of_1_change_little(backend, make_problem, shape, row_type):
    """Another way through the kernels, to the same numbers."""
    problem = make_problem(*shape, row_type)
    n_rows, _, n_classes = shape
    onehot = np.eye(n_classes, dtype=np.float32)[problem.target]
    plain = backend.loss_and_grad(*problem, scale=problem.scale)
    for target, keywords in (
        (problem.target, {"sample_weight": np.ones(n_rows)}),
        (problem.target, {"criterion": CrossEntropy(np.ones(n_classes))}),
        (onehot, {}),
    ):
        results = backend.loss_and_grad(
            problem.x, target, problem.weight, problem.bias, **keywords, scale=problem.scale
        )
        assert results[0] == pytest.approx(plain[0], rel=1e-6)
        for ours, theirs in zip(results[1:], plain[1:], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-6 * np.abs(theirs).max(), rtol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_train_step_is_its_parts(backend, weighed, momentum):
    fused, parts = parameters(weighed, momentum), parameters(weighed, momentum)
    x, target = weighed.arguments[:2]
    for _ in range(2):
        before = backend.evaluate(x, target, *fused[:2], **weighed.keywords)
        sums = backend.train_step(x, target, *fused, **weighed.keywords)
        loss, *gradients = backend.loss_and_grad(x, target, *parts[:2], **weighed.keywords)
        weight, bias, sgd, velocity = parts
        backend.sgd_update(weight, bias, *gradients, sums.total_weight or 1, sgd, velocity)
        assert sums.loss == loss
        assert bits(*fused) == bits(*parts)
        assert sums[1::2] == before[1::2]
        assert sums == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("batch_size", [64, 1060])
def test_train_epoch_is_a_loop_of_train_step(backend, weighed, batch_size):
    n_rows = len(weighed.target)
    rng = np.random.default_rng(0)
    whole, steps = parameters(weighed), parameters(weighed)
    x, target = weighed.arguments[:2]
    for order in (rng.permutation(n_rows), rng.integers(0, n_rows, n_rows + batch_size // 2)):
        sums = backend.train_epoch(*(x, target, order, batch_size, *whole), **weighed.keywords)
        parts = []
        for i in range(0, len(order), batch_size):
            arrays, keywords = weighed.of(order[i : i + batch_size])
            parts.append(backend.train_step(*arrays, *steps, **keywords))
        assert bits(*whole) == bits(*steps)
        assert sums == tuple(reduce(operator.add, part, 0.0) for part in zip(*parts, strict=True))


def everything(backend, weighed, num_threads):
    """Bits of all that depends on the options."""
    keywords = weighed.keywords | {"num_threads": num_threads}
    state = parameters(weighed)
    grad_input = np.empty(weighed.problem.x.shape, np.float32)
    losses = np.empty(len(weighed.target), np.float32)
    order = np.random.default_rng(0).permutation(len(losses))
    results = [
        backend.train_epoch(*weighed.arguments[:2], order, 150, *state, **keywords),
        backend.evaluate(*weighed.arguments, **keywords, losses=losses),
        *backend.loss_and_grad(*weighed.arguments, **keywords, grad_input=grad_input),
        losses,
        grad_input,
    ]
    return [
        result.tobytes() if isinstance(result, np.ndarray) else result for result in results
    ] + bits(*state)


def test_same_bits_for_any_number_of_threads(backend, weighed):
    expected = everything(backend, weighed, 1)
    for num_threads in (2, 3, 4, 5):
        assert everything(backend, weighed, num_threads) == expected


def test_outputs_change_nothing_else(backend, weighed):
    grad_input = np.empty(weighed.problem.x.shape, np.float32)
    losses = np.empty(len(weighed.target), np.float32)
    with_them = (
        *backend.loss_and_grad(*weighed.arguments, **weighed.keywords, grad_input=grad_input),
        backend.evaluate(*weighed.arguments, **weighed.keywords, losses=losses),
    )
    without = (
        *backend.loss_and_grad(*weighed.arguments, **weighed.keywords),
        backend.evaluate(*weighed.arguments, **weighed.keywords),
    )
    for ours, theirs in zip(with_them, without, strict=True):
        assert np.array_equal(ours, theirs)


# ---- where nothing weighs ----


def test_all_rows_ignored(backend, make_problem, shape, row_type):
    problem = make_problem(*shape, row_type)
    x, _, weight, bias = problem
    target = np.full(len(x), 7)
    keywords = {"criterion": CrossEntropy(ignore_index=7, label_smoothing=0.1), "scale": 0.5}
    grad_input, losses = np.ones(x.shape, np.float32), np.ones(len(x), np.float32)
    loss, *gradients = backend.loss_and_grad(
        x, target, weight, bias, **keywords, grad_input=grad_input
    )
    assert loss == 0
    for array in (*gradients, grad_input):
        assert not array.any()
    nothing = Sums(0.0, 0, 0.0, 0)
    assert backend.evaluate(x, target, weight, bias, **keywords, losses=losses) == nothing
    assert not losses.any()
    new = problem.parameters()
    assert (
        backend.train_step(x, target, *new, SGDSettings(lr=0.5, weight_decay=0.5), **keywords)
        == nothing
    )
    np.testing.assert_allclose(new[0], 0.75 * weight, rtol=1e-6)  # it decays all the same
    np.testing.assert_allclose(new[1], 0.75 * bias, rtol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_batch_of_weight_0(backend, make_problem, shape, momentum):
    """It changes nothing but by what momentum there was; the batches around it do."""
    problem = make_problem(*shape)
    x, target, weight, bias = problem
    sample_weight = np.ones(len(x), np.float32)
    sample_weight[:50] = 0
    keywords = {"sample_weight": sample_weight, "scale": problem.scale}
    sgd = SGDSettings(lr=0.1, momentum=momentum)
    new = problem.parameters()
    velocity = Velocity.of(*new) if momentum else None
    sums = backend.train_epoch(x, target, np.arange(50), 50, *new, sgd, velocity, **keywords)
    assert (sums.loss, sums.total_weight, sums.counted) == (0, 0, 0)
    assert np.array_equal(new[0], weight) and np.array_equal(new[1], bias)
    backend.train_epoch(x, target, None, 50, *new, sgd, velocity, **keywords)
    assert np.isfinite(new[0]).all() and not np.array_equal(new[0], weight)


def test_classes_of_coefficient_0(backend, make_problem, row_type):
    """They have no part in the loss, be their logit -infinity; others make it infinite."""
    problem = make_problem(70, 37, 13, row_type)
    x, target, weight, bias = problem
    bias = bias.copy()
    bias[[2, 5]] = -np.inf
    absent = (target == 2) | (target == 5)
    assert 3 < absent.sum() < 60
    class_weight = np.ones(13)
    class_weight[[2, 5]] = 0
    probabilities = np.full((70, 13), 1 / 11, np.float32)
    probabilities[:, [2, 5]] = 0
    for given, criterion, finite in (
        (target, CrossEntropy(class_weight), np.ones(70, bool)),
        (target, CrossEntropy(class_weight, 0.1), np.ones(70, bool)),
        (target, CrossEntropy(np.ones(13)), ~absent),
        (target, CrossEntropy(), ~absent),
        (target, CrossEntropy(label_smoothing=0.1), np.zeros(70, bool)),
        (probabilities, CrossEntropy(), np.ones(70, bool)),
        (probabilities, CrossEntropy(class_weight, 0.1), np.ones(70, bool)),
        (probabilities, CrossEntropy(label_smoothing=0.1), np.zeros(70, bool)),
    ):
        keywords = {"criterion": criterion, "scale": problem.scale}
        losses = np.empty(70, np.float32)
        true_losses = np.empty(70)
        backend.evaluate(x, given, weight, bias, **keywords, losses=losses)
        _numpy.evaluate(
            *(x, given, weight.astype(float), bias.astype(float)), **keywords, losses=true_losses
        )
        assert (np.isfinite(losses) == finite).all()
        assert (losses[~finite] == np.inf).all()
        np.testing.assert_allclose(losses, true_losses, rtol=1e-5, atol=1e-5)
        _, *gradients = backend.loss_and_grad(x, given, weight, bias, **keywords)
        truth = _numpy.loss_and_grad(
            x, given, weight.astype(float), bias.astype(float), **keywords
        )[1:]
        for ours, true in zip(gradients, truth, strict=True):
            np.testing.assert_allclose(ours, true, atol=1e-5 * np.abs(true).max())


def test_nan_is_no_right_prediction(backend, make_problem):
    problem = make_problem(70, 37, 13)
    x, target, weight, bias = problem
    x = x.copy()
    x[::2, 3] = np.nan
    losses = np.empty(70, np.float32)
    sample_weight = np.full(70, 0.5)
    sums = backend.evaluate(x, target, weight, bias, sample_weight=sample_weight, losses=losses)
    assert np.isnan(losses).tolist() == [True, False] * 35
    assert np.isnan(sums.loss)
    assert sums.correct == ((x @ weight.T + bias).argmax(axis=1) == target)[1::2].sum() > 0
    x[::2] = np.nan
    ignoring = CrossEntropy(ignore_index=-1, label_smoothing=0.1)
    target = np.where(np.arange(70) % 2 == 0, -1, target)
    sums = backend.evaluate(x, target, weight, bias, criterion=ignoring, losses=losses)
    assert np.isfinite(sums.loss) and not losses[::2].any() and losses[1::2].all()


# ---- targets ----


def test_the_first_largest_probability_is_the_target(backend):
    x = np.eye(4, dtype=np.float32)
    weight, bias = np.eye(4, dtype=np.float32), np.zeros(4, np.float32)  # row i is of class i
    probabilities = np.array(
        [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.2, 0.4, 0.2], [0.25] * 4], np.float32
    )
    sums = backend.evaluate(x, probabilities, weight, bias)
    assert (sums.correct, sums.total_weight, sums.counted) == (2, 4, 4)
    # probabilities are not ignored, and their weight is not that of their class
    criterion = CrossEntropy(np.array([5, 5, 5, 5]), ignore_index=0)
    sums = backend.evaluate(
        x, probabilities, weight, bias, criterion=criterion, sample_weight=[1, 2, 3, 4]
    )
    assert (sums.correct, sums.total_weight, sums.counted) == (2, 10, 4)


def test_a_class_can_be_ignored(backend, make_problem):
    problem = make_problem(70, 37, 13)
    x, target, weight, bias = problem
    sums = backend.evaluate(x, target, weight, bias, criterion=CrossEntropy(ignore_index=3))
    truth = _numpy.evaluate(
        *(x, target, weight.astype(float), bias.astype(float)),
        criterion=CrossEntropy(ignore_index=3),
    )
    assert sums.counted == (target != 3).sum() < 70
    assert sums.correct == truth.correct
    assert sums.loss == pytest.approx(truth.loss, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_of_other_types(backend, make_problem, dtype):
    problem = make_problem(70, 37, 13)
    x, target, weight, bias = problem
    probabilities = (np.eye(13)[target] * 0.5 + 0.5 / 13).round(2).astype(np.float16).astype(dtype)
    losses = [
        backend.evaluate(x, given, weight, bias).loss
        for given in (probabilities, probabilities.astype(np.float32))
    ]
    assert losses[0] == losses[1] > 0
    assert backend.evaluate(x, np.asfortranarray(probabilities), weight, bias).loss == losses[0]


def test_pictures(backend):
    """Trailing dimensions are flattened; grad_input is (N, D)."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (70, 4, 5), np.uint8)
    weight = rng.standard_normal((3, 20), np.float32)
    bias, target = np.zeros(3, np.float32), rng.integers(0, 3, 70)
    results = []
    for given in (x, x.reshape(70, 20)):
        grad_input = np.empty((70, 20), np.float32)
        backend.loss_and_grad(given, target, weight, bias, scale=0.01, grad_input=grad_input)
        results.append(grad_input.tobytes())
    assert results[0] == results[1] and np.frombuffer(results[0], np.float32).any()
