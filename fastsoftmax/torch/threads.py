"""PyTorch's own threads, lent to our kernels.

They spin between its operations: threads of ours beside them would get half of a core.
"""

from __future__ import annotations

import ctypes
from functools import cache

import torch

__all__ = ["lender"]


@cache
def lender() -> tuple[int, int]:
    """The addresses of GOMP_parallel and omp_get_max_threads in PyTorch's OpenMP, or 0, 0.

    They are 0 where PyTorch's threads are not OpenMP's, or its OpenMP is not seen by other
    libraries.
    """
    try:
        if "ATen parallel backend: OpenMP" not in torch.__config__.parallel_info():
            return 0, 0
        library = ctypes.CDLL(None)
        parallel, max_threads = (
            ctypes.cast(function, ctypes.c_void_p).value or 0
            for function in (library.GOMP_parallel, library.omp_get_max_threads)
        )
    except (AttributeError, OSError):
        return 0, 0
    return parallel, max_threads
