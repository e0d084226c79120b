"""The backends: each a way to compute the same step, behind one contract."""

from .contract import BACKENDS, Backend, auto_backend, available_backends, get_backend

__all__ = ["BACKENDS", "Backend", "auto_backend", "available_backends", "get_backend"]
