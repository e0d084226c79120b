"""The jobs that are benched."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Job:
    """One training job: N rows of D features, K classes, SGD over batches of B rows."""

    name: str
    n_rows: int
    n_features: int
    n_classes: int
    batch_size: int
    lr: float
    seed: int = 0
    tasks: tuple[str, ...] = ("epoch", "step")  # what may be timed, and hence is checked
    checked_batches: int | None = None  # of the epoch; None: all of them
    # Of the distance trained. At the book's job float32 is off by 5e-7 (bias 2e-6), two rows
    # swapped between batches by 9e-5, a last batch averaged over the wrong number of rows by 2e-2.
    tolerance: float = 1e-5

    def __str__(self) -> str:
        return self.name


# "Dive into Deep Learning", concise softmax regression: Fashion-MNIST, 234 batches of 256 and
# one of 96.
BOOK = Job("book", n_rows=60_000, n_features=784, n_classes=10, batch_size=256, lr=0.1)

JOBS = [BOOK]

# What is evaluated: the book's test rows, and its training rows. And the smallest usual batch.
TEST_ROWS = Job("10,000 rows", 10_000, 784, 10, 256, lr=0.1, tasks=("epoch",))
TRAIN_ROWS = Job("60,000 rows", 60_000, 784, 10, 256, lr=0.1, tasks=("epoch",))
SMALL_STEP = Job("small step", 32, 784, 10, 32, lr=0.1, tasks=("step",))

# Small enough for a smoke run; its last batch is partial too (7 * 256 + 208).
SMOKE = Job("smoke", n_rows=2_000, n_features=784, n_classes=10, batch_size=256, lr=0.1)

# The table of shapes. A batch of ALL_ROWS is all of them.
CLASSES = (2, 3, 10, 16, 100, 1000)
FEATURES = (64, 768, 784, 2048, 4096)
ALL_ROWS = 0
BATCHES = (32, 256, 1024, 4096, ALL_ROWS)

# Whichever is reached first ends the epoch of a shape: the features that lie in memory (64 MB of
# float32, more than a cache), the arithmetic (some 0.1 s), the logits of all rows, the steps.
MAX_ELEMENTS, MAX_PRODUCTS, MAX_LOGITS, MAX_STEPS = 16_000_000, 2_000_000_000, 10_000_000, 600
MIN_ALL_ROWS = 8192


def grid() -> Iterator[Job]:
    """All shapes, batch by batch."""
    for batch, features, classes in product(BATCHES, FEATURES, CLASSES):
        yield shape(features, classes, batch)


def shape(n_features: int, n_classes: int, batch: int) -> Job:
    """The job of one shape: whole batches, as many as the bounds allow, at least one.

    With all rows in one batch the order of the rows means nothing, and nobody need gather them:
    what is timed then is a step over the rows as they lie.
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
