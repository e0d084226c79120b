"""Files to write."""

from __future__ import annotations

import os

import pytest

from fastsoftmax.files import atomic_write

OLD, NEW = b"old" * 1000, b"new" * 2000


def write(path, content=NEW):
    with atomic_write(path) as file:
        file.write(content)


def names(folder):
    return sorted(os.listdir(folder))


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
