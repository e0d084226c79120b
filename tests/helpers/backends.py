"""Calls of every function of a backend, and problems whose rows are weighed."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass

import numpy as np

from fastsoftmax.backends import Backend
from fastsoftmax.optim import SGDSettings, Velocity
from fastsoftmax.settings import CrossEntropy

# ---- calls ----


FUNCTIONS = [name for name, member in vars(Backend).items() if callable(member) and name[0] != "_"]
UPDATING = ("sgd_update", "train_step", "train_epoch")
MOMENTUM = SGDSettings(lr=0.1, momentum=0.9)

N, D, K = 6, 3, 4  # of the arguments below


def parameters_of(function):
    """Name, kind and default of each parameter."""
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters if p.name != "self"]


def arguments(sgd):
    """Good arguments for all functions, by name."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((K, D)).astype(np.float32)
    bias = rng.standard_normal(K).astype(np.float32)
    return {
        "x": rng.standard_normal((N, D)).astype(np.float32),
        "target": np.arange(N) % K,
        "order": np.arange(N),
        "lr": None,
        "batch_size": 4,
        "total_weight": 4.0,
        "weight": weight,
        "bias": bias,
        "grad_weight": np.ones_like(weight),
        "grad_bias": np.ones_like(bias),
        "sgd": sgd,
        "velocity": Velocity.of(weight, bias) if sgd.momentum else None,
        "logits": rng.standard_normal((N, K)).astype(np.float32),
        "criterion": CrossEntropy(),
        "sample_weight": None,
        "grad_input": None,
        "grad_scale": 1.0,
        "losses": None,
        "scale": 0.5,
        "num_threads": 1,
    }


def call(backend, function, given):
    """Calls the function of that name with what it takes of these arguments."""
    return getattr(backend, function)(
        **{name: given[name] for name, _, _ in parameters_of(getattr(Backend, function))}
    )


def users(*parameters, but=()):
    """The functions that take all these parameters."""
    return [
        function
        for function in FUNCTIONS
        if function not in but
        and {name for name, _, _ in parameters_of(getattr(Backend, function))} >= set(parameters)
    ]


# A program that compiles the smallest kernel of the Numba backend
COMPILE_THE_SMALLEST = """
import numpy as np
from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings
w, b = np.ones((2, 3), np.float32), np.ones(2, np.float32)
for _ in range(2):
    get_backend("numba").sgd_update(w, b, w.copy(), b.copy(), 1, SGDSettings(lr=0.25))
assert w[0, 0] == 0.5625
"""


# ---- weighed rows ----


IGNORED = -100

# All combinations of the options of the loss, but for an ignore_index beside probabilities
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


# (N, D, K): vectors and class blocks that are not full; the job's shape; two spans of tiles
WEIGHED_SHAPES = [(70, 37, 13), (200, 784, 10), (1100, 97, 700)]


@dataclass(frozen=True, eq=False)
class Weighed:
    """A problem with options of the loss."""

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
        """Of some rows only: (x, target), and the keywords."""
        sample_weight = None if self.sample_weight is None else self.sample_weight[rows]
        return (
            (self.problem.x[rows], self.target[rows]),
            self.keywords | {"sample_weight": sample_weight},
        )


def weigh(problem, flags):
    """The problem with those of NAMES whose flags are set."""
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


def parameters(weighed, momentum=0.9):
    """What a step trains, in its order: weight, bias, settings of SGD, velocity."""
    weight, bias = weighed.problem.parameters()
    sgd = SGDSettings(lr=0.1, momentum=momentum, weight_decay=0.01)
    return weight, bias, sgd, Velocity.of(weight, bias) if momentum else None


def bits(weight, bias, _, velocity):
    """The bits of what `parameters` gave, after training."""
    arrays = [weight, bias, *((velocity.weight, velocity.bias) if velocity else ())]
    return [array.tobytes() for array in arrays]
