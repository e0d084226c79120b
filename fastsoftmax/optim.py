"""Public names for training: settings and state of SGD, and schedules of the learning rate."""

import warnings
from typing import Any

from .problem import Velocity
from .settings import SGDSettings
from .training.schedules import Schedule, cosine, exponential, step_decay

__all__ = ["SGDSettings", "Schedule", "Velocity", "cosine", "exponential", "step_decay"]

# Names that still work, and warn
_OLD_NAMES = {"SGD": "SGDSettings", "step": "step_decay"}


def __getattr__(name: str) -> Any:
    if name not in _OLD_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = _OLD_NAMES[name]
    warnings.warn(f"optim.{name} is now optim.{new}", DeprecationWarning, stacklevel=2)
    return globals()[new]
