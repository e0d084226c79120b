"""Pictures of a training run and of a model. They need matplotlib, the extra ``plot``."""

from __future__ import annotations

import io
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from . import scalars
from .files import atomic_write
from .labels import labels as checked_labels
from .model import LinearClassifier
from .terminal import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .training.history import History

__all__ = ["curves", "predictions", "weights"]

_TITLE_LETTERS = 24  # as many as fit beside the next title


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ImportError(
            'plots need matplotlib: pip install "fastsoftmax[plot]"', name="matplotlib"
        ) from error
    # pyplot would choose a backend, open windows and keep figures alive
    return Figure(figsize=(width, height), layout="constrained")


def check_path(path: str | os.PathLike[str]) -> str:
    """The format of a path's suffix; raises a ValueError if pictures have no such format."""
    known = _figure(1, 1).canvas.get_supported_filetypes()
    suffix = os.path.splitext(os.fsdecode(path))[1][1:].lower()
    if suffix not in known:
        raise ValueError(f"{os.fsdecode(path)} must end in one of .{', .'.join(sorted(known))}")
    return suffix


def _grid(n: int, columns: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A figure with axes for n pictures, each of that width and height in inches."""
    columns = min(columns, n)
    n_rows = math.ceil(n / columns)
    figure = _figure(width * columns, height * n_rows)
    axes = list(figure.subplots(n_rows, columns, squeeze=False).flat)
    for one in axes:
        one.axis("off")
    return figure, axes


def _finish(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    if path is not None:
        picture = io.BytesIO()
        figure.savefig(picture, format=check_path(path), dpi=150)
        with atomic_write(path) as file:
            file.write(picture.getvalue())
    return figure


def _title(axes: Any, text: str, color: str = "black") -> None:
    """Sets a title of plain text, without mathematics between dollars and without TeX."""
    axes.set_title(text, fontsize=9, color=color, parse_math=False, usetex=False)


def _names(model: LinearClassifier) -> list[str]:
    """A title for each class, cut to what fits."""
    names = [plain(name) for name in model.class_names or model.classes.tolist()]
    return [n if len(n) <= _TITLE_LETTERS else f"{n[: _TITLE_LETTERS - 1]}…" for n in names]


def curves(history: History, path: str | os.PathLike[str] | None = None) -> Figure:
    """The book's three curves by epoch: training loss, training accuracy, test accuracy.

    Parameters
    ----------
    history : History
    path : path, optional
        Where to write the picture, in the format of its suffix.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        `path` has no suffix of a picture.
    """
    if path is not None:
        check_path(path)
    figure = _figure(5.6, 3.6)
    axes = figure.subplots()
    epochs = np.arange(1, len(history) + 1)
    axes.plot(epochs, history.train_loss, "-", label="train loss", marker=".")
    axes.plot(epochs, history.train_accuracy, "--", label="train accuracy", marker=".")
    if history.test_accuracy:
        axes.plot(epochs, history.test_accuracy, "-.", label="test accuracy", marker=".")
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    axes.grid(alpha=0.3)
    axes.legend()
    return _finish(figure, path)


def predictions(
    model: LinearClassifier,
    images: Any,
    labels: Any = None,
    path: str | os.PathLike[str] | None = None,
    *,
    columns: int = 6,
) -> Figure:
    """Each picture under its true and its predicted label (the book's ``predict_ch3``).

    Parameters
    ----------
    model : LinearClassifier
    images : ndarray of float32 or uint8, shape (N, H, W)
    labels : array_like, shape (N,), optional
        The true labels.
    path : path, optional
        Where to write the picture, in the format of its suffix.
    columns : int
        Pictures in a line.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        `images` are not pictures, or `labels` not as many; `path` has no suffix of a picture.
    """
    if path is not None:
        check_path(path)
    columns = scalars.positive_int("columns", columns)
    images = np.asarray(images)
    if images.ndim != 3 or len(images) == 0:
        raise ValueError(f"images must be (N, H, W) with N >= 1, got shape {images.shape}")
    if labels is not None:
        labels = checked_labels(labels)
        if len(labels) != len(images):
            raise ValueError(
                f"labels must be {len(images)} as there are images, got {len(labels)}"
            )
    predicted = model.encode(model.predict(images))
    true = None if labels is None else model.encode(labels)
    names = _names(model)
    figure, grid = _grid(len(images), columns, 1.5, 1.9)
    for i, (axes, image) in enumerate(zip(grid, images, strict=False)):
        axes.imshow(image, cmap="gray_r")
        title = names[predicted[i]] if true is None else f"{names[true[i]]}\n{names[predicted[i]]}"
        wrong = true is not None and true[i] != predicted[i]
        _title(axes, title, "tab:red" if wrong else "black")
    if true is not None:
        figure.supxlabel("above: true label; below: predicted, red where wrong", fontsize=8)
    return _finish(figure, path)


def weights(
    model: LinearClassifier,
    image_shape: tuple[int, int] | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    columns: int = 5,
) -> Figure:
    """The weight of each class as a picture: blue speaks for the class, red against it.

    Parameters
    ----------
    model : LinearClassifier
    image_shape : (H, W), optional
        The shape of the pictures that it was trained on; None takes them to be square.
    path : path, optional
        Where to write the picture, in the format of its suffix.
    columns : int
        Pictures in a line.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        The features are not the pixels of such a picture; `path` has no suffix of a picture.
    """
    if path is not None:
        check_path(path)
    columns = scalars.positive_int("columns", columns)
    if image_shape is None:
        height = width = math.isqrt(model.n_features)
    else:
        height, width = _image_shape(image_shape)
    if height * width != model.n_features:
        raise ValueError(
            f"{model.n_features} features are not a picture of {height}x{width}; give image_shape"
        )
    largest = float(abs(model.weight).max()) or 1.0
    figure, grid = _grid(model.n_classes, columns, 1.6, 1.8)
    for axes, weight, name in zip(grid, model.weight, _names(model), strict=False):
        picture = weight.reshape(height, width)
        axes.imshow(picture, cmap="RdBu", vmin=-largest, vmax=largest)
        _title(axes, name)
    return _finish(figure, path)


def _image_shape(shape: Any) -> tuple[int, int]:
    try:
        height, width = shape
    except (TypeError, ValueError) as error:
        raise type(error)(f"image_shape must be a pair (H, W), got {shape!r}") from None
    return (
        scalars.positive_int("image_shape[0]", height),
        scalars.positive_int("image_shape[1]", width),
    )
