"""Loss and gradients for the weight and bias of a linear layer: seconds, and peak memory.

As a training loop of one's own asks for them: forward and backward, no update.
"""

import sys
from statistics import median

from benches.harness.alternate import Race
from benches.harness.jobs import Job
from benches.harness.process import call
from benches.harness.spec import OURS_ENV, PEER_ENV, THREADS, Spec
from benches.harness.text import Run, machine, not_run, table, versions

HEADING = "Loss and gradients"
ROUNDS = 9

Shape = tuple[int, int, int]  # B, D, K

# How often in a round; what is aimed at, in the time of F.linear_cross_entropy
SHAPES: dict[Shape, tuple[int, float]] = {
    (256, 784, 10): (500, 3.0),
    (1024, 768, 100): (100, 1.5),
    (4096, 2048, 1000): (2, 1.0),
    (512, 768, 32000): (1, 1.0),
}
MEMORY_MEASURED = list(SHAPES)[2:] if sys.platform == "linux" else []


def _spec(of: str, label: str, kind: str = "peer") -> Spec:
    env = OURS_ENV if kind == "ours" else PEER_ENV
    options = {"of": of, "threads": THREADS}
    return Spec(f"gradients-{of}", kind, "gradients", label, options, env, ("gradients",))


# PyTorch's linear_cross_entropy in all its ways, and without it
CONTENDERS = [
    _spec("function", "`linear_cross_entropy_grad`", "ours"),
    _spec("adapter", "`fastsoftmax.torch`", "ours"),
    _spec("fused", "`F.linear_cross_entropy`"),
    _spec("chunked", "chunked, default options"),
    _spec("chunked-halves", "chunked, two chunks"),
    _spec("plain", "`linear`, `cross_entropy`"),
]


def write(run: Run) -> str:
    rows = []
    for shape, (count, aim) in SHAPES.items():
        with Race(CONTENDERS) as race:
            race.load(_job(shape))
            race.raise_errors()
            times = race.seconds("gradients", run.rounds, 0, count)
        medians = {name: 1e3 * median(seconds) for name, seconds in times.items()}
        print(f"{shape}: {medians}", file=sys.stderr)
        fused = medians.get("gradients-fused")
        rows.append([f"{shape}, ms", "" if fused is None else f"{fused / aim:.3g}"])
        rows[-1] += [f"{medians[s.name]:.3g}" if s.name in medians else "" for s in CONTENDERS]
        if shape in MEMORY_MEASURED:
            rows.append(_memory(shape, [spec for spec in CONTENDERS if spec.name in medians]))
    aims = ", ".join(f"{aim:g}" for _, aim in SHAPES.values())
    parts = [
        "Forward and backward over one batch that lies in memory, float32, for weight and bias. "
        f"{run.rounds} rounds by turns, medians. Aimed at: {aims} times as fast as "
        "`F.linear_cross_entropy`; MB is how far the peak of a process rises above what it has "
        "with the data and the parameters in memory, aimed at: no more than its chunked path.",
        table(["B, D, K", "aim", *(spec.label for spec in CONTENDERS)], rows),
        f"{machine(run)} {versions(race)}",
        *not_run(race),
    ]
    return "\n\n".join(parts)


def _memory(shape: Shape, specs: list[Spec]) -> list[str]:
    """A line of the table. Each contender in a process that does nothing else."""
    function = "benches.sections.gradients_memory:peak_megabytes"
    peaks = {
        spec.name: call(function, spec.options["of"], THREADS, shape, env=spec.env)
        for spec in specs
    }
    chunked = [peaks[name] for name in peaks if "chunked" in name]
    line = [f"{shape}, MB", f"{min(chunked):.0f}" if chunked else ""]
    return line + [f"{peaks[s.name]:.0f}" if s.name in peaks else "" for s in CONTENDERS]


def _job(shape: Shape) -> Job:
    """One batch; of many classes, where float32 is off by more than at the book's job."""
    name = "B = {:,}, D = {:,}, K = {:,}".format(*shape)
    n_rows, n_features, n_classes = shape
    return Job(
        name, n_rows, n_features, n_classes, n_rows, lr=0.1, tasks=("step",), tolerance=1e-3
    )
