"""The public calls of fastsoftmax, each timed by itself: the child processes of before_after.py.

A case is written "CALL BxDxK OPTION ...", such as "step 256x784x10 uint8". The same file runs with
an older fastsoftmax, so it uses nothing but public names.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.testing import assert_allclose
from numpy.typing import NDArray

import fastsoftmax as fs
from benches.harness.clock import settle, turn
from benches.harness.spec import THREADS
from benches.harness.verification import LossAndGradients, loss_and_gradients, one_hot

Work = Callable[[], object]
Array = NDArray[Any]

OPTIONS = {
    "float32": "rows of float32, as where nothing is said",
    "uint8": "rows of uint8",
    "numba": "by the Numba backend",
    "numpy": "by the NumPy backend",
    "1-thread": f"one thread in place of {THREADS}",
    "momentum": "momentum and weight decay",
    "weighted": "class weights and label smoothing",
    "grad_input": "the gradient of the input too",
}
BATCH = 256  # of an epoch
MOMENTUM = {"momentum": 0.9, "weight_decay": 1e-4}
SMOOTHING = 0.1
# The rate of what is checked, and of what is timed: it leaves the weight where it is.
CHECKED_LR, LR = 0.1, 1e-9


class Case:
    """Random rows with labels from a linear teacher, and how a call is to be made on them."""

    def __init__(self, n: int, d: int, k: int, options: list[str]) -> None:
        unknown = set(options) - set(OPTIONS)
        if unknown:
            raise ValueError(f"{unknown} are no options, expected some of {list(OPTIONS)}")
        self.options = options
        self.x, self.target = _rows(n, d, k, "uint8" in options)  # (B, D), (B,)
        rng = np.random.default_rng(1)
        self.weight = 0.01 * rng.standard_normal((k, d), np.float32)  # (K, D)
        self.bias = np.zeros(k, np.float32)  # (K,)
        self.class_weight = rng.uniform(0.5, 2, k).astype(np.float32)  # (K,)
        self.scale = 1 / 255 if "uint8" in options else 1.0
        self.threads = 1 if "1-thread" in options else THREADS

    @property
    def backend(self) -> Any:
        names = [name for name in ("numba", "numpy") if name in self.options]
        return fs.get_backend(*names or ["cython"])

    @property
    def sgd_options(self) -> dict[str, float]:
        return MOMENTUM if "momentum" in self.options else {}

    @property
    def loss_options(self) -> dict[str, Any]:
        if "weighted" not in self.options:
            return {}
        return {"class_weight": self.class_weight, "label_smoothing": SMOOTHING}

    def velocity(self) -> Any:
        return fs.Velocity.of(self.weight, self.bias) if "momentum" in self.options else None

    def settings(self, lr: float) -> Any:
        """The frozen ones. Their class was named SGD before it was SGDSettings."""
        kind = getattr(fs.optim, "SGDSettings", None) or fs.optim.SGD
        return kind(lr=lr, **self.sgd_options)

    def truth(self, rows: slice | Array = slice(None)) -> tuple[LossAndGradients, float]:
        """In float64: sums over some of the rows, and what their mean divides by."""
        target, k = self.target[rows], len(self.bias)
        coefficients, total_weight = one_hot(target, k), float(len(target))
        if "weighted" in self.options:
            coefficients = (1 - SMOOTHING) * coefficients + SMOOTHING / k
            coefficients *= self.class_weight
            total_weight = float(self.class_weight[target].sum(dtype=np.float64))
        x, weight, bias = (np.float64(a) for a in (self.x[rows], self.weight, self.bias))
        return loss_and_gradients(x * self.scale, coefficients, weight, bias), total_weight


@lru_cache(maxsize=2)
def _rows(n: int, d: int, k: int, pixels: bool) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    as_pixels = rng.integers(0, 256, (n, d), np.uint8)
    x = as_pixels.astype(np.float32) / np.float32(255)
    teacher = rng.standard_normal((d, k), np.float32)
    target = ((x - np.float32(0.5)) @ teacher).argmax(axis=1)
    return as_pixels if pixels else x, target


def assert_near(result: Any, truth: Array) -> None:
    """Within a thousandth of the largest element, as float32 is."""
    assert_allclose(np.asarray(result), truth, rtol=1e-3, atol=1e-3 * np.abs(truth).max())


def assert_step(case: Case, step: Callable[[Array, Array, float], object], rows: Any) -> None:
    """That a first step, with the rate CHECKED_LR, moves weight and bias as it should."""
    weight, bias = case.weight.copy(), case.bias.copy()
    step(weight, bias, CHECKED_LR)
    truth, total_weight = case.truth(rows)
    decay = case.sgd_options.get("weight_decay", 0.0)
    moved = truth.grad_weight / total_weight + decay * case.weight
    assert_near((case.weight - weight) / CHECKED_LR, moved)
    assert_near(-bias / CHECKED_LR, truth.grad_bias / total_weight)


# ---- the calls ----


def epoch(case: Case) -> Work:
    order = np.random.default_rng(0).permutation(len(case.x))
    backend, velocity = case.backend, case.velocity()

    def train(order: Array, weight: Array, bias: Array, lr: float, velocity: Any) -> object:
        return backend.train_epoch(
            case.x, case.target, order, BATCH, weight, bias, case.settings(lr), velocity,
            scale=case.scale, num_threads=case.threads,
        )  # fmt: skip

    first = order[:BATCH]
    assert_step(case, lambda w, b, lr: train(first, w, b, lr, case.velocity()), first)
    return lambda: train(order, case.weight, case.bias, LR, velocity)


def step(case: Case) -> Work:
    """The backend's."""
    backend, velocity, sgd = case.backend, case.velocity(), case.settings(LR)
    options = {"scale": case.scale, "num_threads": case.threads}
    data = case.x, case.target

    def checked(weight: Array, bias: Array, lr: float) -> None:
        backend.train_step(*data, weight, bias, case.settings(lr), case.velocity(), **options)

    assert_step(case, checked, slice(None))
    return lambda: backend.train_step(*data, case.weight, case.bias, sgd, velocity, **options)


def sgd_step(case: Case) -> Work:
    """As a user calls it, with the threads that it takes by itself."""
    data, options = (case.x, case.target), case.sgd_options | case.loss_options

    def checked(weight: Array, bias: Array, lr: float) -> None:
        fs.sgd_step(*data, weight, bias, lr=lr, velocity=case.velocity(), **options)

    assert_step(case, checked, slice(None))
    velocity = case.velocity()
    return lambda: fs.sgd_step(*data, case.weight, case.bias, lr=LR, velocity=velocity, **options)


def loss_and_grad(case: Case) -> Work:
    backend = case.backend
    options: dict[str, Any] = {"scale": case.scale, "num_threads": case.threads}
    if "grad_input" in case.options:
        options["grad_input"] = np.empty(case.x.shape, np.float32)
    arguments = case.x, case.target, case.weight, case.bias
    loss, grad_weight, grad_bias = backend.loss_and_grad(*arguments, **options)
    truth, _ = case.truth()
    assert_near(loss, np.float64(truth.loss))
    assert_near(grad_weight, truth.grad_weight)
    assert_near(grad_bias, truth.grad_bias)
    if "grad_input" in case.options:
        assert_near(options["grad_input"], truth.grad_logits @ (case.weight * case.scale))
    return lambda: backend.loss_and_grad(*arguments, **options)


def evaluate(case: Case) -> Work:
    backend, arguments = case.backend, (case.x, case.target, case.weight, case.bias)
    options = {"scale": case.scale, "num_threads": case.threads}
    loss, correct, *_ = backend.evaluate(*arguments, **options)
    truth, _ = case.truth()
    assert_near(loss, np.float64(truth.loss))
    assert abs(correct - truth.correct) <= 2, "ties apart, others are correct"
    return lambda: backend.evaluate(*arguments, **options)


def logits_of(case: Case) -> Array:
    return (case.x @ case.weight.T) * np.float32(case.scale) + case.bias


def predict_logits(case: Case) -> Work:
    backend, arguments = case.backend, (case.x, case.weight, case.bias)
    options = {"scale": case.scale, "num_threads": case.threads}
    assert_near(backend.predict_logits(*arguments, **options), logits_of(case))
    return lambda: backend.predict_logits(*arguments, **options)


def _log_softmax(logits: Array) -> Array:
    z = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def softmax(case: Case) -> Work:
    logits = logits_of(case)
    assert_near(fs.softmax(logits, num_threads=case.threads), np.exp(_log_softmax(logits)))
    return lambda: fs.softmax(logits, num_threads=case.threads)


def log_softmax(case: Case) -> Work:
    logits = logits_of(case)
    assert_near(fs.log_softmax(logits, num_threads=case.threads), _log_softmax(logits))
    return lambda: fs.log_softmax(logits, num_threads=case.threads)


def cross_entropy(case: Case) -> Work:
    """Weighted by the argument that PyTorch names weight."""
    logits, target = logits_of(case), case.target
    options: dict[str, Any] = {"num_threads": case.threads}
    if case.loss_options:
        options |= {"weight": case.class_weight, "label_smoothing": SMOOTHING}
    truth, total_weight = case.truth()
    assert_near(fs.cross_entropy(logits, target, **options), np.float64(truth.loss / total_weight))
    return lambda: fs.cross_entropy(logits, target, **options)


def linear_cross_entropy(case: Case) -> Work:
    arguments = case.x, case.weight, case.target
    options = {"linear_bias": case.bias, "num_threads": case.threads}
    truth, total_weight = case.truth()
    loss = fs.linear_cross_entropy(*arguments, **options)
    assert_near(loss, np.float64(truth.loss / total_weight))
    return lambda: fs.linear_cross_entropy(*arguments, **options)


def linear_cross_entropy_grad(case: Case) -> Work:
    arguments = case.x, case.weight, case.target
    options: dict[str, Any] = {"linear_bias": case.bias, "num_threads": case.threads}
    options["grad_input"] = "grad_input" in case.options
    truth, total_weight = case.truth()
    result = fs.linear_cross_entropy_grad(*arguments, **options)
    assert_near(result.grad_weight, truth.grad_weight / total_weight)
    assert_near(result.grad_bias, truth.grad_bias / total_weight)
    if options["grad_input"]:
        assert_near(result.grad_input, truth.grad_logits @ case.weight / total_weight)
    return lambda: fs.linear_cross_entropy_grad(*arguments, **options)


def by_autograd(case: Case, of: str) -> Work:
    """Forward and backward, with PyTorch's tensors."""
    from benches.peers.gradients import Work as Of

    work = Of(of, case.threads, case.x, case.target, case.weight, case.bias)
    truth, total_weight = case.truth()
    grad_weight, grad_bias = work.gradients()
    assert_near(grad_weight, truth.grad_weight / total_weight)
    assert_near(grad_bias, truth.grad_bias / total_weight)
    return work.run


def train(case: Case) -> Work:
    """Two epochs, evaluated after each; of pictures where rows are uint8."""
    n_test = len(case.x) // 6
    data = case.x[n_test:], case.target[n_test:]
    test = case.x[:n_test], case.target[:n_test]

    def run() -> Any:
        return fs.train(
            data, validation_data=test, epochs=2, num_threads=case.threads, progress=False,
            **case.sgd_options, **case.loss_options,
        )  # fmt: skip

    losses = run().history.train_loss
    assert losses[1] < losses[0], losses
    return run


CALLS: dict[str, Callable[[Case], Work]] = {
    "epoch": epoch,
    "step": step,
    "sgd_step": sgd_step,
    "loss_and_grad": loss_and_grad,
    "evaluate": evaluate,
    "predict_logits": predict_logits,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "cross_entropy": cross_entropy,
    "linear_cross_entropy": linear_cross_entropy,
    "linear_cross_entropy_grad": linear_cross_entropy_grad,
    "fastsoftmax.torch": lambda case: by_autograd(case, "adapter"),
    "F.linear_cross_entropy": lambda case: by_autograd(case, "fused"),
    "train": train,
}

# ---- in the child ----

_work: Work


def prepare(name: str) -> None:
    """Takes this case in place of the last one, and checks it."""
    global _work
    call, shape, *options = name.split()
    _work = CALLS[call](Case(*map(int, shape.split("x")), options))
    settle()


def times(seconds: float, blocks: int) -> list[float]:
    """The mean time of a call, in each of some blocks."""
    result = turn(_work, seconds, blocks)
    settle()
    return result


def folder() -> str:
    """Of the fastsoftmax that is timed."""
    return str(Path(fs.__file__).parents[1])


def names() -> list[str]:
    """Of all calls."""
    return list(CALLS)
