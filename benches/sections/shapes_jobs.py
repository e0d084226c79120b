"""The 150 jobs of the table of shapes."""

from collections.abc import Iterator
from itertools import product

from benches.harness.jobs import Job

CLASSES = (2, 3, 10, 16, 100, 1000)
FEATURES = (64, 768, 784, 2048, 4096)
ALL_ROWS = 0  # a batch of all rows
BATCHES = (32, 256, 1024, 4096, ALL_ROWS)

# Whichever is reached first ends the epoch of a shape: the features that lie in memory (64 MB of
# float32, more than a cache), the arithmetic, the logits of all rows, the steps.
MAX_ELEMENTS, MAX_PRODUCTS, MAX_LOGITS, MAX_STEPS = 16_000_000, 2_000_000_000, 10_000_000, 600
MIN_ALL_ROWS = 8192


def jobs() -> Iterator[Job]:
    """All of them, batch by batch."""
    for batch, features, classes in product(BATCHES, FEATURES, CLASSES):
        yield job_of(features, classes, batch)


def job_of(n_features: int, n_classes: int, batch: int) -> Job:
    """The job of one shape: whole batches, as many as the bounds allow, at least one.

    With all rows in one batch the order of the rows means nothing, and nobody need gather them.
    What is timed then is a step over the rows as they lie.
    """
    n_rows = min(
        MAX_ELEMENTS // n_features,
        MAX_PRODUCTS // (n_features * n_classes),
        MAX_LOGITS // n_classes,
    )
    if batch == ALL_ROWS:
        n_rows = size = max(n_rows // 64 * 64, MIN_ALL_ROWS)
        # One step of the usual rate would hardly move the weight, and rounding would stand out.
        lr, tasks = 1.0, ("step",)
    else:
        # Above this rate rounding errors grow from step to step.
        size, lr, tasks = batch, min(0.1, 78.4 / n_features), ("epoch",)
        n_rows = max(1, min(n_rows // size, MAX_STEPS)) * size
    return Job(
        f"K={n_classes} D={n_features} B={batch or 'all'}",
        n_rows,
        n_features,
        n_classes,
        size,
        lr,
        tasks=tasks,
        # MKL adds a product of 300,000 rows to the weight piece by piece, and is off by 3e-4.
        tolerance=1e-3,
        checked_batches=3 if size * n_features * n_classes < MAX_PRODUCTS // 2 else 1,
    )


def batch_name(job: Job) -> str:
    """As the job's name has it: an epoch may be one batch, and still not mean all rows."""
    return job.name.rpartition("B=")[2]
