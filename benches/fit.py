"""A fit from start to end: ours as the book trains, and scikit-learn's LogisticRegression.

Not the same work: lbfgs passes over all rows in each of its iterations, and stops when converged.
Hence the time of each, and the accuracy on the test rows. Each is run in a process of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from statistics import median

from benches.alternate import ROOT
from benches.contenders import OURS_ENV, PEER_ENV, THREADS

START = "import sys; sys.path.append({!r}); from benches.fit import main; main({!r})"
ENV = {"ours": OURS_ENV, "scikit-learn": PEER_ENV}


def ours() -> tuple[str, str, float, float]:
    """Label, data, seconds, test accuracy."""
    import fastsoftmax as fs

    data = fs.load_dataset("auto")
    start = time.perf_counter()
    result = fs.train(data, num_threads=THREADS, progress=False)
    seconds = time.perf_counter() - start
    label = "**`fs.train`, 10 epochs, evaluated after each**"
    return label, data.name, seconds, result.history.test_accuracy[-1]


def scikit_learn() -> tuple[str, str, float, float]:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    import fastsoftmax as fs

    data = fs.load_dataset("auto")
    x, test = (
        images.reshape(len(images), -1) / np.float32(255)
        for images in (data.train_images, data.test_images)
    )
    model = LogisticRegression(max_iter=100)
    start = time.perf_counter()
    model.fit(x, data.train_labels)
    seconds = time.perf_counter() - start
    label = f"scikit-learn LogisticRegression, lbfgs, {model.n_iter_[0]} iterations"
    return label, data.name, seconds, model.score(test, data.test_labels)


FITS: dict[str, Callable[[], tuple[str, str, float, float]]] = {
    "ours": ours,
    "scikit-learn": scikit_learn,
}


def main(name: str) -> None:
    """In the child."""
    warnings.simplefilter("ignore")  # 100 iterations are not enough for lbfgs; data drawn
    try:
        print(json.dumps(FITS[name]()))
    except ModuleNotFoundError as error:
        print(json.dumps(f"{name}: {error.name} is not installed"))


def write(rounds: int) -> str:
    """Markdown; medians over the rounds."""
    results: dict[str, list[list]] = {name: [] for name in FITS}
    absent = {}
    for _ in range(rounds):
        for name in FITS:
            child = subprocess.run(
                [sys.executable, "-c", START.format(str(ROOT), name)],
                cwd=tempfile.gettempdir(),  # here is the source of fastsoftmax, not built
                env={**os.environ, **ENV[name]},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            result = json.loads(child.stdout)
            if isinstance(result, str):
                absent[name] = result
            else:
                results[name].append(result)
    lines = ["| | seconds | test accuracy |", "| --- | ---: | ---: |"]
    for runs in results.values():
        if runs:
            label, data, _, accuracy = runs[0]
            lines.append(f"| {label} | {median(run[2] for run in runs):.2f} | {accuracy:.4f} |")
    text = "\n".join(lines)
    return "\n\n".join([f"Data: {data}, in memory.", text, *absent.values()])
