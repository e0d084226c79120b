"""The data of a job: made once by the parent, and loaded by every contender from a folder."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benches.harness.jobs import Job
from benches.harness.verification import Trained, train

CHECKED_STEPS = 3
ARRAYS = ("pixels", "target", "weight", "bias", "order")


@dataclass(frozen=True)
class Data:
    """What a contender starts from, and the truth about one epoch and about a few steps."""

    job: Job
    pixels: NDArray[np.uint8]  # (N, D)
    target: NDArray[np.int64]  # (N,)
    weight: NDArray[np.float32]  # (K, D)
    bias: NDArray[np.float32]  # (K,)
    order: NDArray[np.int64]  # (N,)
    epoch: Trained | None  # None: not a task of this job
    steps: Trained | None  # after the first `checked_steps` batches, rows in their own order

    @property
    def checked_order(self) -> NDArray[np.int64]:
        """The order of the checked epoch, or of its first batches if they are all we check."""
        batches = self.job.checked_batches
        return self.order if batches is None else self.order[: batches * self.job.batch_size]

    @property
    def checked_steps(self) -> int:
        return min(CHECKED_STEPS, self.job.n_rows // self.job.batch_size)

    def rows(self, dtype: str) -> NDArray[np.float32] | NDArray[np.uint8]:
        """The features as float32 in [0, 1], or as the uint8 pixels themselves."""
        return (
            self.pixels if dtype == "uint8" else self.pixels.astype(np.float32) / np.float32(255)
        )


def make(job: Job) -> Data:
    """Picture-like pixels, half of them 0, with labels from a noisy linear teacher."""
    rng = np.random.default_rng(job.seed)
    shape = job.n_rows, job.n_features
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    pixels[rng.random(shape, dtype=np.float32) < 0.5] = 0
    teacher = rng.standard_normal((job.n_features, job.n_classes), dtype=np.float32)
    scores = (pixels.astype(np.float32) - pixels.mean()) @ teacher
    scores += scores.std() / 2 * rng.standard_normal(scores.shape, dtype=np.float32)
    target = scores.argmax(axis=1).astype(np.int64)
    weight = 0.01 * rng.standard_normal((job.n_classes, job.n_features), dtype=np.float32)
    bias = np.zeros(job.n_classes, dtype=np.float32)
    order = rng.permutation(job.n_rows)
    start = job, pixels, target, weight, bias
    made = Data(*start, order, epoch=None, steps=None)
    first = np.arange(made.checked_steps * job.batch_size)
    orders = {"epoch": made.checked_order, "step": first}
    epoch, steps = (train(*start, orders[t]) if t in job.tasks else None for t in orders)
    return replace(made, epoch=epoch, steps=steps)


def save(data: Data, folder: Path) -> None:
    """One .npy for each array of the data, and one .npz for each truth."""
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(data, name))
    for name in ("epoch", "steps"):
        truth = getattr(data, name)
        (folder / f"{name}.npz").unlink(missing_ok=True)  # the last job's
        if truth is not None:
            np.savez(folder / f"{name}.npz", **asdict(truth))


def load(job: Job, folder: Path) -> Data:
    """The data that `save` wrote."""
    arrays = {name: np.load(folder / f"{name}.npy") for name in ARRAYS}
    return Data(
        job, **arrays, epoch=_truth(folder / "epoch.npz"), steps=_truth(folder / "steps.npz")
    )


def _truth(path: Path) -> Trained | None:
    if not path.exists():
        return None
    with np.load(path) as saved:
        return Trained(saved["weight"], saved["bias"], float(saved["loss"]), int(saved["correct"]))
