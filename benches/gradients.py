"""Loss and gradients for the weight and bias of a linear layer: seconds, and peak memory.

As a training loop of one's own asks for them: forward and backward, no update. The memory is
measured in new processes, each of which does nothing else.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benches.alternate import ROOT, Race
from benches.contenders import GRADIENTS, Spec
from benches.shapes import Job

# Of the job's batch, features and classes; how often in a round; what is aimed at, in the time of
# F.linear_cross_entropy. The memory of the last two is measured.
JOBS = {
    (256, 784, 10): (500, 3.0),
    (1024, 768, 100): (100, 1.5),
    (4096, 2048, 1000): (2, 1.0),
    (512, 768, 32000): (1, 1.0),
}
MEASURED = list(JOBS)[2:]
ROUNDS = 9
START = "import sys; sys.path.append({!r}); from benches.gradients import main; main({!r})"


def peak_megabytes(of: str, threads: int, shape: tuple[int, int, int]) -> float:
    """By how much a few steps raise the peak of this process over what it has before them."""
    import numpy as np

    from benches.peers.gradients import Work

    n_rows, n_features, n_classes = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_rows, n_features), np.float32)
    weight = 0.01 * rng.standard_normal((n_classes, n_features), np.float32)
    bias, y = np.zeros(n_classes, np.float32), rng.integers(0, n_classes, n_rows)
    work = Work(of, threads, x, y, weight, bias)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now
    before = _megabytes("VmRSS")
    for _ in range(3):
        work.run()
    return _megabytes("VmHWM") - before


def _megabytes(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    match = re.search(rf"{name}:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) / 1024


def main(request: str) -> None:
    """In the child."""
    of, threads, shape = json.loads(request)
    print(json.dumps(peak_megabytes(of, threads, tuple(shape))))


def peak(spec: Spec, shape: tuple[int, int, int]) -> float:
    """The same, in a process of its own."""
    request = json.dumps([spec.options["of"], spec.options["threads"], shape])
    child = subprocess.run(
        [sys.executable, "-c", START.format(str(ROOT), request)],
        cwd=tempfile.gettempdir(),
        env={**os.environ, **spec.env},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(json.loads(child.stdout))


def job_of(shape: tuple[int, int, int]) -> Job:
    """One batch; of many classes, where float32 is off by more than at the book's job."""
    name = "B = {:,}, D = {:,}, K = {:,}".format(*shape)
    n_rows, n_features, n_classes = shape
    return Job(
        name, n_rows, n_features, n_classes, n_rows, lr=0.1, tasks=("step",), tolerance=1e-3
    )


def write(rounds: int) -> tuple[str, Race]:
    """Markdown, and the race for its versions."""
    head = ["B, D, K", "aim", *(spec.label for spec in GRADIENTS)]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for shape, (count, aim) in JOBS.items():
        job = job_of(shape)
        with Race(GRADIENTS) as race:
            race.load(job)
            if race.errors():
                raise RuntimeError(f"{job}: " + "\n".join(race.errors()))
            times = race.seconds("gradients", rounds, 0, count)
        medians = {name: 1e3 * median(seconds) for name, seconds in times.items()}
        print(f"{job}: {medians}", file=sys.stderr)
        fused = medians.get("gradients-fused")
        cells = [f"{shape}, ms", "" if fused is None else f"{fused / aim:.3g}"]
        cells += [f"{medians[s.name]:.3g}" if s.name in medians else "" for s in GRADIENTS]
        lines.append(cells)
        ready = [spec for spec in GRADIENTS if spec.name in medians]
        if shape in MEASURED and sys.platform == "linux":
            peaks = {spec.name: peak(spec, shape) for spec in ready}
            chunked = [peaks[name] for name in peaks if "chunked" in name]
            cells = [f"{shape}, MB", f"{min(chunked):.0f}" if chunked else ""]
            cells += [f"{peaks[s.name]:.0f}" if s.name in peaks else "" for s in GRADIENTS]
            lines.append(cells)
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    aims = ", ".join(f"{aim:g}" for _, aim in JOBS.values())
    text = (
        f"Forward and backward over one batch that lies in memory, float32, for weight and bias. "
        f"{rounds} rounds by turns, medians. Aimed at: {aims} times as fast as "
        "`F.linear_cross_entropy`; MB is how far the peak of a process rises above what it has "
        "with the data and the parameters in memory, aimed at: no more than its chunked path."
    )
    return f"{text}\n\n{table}", race
