"""Times contenders by turns: one child process for each, all alive, one at work at a time.

So a slow minute of the machine is slow for all of them, and no contender's threads run beside
another's.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from benches.harness import data
from benches.harness.jobs import Job
from benches.harness.process import CallError, Process
from benches.harness.spec import Spec

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


class Child:
    """The process of one contender."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.process = Process(spec.env)
        self.skip = self.error = ""
        self.about: dict[str, str] = {}

    def load(self, job: Job, folder: Path) -> None:
        """Until it has checked its result; or `skip` says why it cannot run, `error` how it
        failed."""
        if self.skip:
            return
        self.error, self.about = "", {}
        try:
            reply = self.process.call(
                "benches.harness.worker:load",
                self.spec.module,
                self.spec.options,
                asdict(job),
                str(folder),
            )
        except CallError as error:
            self.error = str(error)
            return
        self.skip, self.about = reply.get("skip", ""), reply.get("about", {})

    @property
    def ready(self) -> bool:
        return not self.skip and not self.error

    def seconds(self, task: str, count: int) -> float:
        """What it measured of one epoch or step, over `count` of them."""
        try:
            return float(self.process.call("benches.harness.worker:seconds", task, count))
        except CallError as error:
            raise RuntimeError(f"{self.spec.name}: {error}") from None


class Race:
    """The children of some contenders, as a context: they end with it."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.children = {spec.name: Child(spec) for spec in specs}

    def load(self, job: Job) -> None:
        """Every child takes this job in place of its last one, and checks its result."""
        folder = Path(self.folder.name)
        data.save(data.make(job), folder)
        for child in self.children.values():
            # One after the other: their checks would need all their memory at once.
            child.load(job, folder)

    def raise_errors(self) -> None:
        """Where a contender failed at the job, as one does whose result is wrong."""
        errors = [f"{c.spec.name}: {c.error}" for c in self.children.values() if c.error]
        if errors:
            raise RuntimeError("\n".join(errors))

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
            child.process.close()
        self.folder.cleanup()
