"""The contract that every backend fulfils, and the choice of one.

A backend is a module with the functions of `Backend`, no more and no fewer. All check their
arguments by `checks`, hence raise the same exceptions, and update parameters in place. Within a
backend, and bit for bit:

- ``train_step`` is ``loss_and_grad``, then ``sgd_update`` by the weight of its rows, or by 1 where
  that is 0, as is the gradient then;
- ``train_epoch`` is a loop of ``train_step``;
- nothing depends on ``num_threads``.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from functools import cache
from typing import Any, Protocol, cast

from ..checks import Array
from ..forks import import_lock
from ..problem import Sums, Velocity
from ..settings import CrossEntropy, SGDSettings

__all__ = ["BACKENDS", "Backend", "available_backends", "get_backend"]

BACKENDS = ("cython", "numba", "numpy")  # best first

# What there must be for one to be available: the extension that was built, or another package
_NEEDS = {"cython": f"{__package__}.cython", "numba": "numba", "numpy": "numpy"}
_HOW_TO_GET = {
    "cython": "which this build is without",
    "numba": "which `pip install fastsoftmax[numba]` installs",
}

_logger = logging.getLogger("fastsoftmax")


class Backend(Protocol):
    """The fused step and its parts.

    Shapes: x (N, D) or (N, H, W) and the like, float32 or uint8, each feature multiplied by
    ``scale``; target (N,) of integers, or (N, K) of probabilities; sample_weight (N,); weight and
    its gradient (K, D), bias and its gradient (K,), float32. Losses are sums over rows, in double.
    Without a criterion it is ``CrossEntropy()``, and no row is ignored. A row of which every class
    has coefficient 0 counts for nothing: it may be NaN, it is not counted, and its loss and its
    row of grad_input are 0. What is written to must not share memory with any other argument.
    """

    name: str

    def loss_and_grad(
        self,
        x: Any,
        target: Any,
        weight: Array,
        bias: Array,
        *,
        criterion: CrossEntropy | None = None,
        sample_weight: Any = None,
        scale: float = 1.0,
        num_threads: int | None = None,
        grad_scale: float = 1.0,
        grad_input: Array | None = None,
    ) -> tuple[float, Array, Array]:
        """Summed loss, and its gradients for weight and bias; into grad_input (N, D) for x.

        The gradients are multiplied by grad_scale.
        """

    def sgd_update(
        self,
        weight: Array,
        bias: Array,
        grad_weight: Array,
        grad_bias: Array,
        total_weight: float,
        sgd: SGDSettings,
        velocity: Velocity | None = None,
    ) -> None:
        """One update by the gradients of a summed loss, over the weight of its rows.

        That is their number, where nothing weighs them.
        """

    def train_step(
        self,
        x: Any,
        target: Any,
        weight: Array,
        bias: Array,
        sgd: SGDSettings,
        velocity: Velocity | None = None,
        *,
        criterion: CrossEntropy | None = None,
        sample_weight: Any = None,
        scale: float = 1.0,
        num_threads: int | None = None,
    ) -> Sums:
        """One update by the mean gradient; sums of loss and correct predictions before it."""

    def train_epoch(
        self,
        x: Any,
        target: Any,
        order: Any,
        batch_size: int,
        weight: Array,
        bias: Array,
        sgd: SGDSettings,
        velocity: Velocity | None = None,
        *,
        criterion: CrossEntropy | None = None,
        sample_weight: Any = None,
        scale: float = 1.0,
        num_threads: int | None = None,
    ) -> Sums:
        """A step for each batch_size rows of x[order], the last with what is left; their sums.

        order is (M,) of row indices, in which a row may occur any number of times, or None for
        all rows as they come.
        """

    def evaluate(
        self,
        x: Any,
        target: Any,
        weight: Array,
        bias: Array,
        *,
        criterion: CrossEntropy | None = None,
        sample_weight: Any = None,
        scale: float = 1.0,
        num_threads: int | None = None,
        losses: Array | None = None,
    ) -> Sums:
        """Sums of loss and correct predictions; the loss of each row into losses (N,)."""

    def predict_logits(
        self,
        x: Any,
        weight: Array,
        bias: Array,
        *,
        scale: float = 1.0,
        num_threads: int | None = None,
    ) -> Array:
        """Logits (N, K)."""

    def softmax(self, logits: Array, *, num_threads: int | None = None) -> Array:
        """Softmax over the classes of logits (B, K)."""

    def log_softmax(self, logits: Array, *, num_threads: int | None = None) -> Array:
        """Logarithm of the softmax over the classes of logits (B, K)."""


@cache
def available_backends() -> tuple[str, ...]:
    """Names of the backends that can be used here, best first."""
    return tuple(name for name in BACKENDS if importlib.util.find_spec(_NEEDS[name]))


@cache
def auto_backend() -> str:
    """Name of the backend that "auto" means: FASTSOFTMAX_BACKEND, or else the best there is."""
    name, why = os.environ.get("FASTSOFTMAX_BACKEND", ""), "FASTSOFTMAX_BACKEND"
    if not name:
        name, why = available_backends()[0], "the best available"
    elif name not in BACKENDS:
        raise ValueError(f"FASTSOFTMAX_BACKEND must be one of {BACKENDS}, got {name!r}")
    _logger.debug("the backend is %s, %s of %s", name, why, ", ".join(available_backends()))
    return name


_loaded: dict[str, Backend] = {}


def get_backend(name: str = "auto") -> Backend:
    """The backend of that `name`: "cython", "numba", "numpy", or "auto".

    "auto" is the one that FASTSOFTMAX_BACKEND names, or else the first of these that is available.

    Raises
    ------
    TypeError, ValueError
        There is no backend of that name.
    ImportError
        It is not available here.

    Examples
    --------
    >>> get_backend("numpy").name
    'numpy'
    """
    try:
        return _loaded[name]
    except (KeyError, TypeError):  # not yet, or what cannot be hashed
        pass
    if not isinstance(name, str):
        raise TypeError(f"backend must be one of {('auto', *BACKENDS)}, got {name!r}")
    _loaded[name] = backend = _load(auto_backend() if name == "auto" else name)
    return backend


def _load(name: str) -> Backend:
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {('auto', *BACKENDS)}, got {name!r}")
    if name not in available_backends():
        raise ImportError(f"backend {name!r} needs {_NEEDS[name]}, {_HOW_TO_GET[name]}")
    with import_lock:
        return cast(Backend, importlib.import_module(f"{__package__}.{name}"))
