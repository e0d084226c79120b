"""Ours and its peers at the jobs of the table of shapes: who is how fast."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from benches.harness.alternate import Race
from benches.harness.jobs import Job
from benches.harness.spec import ours, peer

# Ours, and each peer that is the best one at some shapes
CONTENDERS = [
    ours("float32"),
    peer("torch_tuned_split", "PyTorch tuned, products split", "float32"),
    peer("torch_tuned", "PyTorch tuned by hand", "float32"),
    peer("torch_rows", "PyTorch tuned, logits as rows", "float32"),
    peer("jax_scan", "JAX, jit and scan", "float32"),
    peer("numpy_blas", "NumPy/OpenBLAS by hand"),
]
OURS = CONTENDERS[0].name

# What is promised of float32 rows: never slower than the best peer, and this where K <= 100.
AIM, AIM_CLASSES = 1.3, 100


@dataclass(frozen=True)
class Result:
    """The median seconds of each contender at one shape, over an epoch of `job.n_rows` rows."""

    job: Job
    ours: float
    peers: dict[str, float]

    @property
    def best_peer(self) -> str:
        return min(self.peers, key=self.peers.__getitem__)

    @property
    def ratio(self) -> float:
        """Above 1 where ours is faster than the best peer."""
        return self.peers[self.best_peer] / self.ours

    @property
    def aim(self) -> float:
        return AIM if self.job.n_classes <= AIM_CLASSES else 1.0


def measure(jobs: Iterable[Job], rounds: int, race: Race) -> list[Result]:
    """Each job by all contenders in turn; stops where a result is wrong."""
    results = []
    for job in jobs:
        race.load(job)
        race.raise_errors()
        # No round to warm up: a turn begins with untimed work.
        (seconds,) = (race.seconds(task, rounds, 0, count=1) for task in job.tasks)
        medians = {name: median(values) for name, values in seconds.items()}
        result = Result(job, medians.pop(OURS), medians)
        results.append(result)
        print(
            f"{job.name}: {1e3 * result.ours:.2f} ms, {result.ratio:.2f} times as fast as "
            f"{result.best_peer}",
            file=sys.stderr,
        )
    return results
