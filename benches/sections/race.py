"""The book's epoch, by every contender: both row types, each instruction set, the two limits."""

import math
from statistics import median

from benches.harness.alternate import ROUNDS, WARMUP, Race
from benches.harness.jobs import BOOK, Job
from benches.harness.spec import OURS_ENV, PEER_ENV, THREADS, Spec, limit, ours, peer
from benches.harness.text import Run, machine, not_run, table, versions
from benches.sections.race_picture import draw

HEADING = "The book's epoch"

__all__ = ["CONTENDERS", "HEADING", "ROUNDS", "write"]

Times = dict[Spec, list[float]]  # seconds

ISAS = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
ROWS = ["float32", "uint8"]


def _numba(rows: str) -> Spec:
    options = {"rows": rows, "threads": THREADS, "backend": "numba"}
    label = f"fastsoftmax by Numba, {rows} rows"
    return Spec(f"ours-numba-{rows}", "ours", "ours", label, options, OURS_ENV)


def _numpy() -> Spec:
    options = {"rows": "float32", "threads": THREADS, "backend": "numpy"}
    label = "fastsoftmax by NumPy, float32 rows"
    return Spec("ours-numpy-float32", "ours", "ours", label, options, PEER_ENV)


CONTENDERS = [
    *(ours(rows) for rows in ROWS),
    *(_numba(rows) for rows in ROWS),
    _numpy(),
    *(ours(rows, threads=1) for rows in ROWS),
    *(ours(rows, isa=isa) for rows in ROWS for isa in ISAS),
    *(peer("torch_tuned_split", "PyTorch tuned, products split", rows) for rows in ROWS),
    *(peer("torch_tuned", "PyTorch tuned by hand", rows) for rows in ROWS),
    peer("torch_rows", "PyTorch tuned, logits as rows", "float32"),
    *(peer("jax_scan", "JAX, jit and scan", rows) for rows in ROWS),
    peer("numpy_blas", "NumPy/OpenBLAS by hand"),
    peer("tf_function", "TensorFlow, tf.function of the epoch"),
    peer("keras_fit", "Keras fit"),
    peer("torch_linear_cross_entropy", "PyTorch linear_cross_entropy"),
    peer("torch_eager", "PyTorch eager, data in memory"),
    limit("read", "limit: reading the float32 rows"),
    limit("fma", "limit: the multiply-adds"),
]


def write(run: Run) -> str:
    with Race(CONTENDERS) as race:
        race.load(BOOK)
        race.raise_errors()
        seconds = race.seconds("epoch", run.rounds, WARMUP)
        times = {race.children[name].spec: values for name, values in seconds.items()}
        title, caption = _title(BOOK, run.rounds), f"{machine(run)} {versions(race)}"
        draw(times, title, caption, run.folder / "report.png")
        parts = [title, caption, _table(times), "![](report.png)", *not_run(race)]
    return "\n\n".join(parts)


def _title(job: Job, rounds: int) -> str:
    return (
        f"One epoch of the {job.name}'s job: {job.n_rows:,} rows of {job.n_features} features, "
        f"{job.n_classes} classes, batches of {job.batch_size}, random order. "
        f"{rounds} rounds, the contenders by turns."
    )


def _table(times: Times) -> str:
    """Fastest first. The best peer is the one with the smallest median.

    Peers are compared by medians; limits by minima, for a limit is what the machine can do at
    its best.
    """
    medians = {spec: median(seconds) for spec, seconds in times.items()}
    best_peer = min((m for spec, m in medians.items() if spec.kind == "peer"), default=math.nan)
    limits = {spec.name: min(times[spec]) for spec in times if spec.kind == "limit"}
    head = ["contender", "median, ms", "min, ms", "best peer ÷ this"]
    head += [f"this ÷ {name}" for name in limits]
    rows = []
    for spec, middle in sorted(medians.items(), key=lambda item: item[1]):
        least = min(times[spec])
        rows.append(
            [
                f"**{spec.label}**" if spec.kind == "ours" else spec.label,
                f"{1e3 * middle:.2f}",
                f"{1e3 * least:.2f}",
                f"{best_peer / middle:.2f}",
                *(f"{least / of:.2f}" for of in limits.values()),
            ]
        )
    return table(head, rows)
