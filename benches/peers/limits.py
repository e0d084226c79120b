"""What the machine allows: limits.c, compiled here and now, timed like any contender."""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benches.harness import contender
from benches.harness.data import Data
from benches.harness.verification import SUM_TOLERANCE

SOURCE = Path(__file__).with_name("limits.c")
# Over the rows, in each call of `evaluate`: to start the threads would count for much in one.
PASSES = 10
FLAGS = ["-O3", "-march=native", "-pthread", "-shared", "-fPIC"]


def compile_limits() -> ctypes.CDLL:
    """The functions of limits.c, for this machine."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise contender.NotAvailable("there is no C compiler (cc)")
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


class Contender(contender.Contender):
    """Does of an epoch only its reading (limit="read"), or its multiplying and adding ("fma").

    `evaluate` does the same of an evaluation, PASSES times: "read-in-order", or "fma", which is
    half of an epoch's. What lies in memory does not matter to it, but its size: pixels are read
    four at a time, as float32.
    """

    def __init__(self, data: Data, limit: str, threads: int, rows: str = "float32") -> None:
        super().__init__(data)
        self.limits = compile_limits()
        self.limit = limit
        self.threads = threads
        job = data.job
        # two passes, forward and gradient, of a multiplication and an addition each
        self.flop = 2.0 * 2.0 * job.n_rows * job.n_features * job.n_classes
        if limit == "read":
            self.x = data.rows("float32")
        elif limit == "read-in-order":
            assert job.n_features % 4 == 0
            width = job.n_features // (4 if rows == "uint8" else 1)
            self.x = np.ones((job.n_rows, width), np.float32)
            self.order = np.tile(np.arange(job.n_rows), PASSES)

    def about(self) -> dict[str, str]:
        return {"flags": " ".join(FLAGS)}

    def epoch(self, order: NDArray[np.int64]) -> None:
        if self.limit == "read":
            self.result = self.limits.limit_read(self.x, order, *self.x.shape, self.threads)
        else:
            self.result = self.limits.limit_fma(self.flop, 1.0, self.threads)

    def evaluate(self) -> None:
        if self.limit == "fma":
            self.result = self.limits.limit_fma(PASSES * self.flop / 2, 1.0, self.threads)
            return
        self.result = self.limits.limit_read(
            self.x, self.order, len(self.order), self.x.shape[1], self.threads
        )

    def check(self) -> None:
        """The sum of all that was read, or the number of multiply-adds that were done."""
        if self.limit == "read-in-order":
            self.evaluate()
            assert self.result == PASSES * self.x.size, self.result
            return
        self.epoch(self.data.order)
        if self.limit == "read":
            expected = self.data.pixels.sum(dtype=np.float64) / 255
        else:
            expected = self.flop / 2
        assert abs(self.result / expected - 1) < SUM_TOLERANCE, (self.result, expected)
