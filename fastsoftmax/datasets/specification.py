"""What is known of a dataset that is published as four IDX files."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Specification(NamedTuple):
    """Names, sizes and digests; the files are the training images and labels, then those of test.

    `md5` has the names of the files in this order.
    """

    name: str  # of the dataset, and of its folders
    title: str  # for messages
    namesakes: str  # other files of the same names, for messages
    download_size: str  # for a message
    md5: dict[str, str]  # of each compressed file
    md5_decompressed: dict[str, str]  # of each file without ``.gz``
    mirrors: tuple[str, ...]  # URLs of folders, in the order in which they are tried
    timeout: tuple[float, float]  # seconds, to connect and between two bytes
    n_train: int
    n_test: int
    image_shape: tuple[int, int]
    class_names: tuple[str, ...]


class Parts(NamedTuple):
    """The content of the four files, in the order of the decoded file in the cache."""

    train_images: NDArray[np.uint8]  # (n_train, H, W)
    test_images: NDArray[np.uint8]  # (n_test, H, W)
    train_labels: NDArray[np.uint8]  # (n_train,)
    test_labels: NDArray[np.uint8]  # (n_test,)
