"""What every loader hands out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLASS_NAMES = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


# eq=False: comparing arrays with == gives no truth value, so identity is the only sound equality.
@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Pictures with labels, split into a training and a test part.

    The arrays are read-only, as the pictures may be a memory map of the cache: copy what you
    want to change.

    Attributes
    ----------
    train_images, test_images : ndarray of uint8, shape (N, 28, 28)
        Grey levels, 0 is the background.
    train_labels, test_labels : ndarray of int32, shape (N,)
        Indices into `class_names`.
    class_names : tuple of str
    name : str
        Which data it really is: ``"fashion-mnist"`` or ``"synthetic"``.

    Examples
    --------
    >>> from fastsoftmax.datasets import synthetic
    >>> data = synthetic.make(n_train=20, n_test=10)
    >>> data
    <Dataset synthetic: 20 + 10 pictures of 28x28, 10 classes>
    >>> data.class_names[data.train_labels[0]]
    'dress'
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int32]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        for field in ("train_images", "train_labels", "test_images", "test_labels"):
            view = getattr(self, field).view()
            view.flags.writeable = False
            object.__setattr__(self, field, view)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.train_images.shape[1:]))
        return (
            f"<Dataset {self.name}: {len(self.train_images)} + {len(self.test_images)} "
            f"pictures of {size}, {len(self.class_names)} classes>"
        )
