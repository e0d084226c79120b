"""Frozen traces of the C kernels: digests of what a table of runs gives, by instruction set.

    python tests/golden.py           prints the rows that differ from golden.json
    python tests/golden.py --write   writes those of this machine there

Only what is the same on every machine is frozen. The C kernels are compiled without fast-math and
with -ffp-contract=off: GCC 11 and 12 and Clang 14 and 19, at -O2 and -O3, give the same bits. The
bits of the NumPy backend depend on its BLAS, those of the Numba backend on its LLVM; they are not
here. Inputs come of RandomState, whose stream is frozen, and of operations that round correctly.

A trace that differs says that results changed. If that is meant, CHANGELOG.md says so too.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
from pathlib import Path

import numpy as np

from fastsoftmax.optim import SGDSettings, Velocity
from fastsoftmax.settings import CrossEntropy

FILE = Path(__file__).with_name("golden.json")

# (K, D). The first ones are small enough for the plan by rows, but for batches of fewer rows than
# classes; the last ones go by tiles.
SHAPES = [
    *((2, 3), (3, 17), (3, 2050), (10, 784), (10, 785), (16, 1000), (64, 100), (200, 64)),
    *((16, 4096), (100, 768), (1000, 784)),
]
ROW_TYPES = {"float32": np.float32, "uint8": np.uint8}
LOSSES = ["plain", "weighted", "ignoring", "probabilities"]
BATCH_SIZES = [1, 7, 32, 64, 100, 256, 300]
N_ROWS = 300

# Each run takes the next one of these and of those; every batch size meets them all
SETTINGS = [
    SGDSettings(0.1),
    SGDSettings(0.05, momentum=0.9),
    SGDSettings(0.1, weight_decay=0.01, decay_bias=False),
    SGDSettings(0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
    SGDSettings(0.05, momentum=0.8, dampening=0.3, weight_decay=0.01),
]
NUM_THREADS = [1, 2, 5]


def digest(*results):
    """Of arrays, and of numbers and tuples of numbers as float64."""
    sha256 = hashlib.sha256()
    for result in results:
        array = result if isinstance(result, np.ndarray) else np.array(result, np.float64)
        sha256.update(np.ascontiguousarray(array).tobytes())
    return sha256.hexdigest()[:10]


def inputs(n_classes, n_features, row_type, loss):
    """Rows, target, weight, bias, and the keywords that say how the rows are taken."""
    random = np.random.RandomState([n_classes, n_features])

    def uniform(*shape):  # in [-1, 1)
        return (2 * random.random_sample(shape) - 1).astype(np.float32)

    x, scale = 2 * uniform(N_ROWS, n_features), 1.0
    if row_type == np.uint8:
        x, scale = ((x + 2) * 63.75).astype(np.uint8), 1 / 255
    weight, bias = uniform(n_classes, n_features) / np.float32(8), uniform(n_classes)
    target = random.randint(0, n_classes, N_ROWS)
    keywords = {"scale": scale}
    if loss == "weighted":
        keywords["criterion"] = CrossEntropy(uniform(n_classes) + np.float32(1.5), 0.125)
        keywords["sample_weight"] = uniform(N_ROWS) + np.float32(1)
    elif loss == "ignoring":
        target[::5] = -7
        keywords["criterion"] = CrossEntropy(ignore_index=-7)
    elif loss == "probabilities":
        target = (uniform(N_ROWS, n_classes) + np.float32(1)) / np.float32(n_classes)
        keywords["criterion"] = CrossEntropy(label_smoothing=0.25)
    return x, target, weight, bias, keywords


def train(backend, given, batch_size, sgd, num_threads):
    """The digest of an epoch in another order, then of one step."""
    x, target, weight, bias, keywords = given
    weight, bias = weight.copy(), bias.copy()
    velocity = Velocity.of(weight, bias)
    order = np.random.RandomState(batch_size).permutation(N_ROWS)[: max(40, 40 * batch_size)]
    state = (weight, bias, sgd, velocity)
    epoch = backend.train_epoch(
        x, target, order, batch_size, *state, **keywords, num_threads=num_threads
    )
    some = slice(batch_size)
    if "sample_weight" in keywords:
        keywords = keywords | {"sample_weight": keywords["sample_weight"][some]}
    step = backend.train_step(x[some], target[some], *state, **keywords, num_threads=num_threads)
    return digest(epoch[:4], step[:4], weight, bias, velocity.weight, velocity.bias)


def without_training(backend, given, num_threads):
    """The digest of everything that trains nothing."""
    x, target, weight, bias, keywords = given
    keywords = keywords | {"num_threads": num_threads}
    grad_input, losses = np.empty(x.shape, np.float32), np.empty(N_ROWS, np.float32)
    gradients = backend.loss_and_grad(x, target, weight, bias, **keywords, grad_input=grad_input)
    sums = backend.evaluate(x, target, weight, bias, **keywords, losses=losses)
    logits = backend.predict_logits(
        x, weight, bias, scale=keywords["scale"], num_threads=num_threads
    )
    softmax = backend.softmax(logits, num_threads=num_threads)
    log_softmax = backend.log_softmax(logits, num_threads=num_threads)
    return digest(*gradients, grad_input, sums[:4], losses, logits, softmax, log_softmax)


def digests(backend, shape):
    """By name, the runs of one shape of the weight: without training, then by each batch size."""
    found = {}
    turn = itertools.count(SHAPES.index(shape))
    for (row_type, dtype), loss in itertools.product(ROW_TYPES.items(), LOSSES):
        given = inputs(*shape, dtype, loss)
        row = [without_training(backend, given, NUM_THREADS[next(turn) % len(NUM_THREADS)])]
        for batch_size in BATCH_SIZES:
            i = next(turn)
            sgd, num_threads = SETTINGS[i % len(SETTINGS)], NUM_THREADS[i % len(NUM_THREADS)]
            row.append(train(backend, given, batch_size, sgd, num_threads))
        found[f"{shape[0]}x{shape[1]} {row_type} {loss}"] = " ".join(row)
    return found


def recorded():
    return json.loads(FILE.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write them to golden.json")
    write = parser.parse_args().write

    from fastsoftmax.backends import cython as c
    from fastsoftmax.backends import get_backend

    c._allow_threads_beyond_cores(True)
    table = recorded() if FILE.exists() else {}
    for isa in c.supported_isas():
        c.select_isa(isa)
        now = {}
        for shape in SHAPES:
            now |= digests(get_backend("cython"), shape)
        before = table.get(isa, {})
        changed = [name for name in now if now[name] != before.get(name)]
        print(f"{isa}: {len(changed)} of {len(now)} rows differ", *changed, sep="\n  ")
        table[isa] = now
    if write:
        FILE.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
