"""Steps and epochs of every backend against torch.optim.SGD on torch.nn.Linear and cross_entropy.

PyTorch in float64 is the truth; our error may exceed that of PyTorch in float32 by TOLERANCE.
"""

import itertools

import numpy as np
import pytest

from fastsoftmax.optim import SGDSettings, Velocity
from helpers import assert_as_good, make_problem, shape_id

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # its threads and ours on the same cores slow each other down tenfold

TOLERANCE = 1e-6  # 17 roundings of float32, relative to the largest true value

OPTIONS = {
    "plain": {},
    "weight_decay": {"weight_decay": 0.05},
    "momentum": {"momentum": 0.9},
    "dampening": {"momentum": 0.9, "dampening": 0.4},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "momentum and weight_decay": {"momentum": 0.7, "dampening": 0.2, "weight_decay": 0.05},
    "nesterov and weight_decay": {"momentum": 0.7, "nesterov": True, "weight_decay": 0.05},
    "l1": {"l1": 0.3},
    "l1, momentum and weight_decay": {"momentum": 0.7, "weight_decay": 0.05, "l1": 0.3},
    "l1 and nesterov": {"momentum": 0.7, "nesterov": True, "l1": 0.3},
}
LR = 0.02  # small enough that rounding errors do not grow with the steps


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS)
def options(request):
    return request.param


@pytest.fixture(params=[(64, 17, 3), (257, 784, 10)], ids=shape_id)
def problem(request, row_type):
    return make_problem(*request.param, row_type)


class Torch:
    """torch.nn.Linear in training, from the problem's parameters."""

    def __init__(self, problem, dtype, decay_bias=True, l1=0.0, **options):
        self.l1 = l1
        self.x = torch.tensor(problem.x).to(dtype) * problem.scale
        self.target = torch.tensor(problem.target)
        n_classes, n_features = problem.weight.shape
        self.linear = torch.nn.Linear(n_features, n_classes, dtype=dtype)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor(problem.weight))
            self.linear.bias.copy_(torch.tensor(problem.bias))
        bias = {"params": [self.linear.bias]}
        if not decay_bias:
            bias["weight_decay"] = 0
        self.sgd = torch.optim.SGD([{"params": [self.linear.weight]}, bias], lr=LR, **options)

    def step(self, batch=slice(None)):
        """One step over those rows; mean loss and correct predictions before it."""
        logits, target = self.linear(self.x[batch]), self.target[batch]
        loss = torch.nn.functional.cross_entropy(logits, target)
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()
        if self.l1:  # the proximal step, as it is written beside an optimizer
            with torch.no_grad():
                w = self.linear.weight
                w.copy_(w.sign() * (w.abs() - self.sgd.param_groups[0]["lr"] * self.l1).relu())
        return loss.item(), (logits.argmax(dim=1) == target).sum().item()

    def arrays(self):
        """Weight, bias and, where there is momentum, their velocities."""
        parameters = (self.linear.weight, self.linear.bias)
        buffers = (self.sgd.state[p].get("momentum_buffer") for p in parameters)
        return [a.detach().numpy() for a in (*parameters, *buffers) if a is not None]


class Ours:
    def __init__(self, problem, backend, **options):
        self.problem, self.backend = problem, backend
        self.weight, self.bias = problem.parameters()
        self.sgd = SGDSettings(lr=LR, **options)
        self.velocity = Velocity.of(self.weight, self.bias) if self.sgd.momentum else None

    def step(self):
        loss, correct, *_ = self.backend.train_step(
            self.problem.x,
            self.problem.target,
            self.weight,
            self.bias,
            self.sgd,
            self.velocity,
            scale=self.problem.scale,
        )
        return loss / len(self.problem.target), correct

    def arrays(self):
        velocity = [] if self.velocity is None else [self.velocity.weight, self.velocity.bias]
        return [self.weight, self.bias, *velocity]


def assert_all_as_good(ours, float32, truth, tolerance=TOLERANCE):
    triples = zip(ours.arrays(), float32.arrays(), truth.arrays(), strict=True)
    for our_array, float32_array, true_array in triples:
        assert_as_good(our_array, float32_array, true_array, tolerance)


@pytest.mark.parametrize("n_steps", [1, 5])
def test_steps(n_steps, problem, options, backend):
    ours = Ours(problem, backend, **options)
    float32 = Torch(problem, torch.float32, **options)
    truth = Torch(problem, torch.float64, **options)
    losses = []
    for _ in range(n_steps):
        (loss, correct), (float32_loss, _), (true_loss, true_correct) = (
            one.step() for one in (ours, float32, truth)
        )
        losses.append((loss, float32_loss, true_loss))
        assert correct == true_correct
    assert len(truth.arrays()) == (4 if "momentum" in options else 2)
    assert_all_as_good(ours, float32, truth)
    assert_as_good(*zip(*losses, strict=True), TOLERANCE)


def test_undecayed_bias(row_type, backend):
    problem = make_problem(64, 17, 3, row_type)
    options = {"momentum": 0.9, "weight_decay": 0.3, "decay_bias": False}
    ours = Ours(problem, backend, **options)
    float32 = Torch(problem, torch.float32, **options)
    truth = Torch(problem, torch.float64, **options)
    for _ in range(3):
        ours.step(), float32.step(), truth.step()
    assert_all_as_good(ours, float32, truth)


def test_changing_lr(backend):
    problem = make_problem(64, 17, 3)
    options = {"momentum": 0.9, "nesterov": True}
    ours = Ours(problem, backend, **options)
    float32 = Torch(problem, torch.float32, **options)
    truth = Torch(problem, torch.float64, **options)
    for lr in (0.1, 0.02, 0.05):
        ours.sgd = SGDSettings(lr=lr, **options)
        for one in (float32, truth):
            for group in one.sgd.param_groups:
                group["lr"] = lr
        ours.step(), float32.step(), truth.step()
    assert_all_as_good(ours, float32, truth)


@pytest.mark.parametrize("batch_size", [64, 256])
def test_a_shuffled_epoch(batch_size, row_type, options, backend):
    problem = make_problem(1000, 97, 10, row_type)
    order = np.random.default_rng(0).permutation(1000)
    ours = Ours(problem, backend, **options)
    loss, correct, *_ = backend.train_epoch(
        problem.x,
        problem.target,
        order,
        batch_size,
        ours.weight,
        ours.bias,
        ours.sgd,
        ours.velocity,
        scale=problem.scale,
    )
    results = []
    for dtype in (torch.float32, torch.float64):
        peer = Torch(problem, dtype, **options)
        total, total_correct = 0.0, 0
        for begin in range(0, 1000, batch_size):
            batch = order[begin : begin + batch_size]
            mean, batch_correct = peer.step(torch.tensor(batch))
            total += mean * len(batch)
            total_correct += batch_correct
        results.append((peer, total, total_correct))
    (float32, float32_loss, _), (truth, true_loss, true_correct) = results
    assert correct == true_correct
    assert_as_good(loss, float32_loss, true_loss, TOLERANCE)
    assert_all_as_good(ours, float32, truth)


@pytest.mark.parametrize(
    "logits", list(itertools.product([0, 1, -np.inf, np.inf, np.nan], repeat=3)), ids=str
)
def test_softmax_of_every_kind_of_number(logits, backend):
    z = np.array([logits], np.float32)
    for name in ("softmax", "log_softmax"):
        expected = getattr(torch, name)(torch.tensor(z), dim=1).numpy()
        np.testing.assert_allclose(getattr(backend, name)(z), expected, rtol=3e-7, err_msg=name)
