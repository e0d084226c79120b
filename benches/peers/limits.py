"""What the machine allows: limits.c, compiled here and now, timed like any contender."""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benches import peers
from benches.data import Data

SOURCE = Path(__file__).parents[1] / "limits.c"
FLAGS = ["-O3", "-march=native", "-pthread", "-shared", "-fPIC"]


def compile_limits() -> ctypes.CDLL:
    """The functions of limits.c, for this machine."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise peers.NotAvailable("there is no C compiler (cc)")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "limits.so")
        subprocess.run([compiler, *FLAGS, SOURCE, "-o", library], check=True)
        limits = ctypes.CDLL(str(library))
    rows, order = np.ctypeslib.ndpointer(np.float32), np.ctypeslib.ndpointer(np.int64)
    size = ctypes.c_ssize_t
    limits.limit_read.argtypes = [rows, order, size, size, ctypes.c_int]
    limits.limit_fma.argtypes = [ctypes.c_double, ctypes.c_float, ctypes.c_int]
    limits.limit_read.restype = limits.limit_fma.restype = ctypes.c_double
    return limits


class Contender(peers.Contender):
    """Does of an epoch only its reading (limit="read"), or its multiplying and adding ("fma")."""

    def __init__(self, data: Data, limit: str, threads: int) -> None:
        super().__init__(data)
        self.limits = compile_limits()
        self.limit = limit
        self.threads = threads
        job = data.job
        # two passes, forward and gradient, of a multiplication and an addition each
        self.flop = 2.0 * 2.0 * job.n_rows * job.n_features * job.n_classes
        if limit == "read":
            self.x = data.rows("float32")

    def about(self) -> dict[str, str]:
        return {"flags": " ".join(FLAGS)}

    def epoch(self, order: NDArray[np.int64]) -> None:
        if self.limit == "read":
            self.result = self.limits.limit_read(self.x, order, *self.x.shape, self.threads)
        else:
            self.result = self.limits.limit_fma(self.flop, 1.0, self.threads)

    def check(self) -> None:
        """The sum of all that was read, or the number of multiply-adds that were done."""
        self.epoch(self.data.order)
        if self.limit == "read":
            expected = self.data.pixels.sum(dtype=np.float64) / 255
        else:
            expected = self.flop / 2
        assert abs(self.result / expected - 1) < peers.TOLERANCE, (self.result, expected)
