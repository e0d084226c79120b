"""The number of threads told to threadpoolctl: ``threadpool_limits(1)`` is for our kernels too.

`import fastsoftmax` does not import threadpoolctl. The controller is registered when somebody
else, scikit-learn for example, imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ._build_info import version
from .backends import get_backend
from .threads import get_num_threads, set_num_threads


def announce() -> None:
    """Registers a controller with threadpoolctl, now or when it is imported."""
    module = sys.modules.get("threadpoolctl")
    if module is not None:
        _register(module)
    else:
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """An import hook: the other finders find threadpoolctl, and we register once it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "threadpoolctl":
            return None
        others = [f for f in sys.meta_path if f is not self and hasattr(f, "find_spec")]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None:
            self._register_after(spec.loader)
        return spec

    def _register_after(self, loader: Any) -> None:
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                _register(module)

        loader.exec_module = exec_module


def _register(threadpoolctl: Any) -> None:
    if not hasattr(threadpoolctl, "register"):  # before 3.2
        return
    # threadpoolctl finds a controller by its shared library: it must be loaded for any backend
    with suppress(ImportError, RuntimeError, ValueError):
        get_backend("cython")
        threadpoolctl.register(_controller(threadpoolctl.LibController))


def _controller(base: Any) -> Any:
    class FastsoftmaxController(base):  # type: ignore[misc]
        user_api = internal_api = "fastsoftmax"
        filename_prefixes = ("cython.",)
        check_symbols = ("fastsoftmax_threads",)

        def get_num_threads(self) -> int | None:
            try:
                return get_num_threads()
            except ValueError:  # OMP_NUM_THREADS is wrong, and whoever asks here cannot help it
                return None

        def set_num_threads(self, num_threads: int | None) -> None:
            set_num_threads(None)
            # The number may be the default put back, and the default must follow the cores
            if num_threads is not None and num_threads != self.get_num_threads():
                set_num_threads(max(num_threads, 1))

        def get_version(self) -> Any:
            return version

    return FastsoftmaxController
