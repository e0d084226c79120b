"""How much memory loss and gradients take. Runs in a process of its own, on Linux."""

import re
from pathlib import Path

import numpy as np

from benches.peers.gradients import Work


def peak_megabytes(of: str, threads: int, shape: tuple[int, int, int]) -> float:
    """By how much a few steps raise the peak of this process over what it has before them."""
    n_rows, n_features, n_classes = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_rows, n_features), np.float32)
    weight = 0.01 * rng.standard_normal((n_classes, n_features), np.float32)
    bias, y = np.zeros(n_classes, np.float32), rng.integers(0, n_classes, n_rows)
    work = Work(of, threads, x, y, weight, bias)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now
    before = _megabytes("VmRSS")
    for _ in range(3):
        work.run()
    return _megabytes("VmHWM") - before


def _megabytes(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    match = re.search(rf"{name}:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) / 1024
