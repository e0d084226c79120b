"""What was measured in each epoch of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

from ..problem import Sums

__all__ = ["History"]


@dataclass
class History:
    """What was measured in each epoch, one entry an epoch.

    Losses are means over the rows, and accuracies the share of them predicted right. Those of
    training are gathered in the pass that trains, each batch before its update, as the book does
    it; where rows or classes have weights, the loss is the weighted mean. Rows that are ignored
    or of weight 0 have no part in either, and a row whose loss is NaN is not right.
    """

    lr: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)  # empty without validation data
    test_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of training alone, shuffling included
    eval_seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lr)

    def add_training(self, lr: float, sums: Sums, n: int, seconds: float) -> None:
        """Adds what a pass over n rows summed up."""
        self.lr.append(lr)
        self.train_loss.append(sums.loss / sums.total_weight)
        self.train_accuracy.append(sums.correct / sums.counted)
        self.seconds.append(seconds)
        self.samples_per_second.append(n / seconds)

    def add_test(self, sums: Sums, seconds: float) -> None:
        """Adds what an evaluation summed up."""
        self.test_loss.append(sums.loss / sums.total_weight)
        self.test_accuracy.append(sums.correct / sums.counted)
        self.eval_seconds.append(seconds)

    def drop_incomplete(self) -> None:
        """Drops what there is of an epoch that was interrupted while it was added."""
        complete = len(self.samples_per_second)  # added last
        for values in vars(self).values():
            del values[complete:]

    def to_dict(self) -> dict[str, list[float]]:
        """The lists by their names, as a data frame takes them: one entry an epoch in each.

        What was not measured has none: without validation data there is no ``test_loss``,
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
