from collections.abc import Callable, Sequence
from typing import Any

def built_isas() -> list[str]: ...
def supported_isas() -> list[str]: ...
def selected_isa() -> str: ...
def select_isa(isa: str | None = None) -> None: ...
def borrow_threads(parallel: int, max_threads: int) -> None: ...

class TensorKernels:
    def __init__(
        self,
        exchange: object,
        types: tuple[type, type],
        empty_like: Callable[[Any], Any],
        scalar: Any,
        parallel: int,
        max_threads: int,
    ) -> None: ...
    def loss_and_grads(
        self,
        input: Any,
        linear_weight: Any,
        linear_bias: Any,
        target: Any,
        ignore_index: int,
        mean: bool,
        num_threads: int,
        needed: Sequence[bool] | None = None,
    ) -> tuple[Any, tuple[Any, Any, Any] | None] | None: ...

def __getattr__(name: str) -> Any: ...  # the contract: see backends.Backend
