"""The child process of one contender: checks its result, then answers each order with a time.

Orders come to stdin, one line of JSON each: ``{"job": ..., "folder": ...}`` to load a job in
place of the last one, ``{"task": "epoch", "count": 1}`` to time it. Each is answered by one line.
"""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benches import data
from benches.peers import Contender, NotAvailable
from benches.shapes import Job

# A turn begins with untimed work, for this long: the threads were asleep, and Linux may let those
# that wake share a core for a while (an epoch of ours took 31 ms from sleep, 18 afterwards).
WARM_SECONDS = 0.05


def epoch(contender: Contender, rng: np.random.Generator) -> Callable[[], object]:
    """One epoch in a new random order."""
    order = rng.permutation(contender.data.job.n_rows)
    return lambda: contender.epoch(order)


def step(contender: Contender, rng: np.random.Generator) -> Callable[[], object]:
    """One step, always over the same batch, which stays in the cache."""
    batch = contender.batch(0, contender.data.job.batch_size)
    return lambda: contender.step(batch)


def epoch_evaluate(contender: Any, rng: np.random.Generator) -> Callable[[], object]:
    """One epoch in a new random order, and then the loss and accuracy of the test rows."""
    train = epoch(contender, rng)
    return lambda: (train(), contender.evaluate_test())


TASKS: dict[str, Callable[[Any, np.random.Generator], Callable[[], object]]] = {
    "epoch": epoch,
    "step": step,
    "epoch_evaluate": epoch_evaluate,
    "evaluate": lambda contender, rng: contender.evaluate,
    "predict": lambda contender, rng: contender.predict,
    "sgd_step": lambda contender, rng: contender.sgd_step,
    "gradients": lambda contender, rng: contender.gradients,
}


def seconds_of(work: Callable[[], object], count: int) -> float:
    """Seconds that `work` takes when warm, over `count` times in a row."""
    start = time.perf_counter()
    while time.perf_counter() - start < WARM_SECONDS:
        work()
    start = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - start) / count


def settle() -> None:
    """Waits until no thread of this process runs: the pools of OpenMP and OpenBLAS go on
    spinning for a while after their last work, beside whoever is timed next."""
    while True:
        before = time.process_time()
        time.sleep(0.005)
        if time.process_time() - before < 0.0005:
            return


def prepare(request: dict[str, Any], order: dict[str, Any]) -> Contender:
    """The contender, set up for a job and checked."""
    module = importlib.import_module(f"benches.peers.{request['module']}")
    loaded = data.load(Job(**order["job"]), Path(order["folder"]))
    contender: Contender = module.Contender(loaded, **request["options"])
    contender.check()
    settle()
    return contender


def serve(request: dict[str, Any], reply: Callable[..., None]) -> None:
    """Takes the parent's orders until stdin ends: a job to prepare for, or a task to time."""
    contender = rng = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "job" in order:
                contender = None  # its memory goes before the next is loaded
                contender = prepare(request, order)
                rng = np.random.default_rng(contender.data.job.seed)  # one order for them all
                reply(about=contender.about())
            else:
                assert contender is not None and rng is not None
                contender.reset()
                seconds = seconds_of(TASKS[order["task"]](contender, rng), order["count"])
                settle()
                reply(seconds=seconds)
        except NotAvailable as reason:
            reply(skip=str(reason))
        except ModuleNotFoundError as error:
            reply(skip=f"{error.name} is not installed")
        except Exception:
            reply(error=traceback.format_exc())


def main() -> None:
    # What the libraries print goes to stderr: stdout is the parent's.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(
        json.loads(sys.argv[1]),
        lambda **message: print(json.dumps(message), file=replies, flush=True),
    )
