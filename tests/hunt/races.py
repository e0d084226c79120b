"""The threads of the C layer under ThreadSanitizer, and a control.

    python races.py [how many rounds, 1]

races.c runs every entry point by 1 to 5 threads, two callers at once, in the process and in forks
of it, and compares bits. The control is the same program with all atomic operations relaxed: what
synchronises the threads is gone, and a race must be reported, or else a green run would prove
nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
ORDERS = ("ACQUIRE", "RELEASE", "ACQ_REL", "SEQ_CST")
# stdatomic.h makes its orders, and its functions without one, of these macros of the compiler
RELAXED = [f"-U__ATOMIC_{order}" for order in ORDERS]
RELAXED += [f"-D__ATOMIC_{order}=__ATOMIC_RELAXED" for order in ORDERS]
DATA_RACE = "WARNING: ThreadSanitizer: data race"


def build(path: Path, *flags: str) -> Path:
    sources = [*sorted(CSRC.glob("*/*.c")), HERE / "races.c"]
    isa = ["-DFS_HAVE_BASELINE", "-DFS_ISA_BASELINE", "-ffp-contract=off", "-Wno-psabi"]
    sanitizer = ["-std=gnu11", "-O1", "-g", "-fsanitize=thread", "-pthread"]
    command = ["gcc", *sanitizer, *isa, *flags, f"-I{CSRC}", *sources, "-lm", "-o", path]
    subprocess.run(command, check=True)
    return path


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # the runtime of GCC 12 fails where Linux puts its mappings at more random places than it knows
    fixed = ["setarch", "-R"] if shutil.which("setarch") else []
    options = {"TSAN_OPTIONS": "halt_on_error=1 die_after_fork=0"}
    return subprocess.run(
        [*fixed, program, *arguments], env=os.environ | options, capture_output=True, text=True
    )


def main(n_rounds: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        weak = run(build(Path(folder) / "weak", *RELAXED), "3")
        assert weak.returncode != 0 and DATA_RACE in weak.stderr, f"no race told: {weak}"
        races = build(Path(folder) / "races")
        for arguments in ((str(n_rounds),), (str(n_rounds), "fork")):
            done = run(races, *arguments)
            assert done.returncode == 0 and not done.stderr, done.stderr
    return f"{n_rounds} rounds, and as many with forks: no race, the same bits; the control races"


if __name__ == "__main__":
    print(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
