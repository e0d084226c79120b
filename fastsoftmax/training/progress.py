"""The progress bar of a training run."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from ..terminal import has_terminal
from .history import History

__all__ = ["ProgressBar"]

# Standard error may be full, closed, or no file at all. No training is stopped for a bar.
_BROKEN = AttributeError, OSError, ValueError


class ProgressBar:
    """A bar on standard error that counts epochs and shows the newest losses and accuracies.

    Where standard error cannot show it, there is no bar, and the methods do nothing.

    Parameters
    ----------
    wanted : bool or None
        None shows a bar if standard error is a terminal.
    epochs : int
        How many are to come.
    """

    def __init__(self, wanted: bool | None, epochs: int) -> None:
        self._bar: Any = None
        if sys.stderr is None or not (has_terminal() if wanted is None else wanted):
            return
        from tqdm import tqdm

        with suppress(*_BROKEN):
            self._bar = tqdm(total=epochs, unit="epoch", leave=False)

    def update(self, history: History) -> None:
        """Counts one more epoch: the last of `history`."""
        if self._bar is None:
            return
        shown = {"loss": history.train_loss[-1], "accuracy": history.train_accuracy[-1]}
        if history.test_accuracy:
            shown["test"] = history.test_accuracy[-1]
        postfix = {name: f"{value:.4f}" for name, value in shown.items()}
        with suppress(*_BROKEN):
            self._bar.set_postfix(postfix, refresh=False)
            self._bar.update()

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            with suppress(*_BROKEN):
                self._bar.close()
