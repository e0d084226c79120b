"""The cache of compiled Numba kernels: damage is a miss and is mended; no cache is no trouble."""

import os
import pickle

import numpy as np
import pytest

from fastsoftmax.optim import SGDSettings
from fastsoftmax.problem import Params
from helpers.backends import COMPILE_THE_SMALLEST

if "numba" not in os.environ.get("FASTSOFTMAX_EXPECT_BACKENDS", "").split(","):
    pytest.importorskip("numba")

import numba
from numba.core import caching

from fastsoftmax.backends.numba import cache as _numba_cache
from fastsoftmax.backends.numba.compile import dispatcher_of, entry_point_of
from fastsoftmax.backends.numba.drivers.sgd import sgd

INDEX, CODE = "sgd.*.driver-*.nbi", "sgd.*.driver-*.1.nbc"
MISS = "compiling the Numba kernels, as their cache cannot be used: "


def compile_the_smallest():
    """Runs the smallest kernel; whether it came from the cache."""
    driver = dispatcher_of(sgd, "float32", parallel=False)
    w, b, g = np.ones((2, 3), np.float32), np.ones(2, np.float32), np.ones((2, 3), np.float32)
    params = Params(w, b, np.empty((0, 0), np.float32), np.empty(0, np.float32))
    entry_point_of(driver)(params, g, g[:, 0].copy(), 1.0, SGDSettings(lr=0.25).of_step(False), 1)
    assert w.tolist() == [[0.75] * 3] * 2 and b.tolist() == [0.75] * 2
    return sum(driver.stats.cache_hits.values()) == 1


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """The folder of a cache that is empty."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(_numba_cache, "_warned", False)
    return tmp_path / "cache"


@pytest.fixture
def filled(empty):
    """The folder of a cache that has the smallest kernel."""
    assert not compile_the_smallest()
    assert compile_the_smallest()
    return empty


def flip(content, where):
    where = int(where * len(content))
    return content[:where] + bytes([content[where] ^ 0x55]) + content[where + 1 :]


DAMAGE = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "noise": lambda content: bytes(range(256)) * 10,
    "of another class": lambda content: pickle.dumps(numba.__version__) + pickle.dumps(None),
}


@pytest.mark.parametrize("pattern", [INDEX, CODE], ids=["index", "code"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_a_miss_and_mended(damage, pattern, filled):
    (path,) = filled.rglob(pattern)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.warns(RuntimeWarning, match=MISS) as caught:
        assert not compile_the_smallest()
    assert len(caught) == 1
    assert compile_the_smallest()


@pytest.mark.parametrize("where", [0.2, 0.5, 0.8])
def test_damaged_machine_code_is_not_run(where, filled):
    """Run, it might end the process, or compute something else."""
    (path,) = filled.rglob(CODE)
    path.write_bytes(flip(path.read_bytes(), where))
    with pytest.warns(RuntimeWarning, match=MISS + "ValueError: a file of it is damaged"):
        assert not compile_the_smallest()
    assert compile_the_smallest()


@pytest.mark.parametrize("pattern", [INDEX, CODE], ids=["index", "code"])
def test_a_cache_that_cannot_be_mended(pattern, filled):
    (path,) = filled.rglob(pattern)
    path.unlink()
    path.mkdir()
    with pytest.warns(RuntimeWarning, match=MISS) as caught:
        for _ in range(2):
            assert not compile_the_smallest()
    assert len(caught) == 1


def forbidden(self):
    raise PermissionError("read-only")


@pytest.mark.parametrize("home", ["file", None])
def test_no_writable_place(home, empty, monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(caching.InTreeCacheLocator, "ensure_cache_path", forbidden)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if home:
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("HOME", str(tmp_path / "file"))
    else:
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for an unknown user
    with pytest.warns(RuntimeWarning, match="no locator .*NUMBA_CACHE_DIR names a") as caught:
        for _ in range(2):
            assert not compile_the_smallest()
    assert len(caught) == 1
    assert list((tmp_path / "here").iterdir()) == []  # and none of the name "~"


@pytest.mark.skipif(os.name != "posix", reason="needs a limit of file sizes")
@pytest.mark.parametrize("size", [100, 10_000], ids=["index", "code"])
def test_a_full_disk(size, run_python, empty, monkeypatch):
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, -1))\n"
    result = run_python(limit + COMPILE_THE_SMALLEST, NUMBA_CACHE_DIR=str(empty))
    assert result.returncode == 0 and result.stderr.count(MISS + "OSError") == 1
    assert not list(empty.rglob(CODE))
    assert not compile_the_smallest()
    assert compile_the_smallest()


def test_remains_of_killed_runs_are_removed(filled):
    (path,) = filled.rglob(INDEX)
    ours = path.with_name(path.name + ".tmp.0123456789abcdef")
    new = path.with_name(path.name + ".tmp.0123456789abcdee")
    theirs = path.with_name("theirs.f-1.py311.nbi.tmp.0123456789abcdef")
    for name in (ours, new, theirs):
        name.write_bytes(b"x")
    for name in (ours, theirs):
        os.utime(name, (0, 0))
    path.unlink()
    assert not compile_the_smallest()
    assert [name.exists() for name in (ours, new, theirs)] == [False, True, True]
