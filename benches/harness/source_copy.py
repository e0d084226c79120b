"""A copy of the sources, to be changed and built without the sources themselves being touched.

Needs meson, ninja, Cython and a C compiler: the extra `hunt` installs the first three.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


class SourceCopy:
    """The extension and its package, built in a folder, by default as a wheel has them."""

    def __init__(self, folder: Path, *options: str) -> None:
        """`options` are meson's."""
        self.folder = folder
        self.source = folder / "source"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.source, ignore_errors=True)
        for name in ("csrc", "fastsoftmax"):
            shutil.copytree(ROOT / name, self.source / name)
        for path in ROOT.glob("[!.]*"):
            if path.is_file():
                shutil.copy2(path, self.source)
        (folder / "python.ini").write_text(f"[binaries]\npython = '{sys.executable}'\n")
        where = ["--native-file=python.ini", f"--prefix={folder / 'installed'}"]
        where += ["--python.install-env=prefix"]
        again = ["--wipe"] if (folder / "build").is_dir() else []
        self._run("meson", "setup", *options, *where, *again, folder / "build", self.source)

    @contextmanager
    def planted(self, file: str, there: str, instead: str) -> Iterator[None]:
        """Within the context the file has this `instead` of what is there."""
        path = self.source / file
        text = path.read_text()
        assert text.count(there) == 1, f"{file} has no {there!r} any more: change another place"
        path.write_text(text.replace(there, instead))
        try:
            yield
        finally:
            path.write_text(text)

    def build(self) -> Path:
        """The folder of packages in which it is installed now."""
        self._run("meson", "compile", "-C", self.folder / "build")
        self._run("meson", "install", "-C", self.folder / "build", "--quiet")
        (packages,) = (self.folder / "installed").glob("lib*/python*/site-packages")
        return packages

    def _run(self, *command: str | Path) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            command,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            cwd=self.folder,
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
