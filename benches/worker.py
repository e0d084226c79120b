"""The child process of one contender: checks its result, then answers each order with a time.

The parent writes a line like "epoch 1" or "step 200" to stdin, and reads a line of JSON.
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


TASKS = {"epoch": epoch, "step": step}


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


def serve(request: dict[str, Any], reply: Callable[..., None]) -> None:
    """Sets the contender up, checks it, and takes the parent's orders until stdin ends."""
    module = importlib.import_module(f"benches.peers.{request['module']}")
    loaded = data.load(Job(**request["job"]), Path(request["folder"]))
    contender = module.Contender(loaded, **request["options"])
    contender.check()
    settle()
    reply(about=contender.about())
    rng = np.random.default_rng(loaded.job.seed)  # the same orders for every contender
    for line in sys.stdin:
        task, count = line.split()
        contender.reset()
        seconds = seconds_of(TASKS[task](contender, rng), int(count))
        settle()
        reply(seconds=seconds)


def main() -> None:
    # What the libraries print goes to stderr: stdout is the parent's.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(**message: Any) -> None:
        print(json.dumps(message), file=replies, flush=True)

    try:
        serve(json.loads(sys.argv[1]), reply)
    except NotAvailable as reason:
        reply(skip=str(reason))
    except ModuleNotFoundError as error:
        reply(skip=f"{error.name} is not installed")
    except Exception:
        reply(error=traceback.format_exc())
