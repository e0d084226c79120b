"""Who takes part: each contender has a process of its own, with its own environment."""

from dataclasses import dataclass, field
from typing import Any

# Of every contender, on any machine: the tables compare programs, not numbers of cores.
THREADS = 2

# A BLAS pool in our process would spin beside our threads, and nearly double our times.
OURS_ENV = {"OPENBLAS_NUM_THREADS": "1", "FASTSOFTMAX_ISA": ""}
# The peers keep the wait policy that they come with, as OMP_WAIT_POLICY=passive would slow them.
# clock.settle sees to it that they sleep while others run.
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


def ours(rows: str, threads: int = THREADS, isa: str = "") -> Spec:
    """The fastest kernels of the machine, or those of an instruction set."""
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


def peer(module: str, label: str, rows: str | None = None) -> Spec:
    """Another program, on rows of this type where it has the choice."""
    name = module.replace("_", "-")
    if rows is None:
        return Spec(name, "peer", module, label, env=PEER_ENV)
    return Spec(
        f"{name}-{rows}", "peer", module, f"{label}, {rows} rows", {"rows": rows}, PEER_ENV
    )


def limit(of: str, label: str, task: str = "epoch") -> Spec:
    """What the machine allows."""
    options = {"limit": of, "threads": THREADS}
    return Spec(f"limit-{of}", "limit", "limits", label, options, OURS_ENV, (task,))
