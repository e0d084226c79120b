"""A fit from start to end: ours as the book trains, and scikit-learn's LogisticRegression.

Not the same work: lbfgs passes over all rows in each of its iterations, and stops when converged.
Hence the time of each, and the accuracy on the test rows.
"""

import time
import warnings
from statistics import median

from benches.harness.process import call
from benches.harness.spec import OURS_ENV, PEER_ENV, THREADS
from benches.harness.text import Run, machine, table

HEADING = "A fit, from start to end"
ROUNDS = 1

ENV = {"ours": OURS_ENV, "scikit_learn": PEER_ENV}
Fit = tuple[str, str, float, float]  # label, data, seconds, test accuracy


def ours() -> Fit:
    """In a process of its own."""
    import fastsoftmax as fs

    data = fs.load_dataset("auto")
    start = time.perf_counter()
    result = fs.train(data, num_threads=THREADS, progress=False)
    seconds = time.perf_counter() - start
    label = "**`fs.train`, 10 epochs, evaluated after each**"
    return label, data.name, seconds, result.history.test_accuracy[-1]


def scikit_learn() -> Fit | str:
    """In a process of its own. A sentence where scikit-learn is missing."""
    import numpy as np

    try:
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError as error:
        return f"scikit-learn: {error.name} is not installed"

    import fastsoftmax as fs

    warnings.simplefilter("ignore")  # 100 iterations are not enough for lbfgs; data drawn
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


def write(run: Run) -> str:
    """Medians over the rounds."""
    results: dict[str, list[Fit]] = {name: [] for name in ENV}
    absent = {}
    for _ in range(run.rounds):
        for name, env in ENV.items():
            result = call(f"benches.sections.fit:{name}", env=env)
            if isinstance(result, str):
                absent[name] = result
            else:
                results[name].append(result)
    rows = []
    for fits in results.values():
        if fits:
            label, data, _, accuracy = fits[0]
            assert accuracy > 0.6, f"{label} learned nothing: accuracy {accuracy}"
            rows.append([label, f"{median(fit[2] for fit in fits):.2f}", f"{accuracy:.4f}"])
    fits_table = table(["", "seconds", "test accuracy"], rows)
    return "\n\n".join([f"Data: {data}, in memory.", fits_table, *absent.values(), machine(run)])
