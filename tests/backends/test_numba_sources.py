"""Compiled code is used as long as no file that it comes from has changed, be it another file than
the driver's, at which alone Numba looks."""

import importlib
import os
import re
import shutil
from pathlib import Path

import pytest

import fastsoftmax

if "numba" not in os.environ.get("FASTSOFTMAX_EXPECT_BACKENDS", "").split(","):
    pytest.importorskip("numba")

from numba.core import caching

from fastsoftmax.backends.numba import cache
from fastsoftmax.backends.numba.drivers.by_rows import by_rows
from fastsoftmax.backends.numba.drivers.by_tiles import by_tiles
from fastsoftmax.backends.numba.drivers.forward import score, softmax
from fastsoftmax.backends.numba.drivers.sgd import sgd

# A copy of the package goes before the one that is installed, and before one that is built anew
IMPORT_THE_COPY = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "esonpy" not in type(finder).__name__]
sys.path.insert(0, {folder!r})
import fastsoftmax
assert fastsoftmax.__file__.startswith({folder!r})
"""
UPDATE = """
import numpy as np
from fastsoftmax.backends.numba import cache, compile
from fastsoftmax.backends.numba.drivers.sgd import sgd
from fastsoftmax.problem import Params
from fastsoftmax.settings import SGDSettings
w, b, g = np.ones((2, 3), np.float32), np.ones(2, np.float32), np.ones((2, 3), np.float32)
driver = compile.dispatcher_of(sgd, "float32", False)
params = Params(w, b, np.empty((0, 0), np.float32), np.empty(0, np.float32))
settings = SGDSettings(0.25).of_step(False)
compile.entry_point_of(driver)(params, g, g[:, 0].copy(), 1.0, settings, 1)
print(sum(driver.stats.cache_hits.values()), w[0, 0], b[0])
"""
DIGESTS = """
from pathlib import Path
from fastsoftmax.backends.numba import cache
backends = Path(fastsoftmax.__file__).parent / "backends"
files = [backends / "chunks.py", *sorted((backends / "numba").rglob("*.py"))]
digests = [cache._sources.__wrapped__()]
for file in files:
    file.write_text(file.read_text() + "#")
    digests.append(cache._sources.__wrapped__())
print(len(files), len(set(digests)))
"""


@pytest.fixture
def run_the_copy(run_python, tmp_path):
    """Runs code with a copy of the package, and a cache of its own; the folder of the copy."""
    package = tmp_path / "copy" / "fastsoftmax"
    here = Path(fastsoftmax.__file__).parent
    shutil.copytree(here, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(importlib.import_module("fastsoftmax._build_info").__file__, package)

    def run(code):
        code = IMPORT_THE_COPY.format(folder=str(package.parent)) + code
        result = run_python(code, NUMBA_CACHE_DIR=str(tmp_path / "cache"), timeout=120)
        assert result.stderr == ""
        return result.stdout.split()

    return run, package


def test_a_changed_kernel_is_compiled_anew(run_the_copy, tmp_path):
    run, package = run_the_copy
    assert run(UPDATE) == ["0", "0.75", "0.75"]
    assert run(UPDATE) == ["1", "0.75", "0.75"]
    kernel = package / "backends" / "numba" / "kernels" / "update.py"
    before, after = "w[i] -= lr * g", "w[i] += lr * g"
    text = kernel.read_text()
    assert text.count(before) == 1
    kernel.write_text(text.replace(before, after))
    assert run(UPDATE) == ["0", "1.25", "1.25"]
    assert run(UPDATE) == ["1", "1.25", "1.25"]
    assert len(list((tmp_path / "cache").rglob("*.nbc"))) == 1  # in the place of the old one


def test_every_file_is_looked_at(run_the_copy):
    run, _ = run_the_copy
    n_files, n_digests = map(int, run(DIGESTS))
    assert n_files > 15 and n_digests == n_files + 1


def test_what_numba_leaves_is_known_by_its_name():
    """Of each driver, by the names that Numba gives its files."""
    for driver in (by_rows, by_tiles, score, softmax, sgd):
        function = driver(range, True) if driver is by_rows else driver(range)
        name = caching.CompileResultCacheImpl(function).filename_base
        for file in (f"{name}.nbi", f"{name}.1.nbc"):
            assert re.fullmatch(cache._REMAINS, f"{file}.tmp.0123456789abcdef")
            assert not re.fullmatch(cache._REMAINS, file)
