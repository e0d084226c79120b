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
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from benches import data
from benches.contenders import Spec
from benches.shapes import Job

ROUNDS, WARMUP = 15, 1
REPEATS = {"epoch": 1, "step": 200}  # in each round

ROOT = Path(__file__).parents[1]
# At the end of the path, so that an installed fastsoftmax comes before the folder of its source.
START = "import sys; sys.path.append({!r}); from benches.worker import main; main()"


class Child:
    """The process of one contender."""

    def __init__(self, spec: Spec, job: Job, folder: Path) -> None:
        self.spec = spec
        request = {
            "module": spec.module,
            "options": spec.options,
            "job": asdict(job),
            "folder": str(folder),
        }
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

    def wait_ready(self) -> None:
        """Until it has checked its result; or `skip` says why it cannot run, `error` how it
        failed."""
        message = self._read()
        self.skip, self.error = message.get("skip", ""), message.get("error", "")
        self.about = message.get("about", {})

    @property
    def ready(self) -> bool:
        return not self.skip and not self.error

    def seconds(self, task: str, count: int) -> float:
        """What it measured of one epoch or step, over `count` of them."""
        assert self.process.stdin is not None
        print(task, count, file=self.process.stdin, flush=True)
        message = self._read()
        if "error" in message:
            raise RuntimeError(f"{self.spec.name}: {message['error']}")
        return float(message["seconds"])

    def close(self) -> None:
        self.process.communicate()  # the end of its stdin is the end of its loop

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            return {"error": f"the process ended with {self.process.wait()}"}
        return dict(json.loads(line))


class Race:
    """The children of one job, as a context: they end with it."""

    def __init__(self, job: Job, specs: Iterable[Spec]) -> None:
        self.job = job
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        data.save(data.make(job), folder)
        self.children: dict[str, Child] = {}
        for spec in specs:
            # One after the other: their checks would need all their memory at once.
            child = self.children[spec.name] = Child(spec, job, folder)
            child.wait_ready()

    def seconds(self, task: str, rounds: int, warmup: int) -> dict[str, list[float]]:
        """Of one epoch or step, for each contender that is ready, round by round."""
        times: dict[str, list[float]] = {
            name: []
            for name, child in self.children.items()
            if child.ready and task in child.spec.tasks
        }
        for _ in range(warmup + rounds):
            for name, seconds in times.items():
                seconds.append(self.children[name].seconds(task, REPEATS[task]))
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
