"""Who takes part: each in a process of its own, with its own environment."""

from dataclasses import dataclass, field
from typing import Any

# Of every contender, on any machine: the table compares programs, not numbers of cores.
THREADS = 2

# A BLAS pool in our process would spin beside our threads, and nearly double our times.
OURS_ENV = {"OPENBLAS_NUM_THREADS": "1", "FASTSOFTMAX_ISA": ""}
# The peers keep the wait policy that they come with: worker.settle sees to it that they sleep
# while others run, and OMP_WAIT_POLICY=passive would slow them.
PEER_ENV = {
    name: str(THREADS) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
}


@dataclass(frozen=True, eq=False)  # eq=False: a Spec is itself, and a key
class Spec:
    """One contender: the module in peers/, what its class is called with, its environment."""

    name: str
    kind: str  # "ours", "peer" or "limit"
    module: str
    label: str
    options: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("epoch", "step")

    def __str__(self) -> str:
        return self.name


def _ours(rows: str, threads: int = THREADS, isa: str = "") -> Spec:
    name = f"ours-{rows}"
    label = f"fastsoftmax, {rows} rows"
    if isa:
        name += f"-{isa.rpartition('-')[2]}"
        label += f", {isa}"
    if threads == 1:
        name += "-1-thread"
        label += ", 1 thread"
    options = {"rows": rows, "threads": threads}
    return Spec(name, "ours", "ours", label, options, {**OURS_ENV, "FASTSOFTMAX_ISA": isa})


def _evaluation(rows: str) -> Spec:
    tasks = "epoch", "epoch_evaluate", "evaluate", "predict", "sgd_step"
    options = {"rows": rows, "threads": THREADS}
    label = f"fastsoftmax, {rows} rows"
    return Spec(f"ours-{rows}", "ours", "evaluation", label, options, OURS_ENV, tasks)


def _numba(rows: str) -> Spec:
    options = {"rows": rows, "threads": THREADS, "backend": "numba"}
    label = f"fastsoftmax by Numba, {rows} rows"
    return Spec(f"ours-numba-{rows}", "ours", "ours", label, options, OURS_ENV)


def _oracle() -> Spec:
    options = {"rows": "float32", "threads": THREADS, "backend": "numpy"}
    label = "fastsoftmax by NumPy, float32 rows"
    return Spec("ours-numpy-float32", "ours", "ours", label, options, PEER_ENV)


def _peer(module: str, label: str, rows: str | None = None) -> Spec:
    name = module.replace("_", "-")
    if rows is None:
        return Spec(name, "peer", module, label, env=PEER_ENV)
    return Spec(
        f"{name}-{rows}", "peer", module, f"{label}, {rows} rows", {"rows": rows}, PEER_ENV
    )


def _limit(limit: str, label: str, task: str = "epoch") -> Spec:
    options = {"limit": limit, "threads": THREADS}
    return Spec(f"limit-{limit}", "limit", "limits", label, options, OURS_ENV, (task,))


def _read_in_order(rows: str) -> Spec:
    options = {"limit": "read-in-order", "threads": THREADS, "rows": rows}
    label = f"limit: reading the {rows} rows in order"
    return Spec(f"limit-{rows}", "limit", "limits", label, options, OURS_ENV, ("evaluate",))


def _gradients(of: str, label: str, kind: str = "peer") -> Spec:
    env = OURS_ENV if kind == "ours" else PEER_ENV
    options = {"of": of, "threads": THREADS}
    return Spec(f"gradients-{of}", kind, "gradients", label, options, env, ("gradients",))


ISAS = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
ROWS = ["float32", "uint8"]

CONTENDERS = [
    *(_ours(rows) for rows in ROWS),
    *(_numba(rows) for rows in ROWS),
    _oracle(),
    *(_ours(rows, threads=1) for rows in ROWS),
    *(_ours(rows, isa=isa) for rows in ROWS for isa in ISAS),
    *(_peer("torch_tuned_split", "PyTorch tuned, products split", rows) for rows in ROWS),
    *(_peer("torch_tuned", "PyTorch tuned by hand", rows) for rows in ROWS),
    _peer("torch_rows", "PyTorch tuned, logits as rows", "float32"),
    *(_peer("jax_scan", "JAX, jit and scan", rows) for rows in ROWS),
    _peer("numpy_blas", "NumPy/OpenBLAS by hand"),
    _peer("tf_function", "TensorFlow, tf.function of the epoch"),
    _peer("keras_fit", "Keras fit"),
    _peer("torch_linear_cross_entropy", "PyTorch linear_cross_entropy"),
    _peer("torch_eager", "PyTorch eager, data in memory"),
    _limit("read", "limit: reading the float32 rows"),
    _limit("fma", "limit: the multiply-adds"),
]

# Of the table of shapes: ours, and each peer that is the best one at some of them.
GRID = [
    _ours("float32"),
    _peer("torch_tuned_split", "PyTorch tuned, products split", "float32"),
    _peer("torch_tuned", "PyTorch tuned by hand", "float32"),
    _peer("torch_rows", "PyTorch tuned, logits as rows", "float32"),
    _peer("jax_scan", "JAX, jit and scan", "float32"),
    _peer("numpy_blas", "NumPy/OpenBLAS by hand"),
]

# Of evaluation, against its limits; ours does the small step too.
EVALUATION = [
    *(_evaluation(rows) for rows in ROWS),
    *(_read_in_order(rows) for rows in ROWS),
    _limit("fma", "limit: the multiply-adds", "evaluate"),
]

# Of loss and gradients: PyTorch's linear_cross_entropy in all its ways, and without it.
GRADIENTS = [
    _gradients("function", "`linear_cross_entropy_grad`", "ours"),
    _gradients("adapter", "`fastsoftmax.torch`", "ours"),
    _gradients("fused", "`F.linear_cross_entropy`"),
    _gradients("chunked", "chunked, default options"),
    _gradients("chunked-halves", "chunked, two chunks"),
    _gradients("plain", "`linear`, `cross_entropy`"),
]
