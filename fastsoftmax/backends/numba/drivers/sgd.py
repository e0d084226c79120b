"""One update by gradients that are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..kernels.update import of_bias, update


def sgd(loop: Callable[[int], Any]) -> Callable[..., None]:
    """The driver, of weight (K, D) and bias (K,): alone, whatever the loop."""

    def driver(params, grad_weight, grad_bias, total_weight, settings, n_tasks):
        size, v = params.weight.size, params.velocity_weight
        update(
            params.weight.reshape(size), grad_weight.reshape(size), v.reshape(v.size),
            total_weight, settings,
        )  # fmt: skip
        update(params.bias, grad_bias, params.velocity_bias, total_weight, of_bias(settings))

    return driver
