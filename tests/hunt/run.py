"""All hunts: a small size of each for every change, or the large ones, whose report is kept.

python run.py quick     some minutes
python run.py           half an hour; writes report.md beside this file
"""

from __future__ import annotations

import datetime
import platform
import subprocess
import sys
import time
from pathlib import Path

import fastsoftmax as fs
from fastsoftmax import _build_info

HERE = Path(__file__).parent

# (what it is called, its script, the arguments of a quick run, those of a long one)
HUNTS = [
    ("Memory and undefined behaviour", "sanitize.py", ["quick"], []),
    ("Races between threads", "races.py", ["1"], ["10"]),
    ("Broken files", "fuzz.py", ["30000"], ["1000000"]),
    ("Killed at any moment", "kills.py", ["kill", "10"], ["kill", "200"]),
    ("Ctrl-C at any moment", "kills.py", ["interrupt", "10"], ["interrupt", "100"]),
    ("Ctrl-C in a loop of trainings", "kills.py", ["loop", "3"], ["loop", "20"]),
    ("A full disk", "full_disk.py", [], ["numba"]),
]


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


def commit() -> str:
    done = subprocess.run(
        ["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return done.stdout.strip() or "no repository"


def main(quick: bool) -> int:
    rows, failed = [], []
    for name, script, few, many in HUNTS:
        arguments = few if quick else many
        print(f"{name}: {script} {' '.join(arguments)}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, HERE / script, *arguments], stdout=subprocess.PIPE, text=True
        )
        seconds = time.monotonic() - began
        print(f"{done.stdout}  {seconds:.0f} s, exit status {done.returncode}\n", flush=True)
        if done.returncode != 0:
            failed.append(name)
        found = done.stdout.strip().replace("\n", "<br>") or "failed"
        result = "**failed**" if done.returncode else "held"
        command = " ".join([script, *arguments])
        rows.append(f"| {name} | `{command}` | {seconds:.0f} | {result} | {found} |")
    if not quick:
        (HERE / "report.md").write_text(
            f"# The long hunts\n\n"
            f"`make hunt` of {datetime.date.today()}: fastsoftmax {_build_info.version} at "
            f"{commit()}, {_build_info.compiler}, Python {platform.python_version()}, "
            f"{processor()}. [README.md](README.md) says what each proves.\n\n"
            f"| hunt | command | seconds | promise | what was done |\n"
            f"|---|---|---:|---|---|\n" + "\n".join(rows) + "\n"
        )
    print("failed: " + ", ".join(failed) if failed else "every promise held")
    return bool(failed)


if __name__ == "__main__":
    assert "cython" in fs.available_backends(), "built without the extension"
    sys.exit(main("quick" in sys.argv[1:]))
