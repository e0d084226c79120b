"""What was measured in each epoch of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

from ..problem import Sums

__all__ = ["History"]


@dataclass
class History:
    """What was measured in each epoch: lists with an entry for each.

    A loss is the mean over the rows, weighted where rows or classes have weights. An accuracy is
    the share of rows predicted right. Rows that are ignored or have weight 0 are in neither. A row
    whose loss is NaN is not right. The training loss and accuracy come from the pass that trains:
    each batch is measured before its update, as in the book.
    """

    lr: list[float] = field(default_factory=list)  # of the last step
    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)  # empty without validation data
    test_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of training with its shuffling alone
    eval_seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lr)

    def add_training(self, lr: float, sums: Sums, n: int, seconds: float) -> None:
        """Adds an epoch of training: the sums of its pass over n rows."""
        self.lr.append(lr)
        self.train_loss.append(sums.mean_loss)
        self.train_accuracy.append(sums.accuracy)
        self.seconds.append(seconds)
        self.samples_per_second.append(n / seconds)

    def add_test(self, sums: Sums, seconds: float) -> None:
        """Adds the sums of an evaluation."""
        self.test_loss.append(sums.mean_loss)
        self.test_accuracy.append(sums.accuracy)
        self.eval_seconds.append(seconds)

    def drop_incomplete(self) -> None:
        """Drops the entries of the last epoch if an interrupt kept some from being added."""
        complete = len(self.samples_per_second)  # the list that is added to last
        for values in vars(self).values():
            del values[complete:]

    def to_dict(self) -> dict[str, list[float]]:
        """The lists by their names, as a data frame takes them.

        Lists without entries are left out: without validation data there is no ``test_loss``,
        ``test_accuracy`` or ``eval_seconds``.

        Examples
        --------
        >>> sorted(History(lr=[0.1], train_loss=[0.7]).to_dict())
        ['lr', 'train_loss']
        """
        return {name: values for name, values in asdict(self).items() if values}

    def __str__(self) -> str:
        columns = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name)]
        headings = ["epoch", *(name for name, _ in columns)]
        rows = [
            [str(epoch + 1), *(_format(name, values[epoch]) for name, values in columns)]
            for epoch in range(len(self))
        ]
        widths = [max(map(len, cells)) for cells in zip(headings, *rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in [headings, *rows]
        ]
        return "\n".join(lines)


def _format(name: str, value: float) -> str:
    if name == "lr":
        return f"{value:.4g}"
    return f"{value:,.0f}" if name == "samples_per_second" else f"{value:.4f}"
