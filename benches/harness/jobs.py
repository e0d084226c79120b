"""The jobs that are timed."""

from dataclasses import dataclass


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

# Small enough for a smoke run; its last batch is partial too (7 * 256 + 208).
SMOKE = Job("smoke", n_rows=2_000, n_features=784, n_classes=10, batch_size=256, lr=0.1)
