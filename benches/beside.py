"""A call beside others that want the cores.

In one process with NumPy or PyTorch, whose idle threads spin, and on a machine where another
process is busy: there users live, not in a process of its own.

Each run of a contender is a new process, and contenders take turns, run by run.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import mean, median
from typing import Any

from benches.alternate import ROOT

START = "import sys; sys.path.append({!r}); from benches.beside import main; main({!r})"
Work = Callable[[], object]
Times = list[float]  # seconds

STEP = (256, 784, 10)  # B, D, K
ALL_ROWS = (60_000, 784, 10)
BY_TURNS = (STEP, (1024, 768, 100), (32, 784, 10))
AIMS = {STEP: ">= 3", (1024, 768, 100): ">= 1.5", (32, 784, 10): ">= 1"}
WIDTHS = (64, 128, 256, 512, 1024)
RUNS = 4


# ---- in the child ----


def arrays(shape: tuple[int, int, int]) -> tuple[Any, Any, Any, Any]:
    """x, target, weight, bias."""
    import numpy as np

    n_rows, n_features, n_classes = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_rows, n_features), np.float32)
    weight = 0.01 * rng.standard_normal((n_classes, n_features), np.float32)
    return x, rng.integers(0, n_classes, n_rows), weight, np.zeros(n_classes, np.float32)


def times_of(work: Work, n: int, before: Work = lambda: None) -> Times:
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


def ours(threads: int | None) -> dict[str, Work]:
    import numpy as np

    import fastsoftmax as fs

    x, y, w, b = arrays(STEP)
    X, Y, _, _ = arrays(ALL_ROWS)
    backend, settings = fs.get_backend(), fs.optim.SGDSettings(0.01)
    order = np.random.default_rng(0).permutation(len(X))
    options: dict[str, Any] = {"num_threads": threads}
    loss, *gradients = backend.loss_and_grad(x, y, w, b, **options)
    true_loss, *truth = fs.get_backend("numpy").loss_and_grad(x, y, w, b)
    np.testing.assert_allclose(loss, true_loss, rtol=1e-5)
    for gradient, true_gradient in zip(gradients, truth, strict=True):
        np.testing.assert_allclose(gradient, true_gradient, rtol=1e-4, atol=1e-3)
    return {
        "step": lambda: fs.sgd_step(x, y, w, b, lr=0.01, **options),
        "pass": lambda: backend.loss_and_grad(X, Y, w, b, **options),
        "epoch": lambda: backend.train_epoch(X, Y, order, 256, w, b, settings, **options),
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


CONTENDERS: dict[str, Callable[[], dict[str, Work]]] = {
    "fastsoftmax": lambda: ours(None),
    "fastsoftmax, 1 thread": lambda: ours(1),
    "PyTorch `F.linear_cross_entropy` and SGD": pytorch,
}
COUNTS = {"step": 1000, "pass": 30, "epoch": 20}


def alone_and_beside(of: str) -> dict[str, Times]:
    """Times of each work alone, right after a product of NumPy, and beside a busy process."""
    import numpy as np

    matrix = np.random.default_rng(0).standard_normal((300, 300))
    works = CONTENDERS[of]()
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
    return times


def by_turns(works: dict[str, Work], n: int) -> dict[str, Times]:
    warm(*works.values(), seconds=0.5)
    times: dict[str, Times] = {name: [] for name in works}
    for _ in range(n):
        for name, work in works.items():
            times[name] += times_of(work, 1)
    return times


def gradients(shape: tuple[int, int, int]) -> dict[str, Times]:
    """Loss and gradients of ours and of PyTorch, by turns in one process."""
    import numpy as np

    from benches.peers.gradients import Work as Of

    x, y, w, b = arrays(shape)
    works = {of: Of(of, 2, x, y, w.copy(), b.copy()) for of in ("function", "adapter", "fused")}
    results = {of: work.gradients() for of, work in works.items()}
    for of in ("function", "adapter"):
        for gradient, theirs in zip(results[of], results["fused"], strict=True):
            np.testing.assert_allclose(gradient, theirs, rtol=1e-3, atol=1e-5)
    n = 200 if shape[0] * shape[2] > 10_000 else 1000
    return by_turns({of: work.run for of, work in works.items()}, n)


def hidden(width: int) -> dict[str, Times]:
    """A step of a model with a hidden layer, whose loss is ours or PyTorch's."""
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

    times = by_turns(
        {
            "adapter": model(fastsoftmax.torch.linear_cross_entropy),
            "fused": model(functional.linear_cross_entropy),
        },
        300,
    )
    assert torch.allclose(*trained, atol=1e-3), "trained to different weights"
    return times


def together(n: int) -> dict[str, Times]:
    """Epochs in n processes at once: in this one, and as many others of the same kind."""
    work = ours(None)["epoch"]
    others = [start("together", 1) for _ in range(n - 1)]
    warm(work, seconds=1.0)
    times = times_of(work, 60)
    for other in others:
        other.communicate()
    return {"epoch": times}


TASKS: dict[str, Callable[[Any], dict[str, Times]]] = {
    "alone_and_beside": alone_and_beside,
    "gradients": lambda shape: gradients(tuple(shape)),
    "hidden": hidden,
    "together": together,
}


def main(request: str) -> None:
    """In the child: median and mean of each series, in ms."""
    task, argument = json.loads(request)
    summary = {
        name: (1e3 * median(times), 1e3 * mean(times))
        for name, times in TASKS[task](argument).items()
    }
    print(json.dumps(summary))


# ---- in the parent ----


def start(task: str, argument: Any) -> "subprocess.Popen[str]":
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    return subprocess.Popen(
        [sys.executable, "-c", START.format(str(ROOT), json.dumps([task, argument]))],
        cwd=tempfile.gettempdir(),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(task: str, argument: Any) -> dict[str, tuple[float, float]]:
    child = start(task, argument)
    output, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"{task} {argument}: the process ended with {child.returncode}")
    return {name: (middle, average) for name, (middle, average) in json.loads(output).items()}


def table(lines: list[list[str]]) -> str:
    lines = [lines[0], ["---", *["---:"] * (len(lines[0]) - 1)], *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def span(values: list[float], digits: str = ".2f") -> str:
    """The median of the runs, and the largest."""
    return f"{median(values):{digits}} ({max(values):{digits}})"


def table_beside(runs: int) -> str:
    results: dict[str, list[dict[str, tuple[float, float]]]] = {name: [] for name in CONTENDERS}
    for _ in range(runs):
        for name, of in results.items():
            of.append(run("alone_and_beside", name))
    labels = {"step": "a step of 256 rows", "pass": "a pass over 60,000 rows", "epoch": "an epoch"}
    lines = [["", "alone, ms", "after NumPy, median x", "mean x", "busy, median x", "mean x"]]
    for name, runs_of in results.items():
        for work, label in labels.items():
            if f"{work} alone" not in runs_of[0]:
                continue
            alone = [r[f"{work} alone"][0] for r in runs_of]
            cells = [
                span([r[f"{work} {where}"][i] / r[f"{work} alone"][i] for r in runs_of])
                for where in ("after", "busy")
                for i in range(2)
            ]
            lines.append([f"{name}: {label}", f"{median(alone):.3g}", *cells])
    return table(lines)


def table_turns(runs: int) -> str:
    lines = [["B, D, K", "function, ms", "adapter, ms", "`F.linear_cross_entropy`, ms"]]
    lines[0] += ["median x", "mean x", "aim", "adapter, median x"]
    for shape in BY_TURNS:
        of = [run("gradients", shape) for _ in range(runs)]
        middle = [
            f"{median(r[name][0] for r in of):.3g}" for name in ("function", "adapter", "fused")
        ]
        times = [span([r["fused"][i] / r["function"][i] for r in of]) for i in range(2)]
        adapter = span([r["fused"][0] / r["adapter"][0] for r in of])
        lines.append([str(shape), *middle, *times, AIMS[shape], adapter])
    return table(lines)


def table_hidden(runs: int) -> str:
    lines = [["hidden width", "ours, ms", "PyTorch's, ms", "ours / PyTorch's, median", "mean"]]
    for width in WIDTHS:
        of = [run("hidden", width) for _ in range(runs)]
        middle = [f"{median(r[name][0] for r in of):.3g}" for name in ("adapter", "fused")]
        times = [span([r["adapter"][i] / r["fused"][i] for r in of]) for i in range(2)]
        lines.append([str(width), *middle, *times])
    return table(lines)


def write(rounds: int) -> str:
    """Markdown."""
    one = [run("together", 1)["epoch"][0] for _ in range(rounds)]
    two = [run("together", 2)["epoch"][0] for _ in range(rounds)]
    ratio = span([b / a for a, b in zip(one, two, strict=True)])
    return "\n\n".join(
        [
            f"Each figure is the median of {rounds} runs, in brackets the largest; a run is a "
            "process, in which each work is done many times.",
            "Alone; right after NumPy has multiplied two matrices of 300 x 300 in the same "
            "process, whose threads then spin; and beside one other busy process. Times the same "
            "alone.",
            table_beside(rounds),
            f"Two processes that train at once: an epoch takes {ratio} times as long as alone.",
            "Loss and gradients by turns with PyTorch in one process, whose threads spin between "
            "its calls; in times of `linear_cross_entropy_grad`.",
            table_turns(rounds),
            "A step of Linear, ReLU, Linear and the loss over 256 rows of 784 features, by turns "
            "in one process: last layer and loss by `fastsoftmax.torch.linear_cross_entropy`, and "
            "by `F.linear_cross_entropy`.",
            table_hidden(rounds),
        ]
    )
