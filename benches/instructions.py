"""Instructions that the main kernels take, counted by callgrind: the same on a busy machine.

Compares with `instructions.json` and fails where a count differs by more than 1%. ``--record``
writes that file anew. Counts hold for the compiler that they were recorded with: those of another
one are printed and not compared. Needs valgrind, which knows AVX2 but not AVX-512.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import fastsoftmax as fs
from fastsoftmax import _build_info

RECORD = Path(__file__).with_name("instructions.json")
ISA = "x86-64-v3"
TOLERANCE = 0.01

# case -> (entry point of csrc that is counted, rows, n_features, n_classes, dtype)
CASES = {
    "train float32": ("fs_train_epoch", 512, 784, 10, "float32"),
    "train uint8": ("fs_train_epoch", 512, 784, 10, "uint8"),
    "train by tiles": ("fs_train_epoch", 256, 784, 100, "float32"),
    "evaluate uint8": ("fs_evaluate", 512, 784, 10, "uint8"),
    "softmax": ("fs_softmax", 512, 1, 100, "float32"),
}


def run(case: str) -> None:
    """The case itself, in one thread."""
    _, n_rows, n_features, n_classes, dtype = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n_rows, n_features)).astype(dtype)
    target = rng.integers(0, n_classes, n_rows)
    weight = rng.standard_normal((n_classes, n_features), np.float32)
    bias = np.zeros(n_classes, np.float32)
    backend, sgd = fs.get_backend("cython"), fs.optim.SGDSettings(lr=0.1)
    options = {"scale": 1 / 255, "num_threads": 1}
    if case == "softmax":
        backend.softmax(np.ascontiguousarray(x * weight[:, 0]), num_threads=1)
    elif case.startswith("evaluate"):
        backend.evaluate(x, target, weight, bias, **options)
    else:
        backend.train_epoch(x, target, None, 256, weight, bias, sgd, **options)


def count(case: str) -> int:
    """Instructions of the case's function, in a process of its own."""
    command = [
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
        f"--toggle-collect={CASES[case][0]}", sys.executable, __file__, "--case", case,
    ]  # fmt: skip
    environment = os.environ | {"FASTSOFTMAX_ISA": ISA, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if collected is None or int(collected[1]) == 0:
        raise RuntimeError(f"callgrind counted nothing:\n{done.stderr}")
    return int(collected[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        run(arguments.case)
        return

    counts = {case: count(case) for case in CASES}
    if arguments.record:
        record = {"compiler": _build_info.compiler, "isa": ISA, "instructions": counts}
        RECORD.write_text(json.dumps(record, indent=2) + "\n")
    record = json.loads(RECORD.read_text())
    comparable = record["compiler"] == _build_info.compiler
    if not comparable:
        print(f"recorded with {record['compiler']}, this is {_build_info.compiler}: not compared")
    failed = False
    for case, now in counts.items():
        change = now / record["instructions"][case] - 1
        print(f"{case:<16} {now:>12,}  {change:+.2%}")
        failed |= comparable and abs(change) > TOLERANCE
    if failed:
        sys.exit(f"an instruction count changed by more than {TOLERANCE:.0%}")


if __name__ == "__main__":
    main()
