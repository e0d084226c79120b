"""Times contenders by turns: one child process for each, all alive, one at work at a time.

So that a slow minute of the machine is slow for all of them, and no contender's threads run
beside another's.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from benches import data
from benches.contenders import Spec
from benches.shapes import Job

ROUNDS, WARMUP = 15, 1
# in each round
REPEATS = {
    "epoch": 1,
    "step": 200,
    "epoch_evaluate": 1,
    "evaluate": 4,
    "predict": 4,
    "sgd_step": 1000,
}

ROOT = Path(__file__).parents[1]
# At the end of the path, so that an installed fastsoftmax comes before the folder of its source.
START = "import sys; sys.path.append({!r}); from benches.worker import main; main()"


class Child:
    """The process of one contender."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        request = {"module": spec.module, "options": spec.options}
        self.process = subprocess.Popen(
            [sys.executable, "-c", START.format(str(ROOT)), json.dumps(request)],
            cwd=folder,
            env={**os.environ, **spec.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.skip = self.error = ""
        self.about: dict[str, str] = {}

    def load(self, job: Job) -> None:
        """Until it has checked its result; or `skip` says why it cannot run, `error` how it
        failed."""
        if self.skip:
            return
        message = self._ask(job=asdict(job), folder=str(self.folder))
        self.skip, self.error = message.get("skip", ""), message.get("error", "")
        self.about = message.get("about", {})

    @property
    def ready(self) -> bool:
        return not self.skip and not self.error

    def seconds(self, task: str, count: int) -> float:
        """What it measured of one epoch or step, over `count` of them."""
        message = self._ask(task=task, count=count)
        if "error" in message:
            raise RuntimeError(f"{self.spec.name}: {message['error']}")
        return float(message["seconds"])

    def close(self) -> None:
        self.process.communicate()  # the end of its stdin is the end of its loop

    def _ask(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        line = ""
        with suppress(BrokenPipeError):
            print(json.dumps(order), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        if not line:
            return {"error": f"the process ended with {self.process.wait()}"}
        return dict(json.loads(line))


class Race:
    """The children of some contenders, as a context: they end with it."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.children = {spec.name: Child(spec, Path(self.folder.name)) for spec in specs}

    def load(self, job: Job) -> None:
        """Every child takes this job instead of its last one, and checks it."""
        data.save(data.make(job), Path(self.folder.name))
        for child in self.children.values():
            # One after the other: their checks would need all their memory at once.
            child.load(job)

    def errors(self) -> list[str]:
        """Of those that failed at the job."""
        return [f"{c.spec.name}: {c.error}" for c in self.children.values() if c.error]

    def skipped(self) -> list[Child]:
        return [c for c in self.children.values() if c.skip]

    def seconds(
        self, task: str, rounds: int, warmup: int, count: int | None = None
    ) -> dict[str, list[float]]:
        """Of one epoch or step, for each contender that is ready, round by round; of the mean
        over `count` of them, or as REPEATS says."""
        times: dict[str, list[float]] = {
            name: []
            for name, child in self.children.items()
            if child.ready and task in child.spec.tasks
        }
        for _ in range(warmup + rounds):
            for name, seconds in times.items():
                seconds.append(self.children[name].seconds(task, count or REPEATS[task]))
        return {name: seconds[warmup:] for name, seconds in times.items()}

    def __enter__(self) -> "Race":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self.children.values():
            child.close()
        self.folder.cleanup()
