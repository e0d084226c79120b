"""A call beside others that want the cores.

In one process with NumPy or PyTorch, whose idle threads spin, and on a machine where another
process is busy: there users live, not in a process of its own.

Each run of a contender is a new process, and contenders take turns, run by run.
"""

from contextlib import ExitStack
from statistics import median
from typing import Any

from benches.harness.process import Process, call
from benches.harness.text import Run, machine, table

HEADING = "Beside others that want the cores"
ROUNDS = 4

Summary = dict[str, tuple[float, float]]  # median and mean of each series, in ms

# label -> arguments of beside_work.alone_and_beside
CONTENDERS = {
    "fastsoftmax": ("ours", None),
    "fastsoftmax, 1 thread": ("ours", 1),
    "PyTorch `F.linear_cross_entropy` and SGD": ("pytorch", None),
}
# (B, D, K) -> aim
BY_TURNS = {(256, 784, 10): ">= 3", (1024, 768, 100): ">= 1.5", (32, 784, 10): ">= 1"}
WIDTHS = (64, 128, 256, 512, 1024)

# As users have it: the pool of NumPy's BLAS is what it is by itself
ENV = {"OPENBLAS_NUM_THREADS": None}
LABELS = {"step": "a step of 256 rows", "pass": "a pass over 60,000 rows", "epoch": "an epoch"}


def write(run: Run) -> str:
    one = [_epoch_of(1) for _ in range(run.rounds)]
    two = [_epoch_of(2) for _ in range(run.rounds)]
    ratio = span([b / a for a, b in zip(one, two, strict=True)])
    parts = [
        f"Each figure is the median of {run.rounds} runs, in brackets the largest; a run is a "
        "process, in which each work is done many times.",
        "Alone; right after NumPy has multiplied two matrices of 300 x 300 in the same "
        "process, whose threads then spin; and beside one other busy process. Times the same "
        "alone.",
        _table_beside(run.rounds),
        f"Two processes that train at once: an epoch takes {ratio} times as long as alone.",
        "Loss and gradients by turns with PyTorch in one process, whose threads spin between "
        "its calls; in times of `linear_cross_entropy_grad`.",
        _table_turns(run.rounds),
        "A step of Linear, ReLU, Linear and the loss over 256 rows of 784 features, by turns "
        "in one process: last layer and loss by `fastsoftmax.torch.linear_cross_entropy`, and "
        "by `F.linear_cross_entropy`.",
        _table_hidden(run.rounds),
        machine(run),
    ]
    return "\n\n".join(parts)


def span(values: list[float], digits: str = ".2f") -> str:
    """The median of the runs, and the largest."""
    return f"{median(values):{digits}} ({max(values):{digits}})"


def _work(name: str, *arguments: Any) -> Summary:
    summary: Summary = call(f"benches.sections.beside_work:{name}", *arguments, env=ENV)
    return summary


def _epoch_of(n: int) -> float:
    """The time of an epoch where n processes train at once: that of the first."""
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(ENV)) for _ in range(n)]
        for process in processes:
            process.send("benches.sections.beside_work:epochs")
        times: list[float] = [process.receive() for process in processes]
    return times[0]


def _table_beside(runs: int) -> str:
    results: dict[str, list[Summary]] = {name: [] for name in CONTENDERS}
    for _ in range(runs):
        for name, arguments in CONTENDERS.items():
            results[name].append(_work("alone_and_beside", *arguments))
    rows = []
    for name, runs_of in results.items():
        for work, label in LABELS.items():
            if f"{work} alone" not in runs_of[0]:
                continue
            alone = [r[f"{work} alone"][0] for r in runs_of]
            cells = [
                span([r[f"{work} {where}"][i] / r[f"{work} alone"][i] for r in runs_of])
                for where in ("after", "busy")
                for i in range(2)
            ]
            rows.append([f"{name}: {label}", f"{median(alone):.3g}", *cells])
    head = ["", "alone, ms", "after NumPy, median x", "mean x", "busy, median x", "mean x"]
    return table(head, rows)


def _table_turns(runs: int) -> str:
    rows = []
    for shape, aim in BY_TURNS.items():
        of = [_work("gradients", shape) for _ in range(runs)]
        middle = [
            f"{median(r[name][0] for r in of):.3g}" for name in ("function", "adapter", "fused")
        ]
        times = [span([r["fused"][i] / r["function"][i] for r in of]) for i in range(2)]
        adapter = span([r["fused"][0] / r["adapter"][0] for r in of])
        rows.append([str(shape), *middle, *times, aim, adapter])
    head = ["B, D, K", "function, ms", "adapter, ms", "`F.linear_cross_entropy`, ms"]
    return table([*head, "median x", "mean x", "aim", "adapter, median x"], rows)


def _table_hidden(runs: int) -> str:
    rows = []
    for width in WIDTHS:
        of = [_work("hidden", width) for _ in range(runs)]
        middle = [f"{median(r[name][0] for r in of):.3g}" for name in ("adapter", "fused")]
        times = [span([r["adapter"][i] / r["fused"][i] for r in of]) for i in range(2)]
        rows.append([str(width), *middle, *times])
    head = ["hidden width", "ours, ms", "PyTorch's, ms", "ours / PyTorch's, median", "mean"]
    return table(head, rows)
