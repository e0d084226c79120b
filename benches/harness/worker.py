"""The child process of one contender: sets it up, checks its result, times its tasks."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from benches.harness import data
from benches.harness.clock import seconds_of, settle
from benches.harness.contender import Contender, NotAvailable
from benches.harness.jobs import Job

_contender: Contender | None = None
_rng = np.random.default_rng()


def load(module: str, options: dict[str, Any], job: dict[str, Any], folder: str) -> dict[str, Any]:
    """Takes this job in place of the last one.

    Returns what the contender says `about` itself, or why it has to be left out: `skip`.
    """
    global _contender, _rng
    _contender = None  # its memory goes before the next is loaded
    try:
        peer = importlib.import_module(f"benches.peers.{module}")
        contender: Contender = peer.Contender(data.load(Job(**job), Path(folder)), **options)
        contender.check()
    except NotAvailable as reason:
        return {"skip": str(reason)}
    except ModuleNotFoundError as error:
        return {"skip": f"{error.name} is not installed"}
    settle()
    _contender, _rng = contender, np.random.default_rng(contender.data.job.seed)
    return {"about": contender.about()}


def seconds(task: str, count: int) -> float:
    """The mean time of the task, over `count` times. All contenders draw the same orders."""
    assert _contender is not None
    _contender.reset()
    result = seconds_of(_contender.work(task, _rng), count)
    settle()
    return result
