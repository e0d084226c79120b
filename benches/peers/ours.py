"""fastsoftmax: the whole epoch is one call."""

import os

import numpy as np
from numpy.typing import NDArray

from benches.harness import contender
from benches.harness.data import Data

try:
    from fastsoftmax import __version__
    from fastsoftmax.backends import cython as _cython
    from fastsoftmax.backends import get_backend
    from fastsoftmax.optim import SGDSettings
except RuntimeError as error:  # $FASTSOFTMAX_ISA is not for this CPU, or not built
    raise contender.NotAvailable(str(error)) from None

Batch = tuple[NDArray[np.float32] | NDArray[np.uint8], NDArray[np.int32]]


class Contender(contender.Contender):
    def __init__(self, data: Data, rows: str, threads: int, backend: str = "cython") -> None:
        forced = os.environ.get("FASTSOFTMAX_ISA")
        if forced and forced == _cython.supported_isas()[-1]:
            raise contender.NotAvailable(f"{forced} is what the contender without an ISA runs")
        assert not forced or forced == _cython.selected_isa()
        super().__init__(data)
        try:
            self.backend = get_backend(backend)
        except ImportError as error:
            raise contender.NotAvailable(str(error)) from None
        self.sgd = SGDSettings(lr=data.job.lr)
        self.x = data.rows(rows)
        self.y = data.target.astype(np.int32)
        self.options = {"scale": 1 / 255 if rows == "uint8" else 1.0, "num_threads": threads}

    def about(self) -> dict[str, str]:
        if self.backend.name == "numba":
            import numba

            return {"fastsoftmax": __version__, "numba": numba.__version__}
        return {"fastsoftmax": __version__, "isa": _cython.selected_isa()}

    def epoch(self, order: NDArray[np.int64]) -> tuple[float, int]:
        return self.backend.train_epoch(
            self.x,
            self.y,
            order,
            self.data.job.batch_size,
            self.weight,
            self.bias,
            self.sgd,
            **self.options,
        )

    def batch(self, start: int, stop: int) -> Batch:
        return self.x[start:stop], self.y[start:stop]

    def step(self, batch: Batch) -> None:
        self.backend.train_step(*batch, self.weight, self.bias, self.sgd, **self.options)
