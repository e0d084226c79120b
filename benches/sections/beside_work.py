"""What is timed beside others that want the cores. Each function runs in a process of its own.

Times are in ms.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import mean, median
from typing import Any

import numpy as np

import fastsoftmax as fs
from benches.harness.verification import loss_and_gradients, one_hot

Work = Callable[[], object]
Shape = tuple[int, int, int]  # B, D, K
Summary = dict[str, tuple[float, float]]  # median and mean of each series

STEP: Shape = (256, 784, 10)
ALL_ROWS: Shape = (60_000, 784, 10)
COUNTS = {"step": 1000, "pass": 30, "epoch": 20}


def arrays(shape: Shape) -> tuple[Any, Any, Any, Any]:
    """x (B, D), target (B,), weight (K, D), bias (K,)"""
    n_rows, n_features, n_classes = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_rows, n_features), np.float32)
    weight = 0.01 * rng.standard_normal((n_classes, n_features), np.float32)
    return x, rng.integers(0, n_classes, n_rows), weight, np.zeros(n_classes, np.float32)


def times_of(work: Work, n: int, before: Work = lambda: None) -> list[float]:
    times = []
    for _ in range(n):
        before()
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return times


def warm(*works: Work, seconds: float = 0.2) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for work in works:
            work()


def summary(times: dict[str, list[float]]) -> Summary:
    return {name: (1e3 * median(each), 1e3 * mean(each)) for name, each in times.items()}


def ours(threads: int | None) -> dict[str, Work]:
    x, y, w, b = arrays(STEP)
    all_x, all_y, _, _ = arrays(ALL_ROWS)
    backend, sgd = fs.get_backend(), fs.optim.SGDSettings(0.01)
    order = np.random.default_rng(0).permutation(len(all_x))
    options: dict[str, Any] = {"num_threads": threads}
    loss, *gradients = backend.loss_and_grad(x, y, w, b, **options)
    truth = loss_and_gradients(*(np.float64(a) for a in (x, one_hot(y, len(b)), w, b)))
    np.testing.assert_allclose(loss, truth.loss, rtol=1e-5)
    for gradient, expected in zip(gradients, (truth.grad_weight, truth.grad_bias), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-3)
    return {
        "step": lambda: fs.sgd_step(x, y, w, b, lr=0.01, **options),
        "pass": lambda: backend.loss_and_grad(all_x, all_y, w, b, **options),
        "epoch": lambda: backend.train_epoch(all_x, all_y, order, 256, w, b, sgd, **options),
    }


def pytorch() -> dict[str, Work]:
    import torch
    from torch.nn import functional

    x, y, w, b = map(torch.from_numpy, arrays(STEP))
    parameters = [torch.nn.Parameter(w), torch.nn.Parameter(b)]
    optimizer = torch.optim.SGD(parameters, lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        functional.linear_cross_entropy(x, parameters[0], y, linear_bias=parameters[1]).backward()
        optimizer.step()

    return {"step": step}


def alone_and_beside(contender: str, threads: int | None) -> Summary:
    """Each work alone, right after a product of NumPy, and beside a busy process."""
    matrix = np.random.default_rng(0).standard_normal((300, 300))
    works = ours(threads) if contender == "ours" else pytorch()
    times = {}
    for name, work in works.items():
        warm(work)
        times[f"{name} alone"] = times_of(work, COUNTS[name])
    for name, work in works.items():
        times[f"{name} after"] = times_of(work, COUNTS[name] // 4, lambda: matrix @ matrix)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            for name, work in works.items():
                warm(work, seconds=0.5)
                times[f"{name} busy"] = times_of(work, COUNTS[name])
        finally:
            busy.kill()
    return summary(times)


def by_turns(works: dict[str, Work], n: int) -> Summary:
    warm(*works.values(), seconds=0.5)
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(n):
        for name, work in works.items():
            times[name] += times_of(work, 1)
    return summary(times)


def gradients(shape: Shape) -> Summary:
    """Loss and gradients of ours and of PyTorch, by turns in one process."""
    from benches.peers.gradients import Work as Of

    x, y, w, b = arrays(shape)
    works = {of: Of(of, 2, x, y, w.copy(), b.copy()) for of in ("function", "adapter", "fused")}
    results = {of: work.gradients() for of, work in works.items()}
    for of in ("function", "adapter"):
        for gradient, theirs in zip(results[of], results["fused"], strict=True):
            np.testing.assert_allclose(gradient, theirs, rtol=1e-3, atol=1e-5)
    n = 200 if shape[0] * shape[2] > 10_000 else 1000
    return by_turns({of: work.run for of, work in works.items()}, n)


def hidden(width: int) -> Summary:
    """A step of a model with a hidden layer, whose loss is ours or PyTorch's, by turns."""
    import torch
    from torch.nn import functional

    import fastsoftmax.torch

    torch.set_num_threads(2)

    trained = []

    def model(loss: Callable[..., Any]) -> Work:
        torch.manual_seed(0)
        first, last = torch.nn.Linear(784, width), torch.nn.Linear(width, 10)
        optimizer = torch.optim.SGD([*first.parameters(), *last.parameters()], lr=0.01)
        x, y = torch.randn(256, 784), torch.randint(0, 10, (256,))

        def step() -> None:
            optimizer.zero_grad()
            loss(torch.relu(first(x)), last.weight, y, linear_bias=last.bias).backward()
            optimizer.step()

        trained.append(last.weight)
        return step

    works = {
        "adapter": model(fastsoftmax.torch.linear_cross_entropy),
        "fused": model(functional.linear_cross_entropy),
    }
    for work in works.values():
        for _ in range(100):
            work()
    assert torch.allclose(*trained, atol=1e-3), "trained to different weights"
    return by_turns(works, 300)


def epochs() -> float:
    """The median time of one."""
    work = ours(None)["epoch"]
    warm(work, seconds=1.0)
    return 1e3 * median(times_of(work, 60))
