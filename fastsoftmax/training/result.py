"""What a training run returns."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..model import LinearClassifier
from .history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TrainResult"]


@dataclass
class TrainResult:
    """What `train` returns.

    Attributes
    ----------
    model : LinearClassifier
    history : History
    dataset : str
        Which data it really was: ``"fashion-mnist"``, ``"synthetic"``, ``"arrays"``, or the name
        of the file.
    backend : str
        Which backend did it.
    interrupted : bool
        Whether Ctrl-C ended it early. The result is then the attribute `result` of the
        KeyboardInterrupt: `model` is as trained so far, and `history` has the complete epochs.
    """

    model: LinearClassifier
    history: History
    dataset: str
    backend: str
    interrupted: bool = False

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """The book's curves: training loss, training accuracy, test accuracy, by epoch.

        Written to `path` if given, in the format of its suffix. Needs matplotlib
        (``pip install "fastsoftmax[plot]"``).
        """
        from ..plots import curves

        return curves(self.history, path)
