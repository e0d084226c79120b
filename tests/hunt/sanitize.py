"""The tests of the kernels under AddressSanitizer and UndefinedBehaviorSanitizer, with controls.

    python sanitize.py [quick]

The extension is built of a copy of the sources, in out/hunt/. First a fault is planted in that
copy for each sanitizer: a buffer of a call that is one float too short, memory that is not
aligned. Each must be reported, or else a green run would prove nothing. Then the sources as they
are must pass.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from benches.harness.process import NOT_EDITABLE  # noqa: E402
from benches.harness.source_copy import SourceCopy  # noqa: E402

OUT = ROOT / "out" / "hunt"
TESTS = ROOT / "tests"
OPTIONS = ["--buildtype=debugoptimized", "--optimization=1", "-Db_lundef=false"]
OPTIONS += ["-Db_sanitize=address,undefined"]

# Of two processes, about as long as each other; NumPy's own backend is not what is looked at, and
# the largest shape takes half of the time
QUICK = (
    [
        "backends/test_same_bits.py",
        "backends/test_refused_calls.py",
        "backends/test_accepted_calls.py",
    ],
    [
        *(
            "backends/test_values.py",
            "backends/test_values_by_hand.py",
            "backends/test_exp_log.py",
        ),
        *("backends/test_nan_and_infinity.py", "backends/test_row_layouts.py"),
        "backends/test_epoch_orders.py",
    ],
)
QUICK_TESTS, ALL_TESTS = "not numpy and not 1100", "not numpy"
MORE = (
    [
        *("threads/test_number_of_threads.py", "threads/test_quota.py", "threads/test_forks.py"),
        *("threads/test_python_threads.py", "threads/test_threadpoolctl.py"),
        *("threads/test_workers.py", "backends/test_isa.py"),
        *("functions/test_sgd_step.py", "functions/test_sgd.py", "functions/test_refused_sgd.py"),
    ],
    [
        *("functions/test_linear_cross_entropy.py", "functions/test_losses_of_pytorch.py"),
        *("functions/test_arrays_of_losses.py", "functions/test_refused_losses.py"),
        *("backends/test_loss_options.py", "backends/test_loss_options_bits.py"),
        "backends/test_loss_options_edges.py",
    ],
)

# (file, what is there, what is planted, what must be reported)
CONTROLS = {
    "AddressSanitizer": (
        "csrc/driver/plan.c",
        "FS_FORBID(p + n,",
        "FS_FORBID(p + n - sizeof(float),",
        "AddressSanitizer: use-after-poison",
    ),
    "UndefinedBehaviorSanitizer": (
        "csrc/driver/memory.c",
        "return h + 1;",
        "return (char *)(h + 1) + 1;",
        "runtime error: .* misaligned address",
    ),
}

# Of every Python there, also of those that tests start. PyTorch and Numba are slow under the
# sanitizers, and are not what is looked at.
SITECUSTOMIZE = f"""{NOT_EDITABLE}
sys.modules.update(numba=None, torch=None)
"""
RUN_PYTEST = """
import sys
import pytest
from fastsoftmax.backends import cython as _cython
assert _cython.__file__.startswith(sys.argv[1]), _cython.__file__
sys.exit(pytest.main(sys.argv[2:]))
"""


def start(packages: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """pytest, of what is installed in that folder."""
    (packages / "sitecustomize.py").write_text(SITECUSTOMIZE)
    libraries = [
        subprocess.check_output(["gcc", f"-print-file-name=lib{name}.so"], text=True).strip()
        for name in ("asan", "ubsan")
    ]
    environment = {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # CPython's own
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONPATH": str(packages),
        "OPENBLAS_NUM_THREADS": "1",
    }
    # reports are written to the file descriptor that --capture=fd would keep from us
    command = [sys.executable, "-c", RUN_PYTEST, OUT, "-q", "-x", "-p", "no:cacheprovider",
               "--capture=sys", *arguments]  # fmt: skip
    return subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=OUT,
    )


def control(copy: SourceCopy, file: str, there: str, planted: str, report: str) -> None:
    with copy.planted(file, there, planted):
        process = start(copy.build(), TESTS / "backends" / "test_same_bits.py", "-k", "cython")
        output, _ = process.communicate()
    assert process.returncode != 0 and re.search(report, output), f"not reported: {planted}"


def main(quick: bool) -> str:
    copy = SourceCopy(OUT, *OPTIONS)
    for planted in CONTROLS.values():
        control(copy, *planted)
    packages = copy.build()
    groups = QUICK if quick else tuple(a + b for a, b in zip(QUICK, MORE, strict=True))
    tests = QUICK_TESTS if quick else ALL_TESTS
    running = [start(packages, "-k", tests, *(TESTS / name for name in group)) for group in groups]
    n_passed = 0
    for process in running:
        output, _ = process.communicate()
        passed = re.search(r"(\d+) passed", output)
        if process.returncode != 0 or not passed:
            raise SystemExit(output[-20_000:])
        n_passed += int(passed[1])
    return f"{n_passed} tests passed; both planted faults were reported"


if __name__ == "__main__":
    print(main("quick" in sys.argv[1:]))
