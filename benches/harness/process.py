"""Functions of the benches, called in a process of their own.

A contender has its process for itself, with its own environment and its own Python. `Process` is
the parent's side, `main` the child's. They exchange one line of JSON for each call.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]

# The root of the repository comes last on the path, and the child works in another folder. Or else
# it would import the source of fastsoftmax, which is not built, in place of what is installed.
START = f"import sys; sys.path.append({str(ROOT)!r}); "
START += "from benches.harness.process import main; main()"

# The finder of an editable install would come before any path.
NOT_EDITABLE = "import sys; sys.meta_path[:] = [finder for finder in sys.meta_path "
NOT_EDITABLE += "if not type(finder).__name__.startswith('Mesonpy')]"


@dataclass(frozen=True)
class Build:
    """A build of fastsoftmax: what a Python has installed, or what is in a folder of packages."""

    python: str = sys.executable
    packages: Path | None = None

    def command(self) -> list[str]:
        if self.packages is None:
            return [self.python, "-c", START]
        first = f"{NOT_EDITABLE}; sys.path.insert(0, {str(self.packages)!r})"
        return [self.python, "-c", f"{first}; {START}"]


class CallError(RuntimeError):
    """The function raised, or its process has ended. The message says how."""


class Process:
    """A child process, as a context. It ends with the context."""

    def __init__(
        self, env: Mapping[str, str | None] | None = None, build: Build | None = None
    ) -> None:
        """`env` is added to the environment; what is None there is taken from it."""
        environment = {**os.environ, **(env or {})}
        self.process = subprocess.Popen(
            (build or Build()).command(),
            cwd=tempfile.gettempdir(),
            env={name: value for name, value in environment.items() if value is not None},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, function: str, *arguments: Any) -> Any:
        """What `function`, a "module:name" of the benches, returns."""
        self.send(function, *arguments)
        return self.receive()

    def send(self, function: str, *arguments: Any) -> None:
        """Begins a call. `receive` waits for its end."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # `receive` says that the process has ended
            print(json.dumps([function, arguments]), file=self.process.stdin, flush=True)

    def receive(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise CallError(f"the process ended with {self.process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise CallError(reply["error"])
        return reply["value"]

    def close(self) -> None:
        self.process.communicate()  # the child's loop ends with its stdin

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def call(function: str, *arguments: Any, env: Mapping[str, str | None] | None = None) -> Any:
    """What `function` returns, in a new process."""
    with Process(env) as process:
        return process.call(function, *arguments)


def main() -> None:
    """The child: answers calls until its stdin ends."""
    # What the libraries print goes to stderr: stdout is the parent's.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        function, arguments = json.loads(line)
        try:
            module, _, name = function.partition(":")
            reply = {"value": getattr(importlib.import_module(module), name)(*arguments)}
        except Exception:
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply), file=replies, flush=True)
