"""What each threshold of the C layer is worth: copies of the sources are built with other values.

    python -m benches.thresholds                        # the names
    python -m benches.thresholds SPAN_BYTES TILES_FROM  # the present value against others
    python -m benches.thresholds SPAN_BYTES --values "16 << 20" --cases "step 8192x4096x16"

The present build and one of another value take turns, at shapes for which the threshold is there.
Needs meson, ninja and Cython (the extra `hunt`), and a C compiler.
"""

import argparse
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benches.harness.builds import PAIRS, ROUNDS, compared, measure
from benches.harness.process import Build
from benches.harness.source_copy import ROOT, SourceCopy
from benches.harness.text import table


@dataclass(frozen=True)
class Trial:
    """Other values of a number, or other conditions; and the calls that show what they do."""

    values: list[str]
    cases: list[str]
    # of a condition: its file and what is there, which is replaced by the values
    file: str = ""
    there: str = ""


TRIALS = {
    # ---- csrc/driver ----
    "LEAST_CHUNKS": Trial(["2", "8"], ["step 64x784x10", "step 128x784x10", "step 256x784x10"]),
    "FS_MAX_CHUNKS": Trial(["16"], ["step 8192x784x10", "loss_and_grad 20000x784x10"]),
    "CHUNK_ROWS": Trial(["8", "32"], ["step 32x784x10", "step 64x784x10", "step 96x784x10"]),
    "TILES_FROM": Trial(
        ["1", "1 << 30"],  # all by tiles; all by rows, but for the rule that follows
        [
            *("step 256x784x10", "step 256x784x40", "step 256x784x80", "step 256x784x160"),
            *("step 256x784x320", "step 8192x4096x10", "step 8192x4096x16"),
        ],
    ),
    "few rows are by tiles": Trial(
        ["0"],
        [
            *("step 32x784x32", "step 32x784x48", "step 32x784x64", "step 32x64x100"),
            *("step 64x64x200", "step 32x64x200"),
        ],
        "csrc/driver/plan.c",
        "(n_rows < shape.n_classes && kernels->by_panels(shape.n_classes))",
    ),
    "a copy of the parameters": Trial(
        ["1"],
        ["step 256x4096x1000", "step 256x784x1000", "step 1024x768x100"],
        "csrc/driver/plan.c",
        "!kernels->by_columns(shape)",
    ),
    "SPAN_ROWS": Trial(["256", "4096"], ["step 8192x784x100", "step 8192x784x1000"]),
    "SPAN_LOGITS": Trial(["4 << 20"], ["step 4096x64x10000"]),
    "SPAN_BYTES": Trial(
        ["4 << 20", "16 << 20"],
        ["step 8192x4096x16", "step 8192x4096x100", "step 4096x784x100"],
    ),
    "LEAST_SPAN_ROWS": Trial(["64"], ["step 2048x20000x16"]),
    "ITEM_CHUNKS": Trial(["1", "16"], ["step 1024x768x100", "step 1024x768x1000"]),
    "ITEMS_OF_TILES": Trial(["1", "16"], ["step 1024x768x100", "step 256x784x1000"]),
    "REDUCE_FLOATS": Trial(["256", "8192"], ["step 256x784x10", "step 8192x784x10"]),
    "MOST_KEPT": Trial(["0"], ["step 256x784x10", "step 256x784x1000"]),
    # ---- csrc/kernels ----
    "LOGITS_FEATURES": Trial(
        [f"({kb} << 10) / (int)sizeof(float) / FS_CLASSES" for kb in (8, 32)],
        ["step 256x784x10", "step 256x4096x10", "evaluate 10000x784x10"],
    ),
    "LOGITS_FEATURES_UINT8": Trial(
        [f"({kb} << 10) / (int)sizeof(float) / FS_CLASSES" for kb in (8, 20)],
        ["step 256x4096x10 uint8", "evaluate 10000x4096x10 uint8"],
    ),
    "COLUMN_FEATURES": Trial(["64", "1024"], ["step 1024x768x100", "evaluate 10000x784x100"]),
    "PANEL_CLASS_GROUPS": Trial(["1", "1 << 20"], ["step 256x784x8", "step 1024x768x100"]),
    "INPUT_CLASSES": Trial(["32", "512"], ["loss_and_grad 1024x768x1000 grad_input"]),
    "threads share the classes": Trial(
        ["0 && n_threads > 1 && "],
        ["step 32x784x1000", "step 256x784x1000", "step 32x784x100"],
        "csrc/kernels/thresholds.h",
        "n_threads > 1 && ",
    ),
}


def definition(name: str) -> tuple[str, str, str]:
    """Where in csrc a number is defined: the file, the text that defines it, its value."""
    found = []
    for path in sorted((ROOT / "csrc").rglob("*.[ch]")):
        for match in re.finditer(rf"\b{name} = ([^,;}}]+)[,;}} ]", path.read_text()):
            found.append((str(path.relative_to(ROOT)), match[0], match[1].strip()))
    if len(found) != 1:
        raise SystemExit(f"{name} is defined {len(found)} times in csrc, expected once")
    return found[0]


def changes(name: str, values: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """For each value what to print, the file, what is there, and what is to be there instead."""
    trial = TRIALS[name]
    if trial.file:
        for value in values or trial.values:
            yield f"{trial.there} -> {value}", trial.file, trial.there, value
        return
    file, there, present = definition(name)
    for value in values or trial.values:
        yield f"{name} = {present} -> {value}", file, there, there.replace(present, value)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("--values", nargs="+", default=[], help="in place of those of the list")
    parser.add_argument("--cases", nargs="+", default=[], help="the same; as for before_after")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each pair of processes")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    arguments = parser.parse_args()

    unknown = set(arguments.names) - set(TRIALS)
    if unknown:
        parser.error(f"{sorted(unknown)} are not in the list, expected some of {list(TRIALS)}")
    if not arguments.names:
        print("\n".join(TRIALS))
        return
    with tempfile.TemporaryDirectory() as folder:
        options = "--buildtype=release"
        present = Build(packages=SourceCopy(Path(folder, "present"), options).build())
        other = SourceCopy(Path(folder, "other"), options)
        for name in arguments.names:
            cases = arguments.cases or TRIALS[name].cases
            for change, file, there, instead in changes(name, arguments.values):
                with other.planted(file, there, instead):
                    build = Build(packages=other.build())
                times, failed = measure(present, build, cases, arguments.pairs, arguments.rounds)
                rows = [[case, *compared(pairs)[0]] for case, pairs in times.items()]
                head = ["call", "present", "other", "other ÷ present", "of the pairs", ""]
                print(f"{change}\n\n{table(head, rows)}\n", flush=True)
                if failed:
                    raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
