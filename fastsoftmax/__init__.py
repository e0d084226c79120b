"""The fastest way to train softmax regression on CPUs.

>>> import fastsoftmax as fs
>>> result = fs.train("synthetic", epochs=1)
>>> result.history.test_accuracy[0] > 0.6
True
"""

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

try:
    from ._build_info import version as __version__
except ModuleNotFoundError as _error:
    raise ImportError(
        f"this is the source folder of fastsoftmax, {_Path(__file__).parent}, which is not built: "
        "run `pip install .` beside its pyproject.toml, and start Python in another folder"
    ) from _error

from .backends import auto_backend as _auto_backend
from .backends import available_backends, get_backend
from .forks import import_lock as _import_lock
from .functional import (
    LinearCrossEntropyGrad,
    cross_entropy,
    linear_cross_entropy,
    linear_cross_entropy_grad,
    log_softmax,
    nll_loss,
    softmax,
)
from .problem import Velocity
from .sgd import SGD, sgd_step
from .threadpool import announce as _announce
from .threads import get_num_threads, set_num_threads

if _auto_backend() == "cython":  # what is wrong with the extension, or FASTSOFTMAX_ISA, shows here
    get_backend()
_announce()

if _TYPE_CHECKING:
    from . import datasets, optim, plots
    from .config import show_config
    from .datasets import Dataset, DatasetUnavailableError, load_dataset
    from .model import Evaluation, LinearClassifier
    from .training.history import History
    from .training.result import TrainResult
    from .training.train import train

# Public names that are imported at their first use: name -> module, "" for a module itself
_LAZY = {
    "Dataset": "datasets",
    "DatasetUnavailableError": "datasets",
    "Evaluation": "model",
    "History": "training.history",
    "LinearClassifier": "model",
    "TrainResult": "training.result",
    "datasets": "",
    "load_dataset": "datasets",
    "optim": "",
    "plots": "",
    "show_config": "config",
    "train": "training.train",
}

__all__ = [
    "SGD",
    "Dataset",
    "DatasetUnavailableError",
    "Evaluation",
    "History",
    "LinearClassifier",
    "LinearCrossEntropyGrad",
    "TrainResult",
    "Velocity",
    "__version__",
    "available_backends",
    "cross_entropy",
    "datasets",
    "get_backend",
    "get_num_threads",
    "linear_cross_entropy",
    "linear_cross_entropy_grad",
    "load_dataset",
    "log_softmax",
    "nll_loss",
    "optim",
    "plots",
    "set_num_threads",
    "sgd_step",
    "show_config",
    "softmax",
    "train",
]


def __getattr__(name: str) -> _Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _import_lock:
        module = _import_module(f".{_LAZY[name] or name}", __name__)
    value = getattr(module, name) if _LAZY[name] else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
