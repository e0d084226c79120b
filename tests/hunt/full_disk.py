"""On a full disk the command says so in one line and ends with 2; what was there before is whole.

    python full_disk.py [numba]

The disk is a tmpfs of 32 MB, filled up; where none can be mounted, the size that files may have
is limited to 0 instead. The old model, history and picture stay what they were, or are new and
whole; a cache that cannot be written is no reason to stop. A full standard output loses no file.
With "numba" also Numba's cache, whose absence is no reason to stop either.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import kills


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mounts a tmpfs there, if it can."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    with suppress(OSError), open(path, "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def hunt(folder: Path, mounted: bool, numba: bool) -> str:
    h = kills.Hunt(folder, epochs=200)  # a history of several pages
    full = folder / "full"
    keywords = {} if mounted else {"preexec_fn": limit_files}

    def run(*outputs: str, **more: object) -> tuple[int, list[str]]:
        for option, path in h.files.items():
            path.write_bytes(h.old[option])
        if mounted:
            fill(full)
        process = h.train(*outputs, **(keywords | more))
        _, err = process.communicate()
        full.unlink(missing_ok=True)
        assert not h.leftovers(), h.leftovers()
        h.check_files(all_epochs=True)
        return process.returncode, err.splitlines()

    for option, path in h.files.items():
        status, lines = run(option)
        assert status == 2 and len(lines) == 1, (option, status, lines)
        assert lines[0].startswith("fastsoftmax: error: "), lines
        assert path.read_bytes() == h.old[option], f"the old {path.name} is lost"

    h.forget_cache()
    status, lines = run()
    assert status == 2 and not h.cached(), (status, h.cached())
    assert lines[-1].startswith("fastsoftmax: error: "), lines
    if mounted:
        h.forget_cache()
        elsewhere = tempfile.TemporaryDirectory()
        with elsewhere as other:
            h.files = {option: Path(other) / path.name for option, path in h.files.items()}
            status, lines = run()
            h.files = {option: h.outputs / path.name for option, path in h.files.items()}
        assert status == 0 and not h.cached(), (status, lines, h.cached())

    with open("/dev/full", "w") as no_room:
        process = h.train(stdout=no_room)
        _, err = process.communicate()
    assert "Traceback" not in err and len(err.splitlines()) <= 1, err
    h.check_files(all_epochs=True)
    for option, path in h.files.items():
        assert path.read_bytes() != h.old[option], f"no new {path.name} with a full output"

    if numba:
        cache = folder / "numba"
        cache.mkdir()
        if mounted:
            fill(full)
        command = ["train", "--data=synthetic", "--backend=numba", "--epochs=1"]
        process = subprocess.run(
            [sys.executable, "-m", "fastsoftmax.cli", *command],
            env=h.environment | {"NUMBA_CACHE_DIR": str(cache)},
            capture_output=True,
            text=True,
            cwd=folder,
            **keywords,
        )
        assert process.returncode == 0 and "Traceback" not in process.stderr, process.stderr
    return (
        f"{'a full tmpfs' if mounted else 'RLIMIT_FSIZE=0'}: old files whole, one line, status 2"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name)) as mounted:
        print(hunt(Path(name), mounted, "numba" in sys.argv[1:]))
