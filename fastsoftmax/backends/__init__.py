"""The backends: each a way to compute the same step, behind one contract."""

from .choice import BACKENDS, auto_backend, available_backends, get_backend
from .contract import Backend, Kernels

__all__ = [
    "BACKENDS",
    "Backend",
    "Kernels",
    "auto_backend",
    "available_backends",
    "get_backend",
]
