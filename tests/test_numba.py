"""What is the Numba backend's alone: its exp, its threads, its compilation. That it keeps the
contract, and computes what it should, is tested with the others."""

import inspect
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from fastsoftmax.optim import SGDSettings, Velocity

if "numba" not in os.environ.get("FASTSOFTMAX_EXPECT_BACKENDS", "").split(","):
    pytest.importorskip("numba")

import numba
from numba.core import caching
from numba.core.compiler_lock import global_compiler_lock

from fastsoftmax.backends import numba as _numba
from fastsoftmax.backends.numba import cache as _numba_cache
from fastsoftmax.backends.numba import kernels as _numba_kernels
from fastsoftmax.backends.numba import team as _numba_team
from fastsoftmax.forks import import_lock

LOWEST = np.float32(-87.33654)


@numba.njit
def _exp(x):
    out = np.empty_like(x)
    for i in range(x.shape[0]):
        out[i] = _numba_kernels.exp(x[i])
    return out


def test_exp_error():
    """The bound that its docstring states, as of csrc/exp.h."""
    x = np.concatenate([np.linspace(LOWEST, 0, 500_000), np.linspace(0, 88, 250_000)])
    x = np.clip(x.astype(np.float32), LOWEST, 88)
    truth = np.exp(x.astype(np.float64))
    error = np.abs(_exp(x) - truth) / np.spacing(truth.astype(np.float32))
    assert 0.5 < error.max() <= 1.1


def test_exp_of_no_ordinary_numbers():
    below = np.nextafter(LOWEST, np.float32(-np.inf))
    assert _exp(np.array([below, -88, -104, -1e4, -3e38, -np.inf], np.float32)).tolist() == [0] * 6
    assert _exp(np.array([0, -0.0], np.float32)).tolist() == [1, 1]
    assert np.isnan(_exp(np.array([np.nan, -np.nan], np.float32))).all()


def test_fast_math_keeps_nan_and_infinity():
    """No kernel may assume that there are none, or that the sign of 0 does not matter."""
    flags = [
        member.targetoptions.get("fastmath", False)
        for member in vars(_numba_kernels).values()
        if isinstance(member, numba.core.registry.CPUDispatcher)
    ]
    assert len(flags) > 10 and any(flags)
    for given in flags:
        assert set(given or ()) <= {"reassoc", "contract"}


def test_arguments_of_the_drivers_are_those_compiled_for():
    for driver in (
        _numba_kernels.train_by_rows,
        _numba_kernels.train_by_tiles,
        _numba_kernels.score,
        _numba_kernels.softmax,
    ):
        assert len(inspect.signature(driver(range)).parameters) == len(
            _numba._signature(driver, "float32")
        )


# ---- without compilation ----

PLAIN_PYTHON = """
import numpy as np
from fastsoftmax.backends import numba as _numba
from fastsoftmax.backends import numpy as _numpy
from fastsoftmax.settings import CrossEntropy
from fastsoftmax.optim import SGDSettings, Velocity

rng = np.random.default_rng(0)
sgd = SGDSettings(lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01)

def nothing_yet(shape, dtype=float):
    # what is read before it is written shows
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 2**31 - 1, dtype)

np.empty = nothing_yet

def close(ours, truth):
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-5)

# by rows; by tiles, of which two, and over two blocks of features
for n, d, k in ((5, 7, 3), (19, 3, 6), (2, 1025, 2)):
    for row_type in (np.float32, np.uint8):
        x = rng.integers(0, 9, (n, d)).astype(row_type)
        target = rng.integers(0, k, n)
        start = 0.1 * rng.standard_normal((k, d)).astype(np.float32), np.zeros(k, np.float32)
        results = []
        for backend in (_numba, _numpy):
            weight, bias = (array.copy() for array in start)
            velocity = Velocity.of(weight, bias)
            keywords = {"scale": 0.1, "num_threads": 2}
            sums = [
                backend.train_epoch(
                    x, target, order, n - 1, weight, bias, sgd, velocity, **keywords)
                for order in (None, np.arange(n)[::-1])
            ]
            loss, *gradients = backend.loss_and_grad(x, target, weight, bias, **keywords)
            backend.sgd_update(weight, bias, *gradients, n, sgd, velocity)
            sums.append(backend.evaluate(x, target, weight, bias, **keywords))
            keywords |= {
                "criterion": CrossEntropy(np.arange(k), 0.1, ignore_index=1),
                "sample_weight": np.arange(n),
            }
            outputs = np.empty((n, d), np.float32), np.empty(n, np.float32)
            for given in (target, np.full((n, k), 1 / k)):
                sums += [
                    backend.train_step(x, given, weight, bias, sgd, velocity, **keywords),
                    backend.evaluate(x, given, weight, bias, **keywords, losses=outputs[1]),
                    backend.loss_and_grad(
                        x, given, weight, bias, **keywords, grad_input=outputs[0])[0],
                    *(output.sum() for output in outputs),
                ]
            keywords = {"scale": 0.1, "num_threads": 2}
            logits = backend.predict_logits(x, weight, bias, **keywords)
            results.append([
                *sums, loss, *gradients, weight, bias, velocity.weight, logits,
                backend.softmax(logits), backend.log_softmax(logits)])
        for ours, truth in zip(*results, strict=True):
            close(ours, truth)
assert not hasattr(_numba.kernels.residuals, "py_func")
print("done")
"""


def test_kernels_are_python(run_python):
    """With the JIT disabled they run as they are written: a debugger can step through them."""
    result = run_python(PLAIN_PYTHON, NUMBA_DISABLE_JIT="1")
    assert (result.stdout, result.stderr) == ("done\n", "")


# ---- compilation ----

COMPILE_THE_SMALLEST = """
import numpy as np
from fastsoftmax.backends import numba as _numba
from fastsoftmax.optim import SGDSettings
w, b = np.ones((2, 3), np.float32), np.ones(2, np.float32)
for _ in range(2):
    _numba.sgd_update(w, b, w.copy(), b.copy(), 1, SGDSettings(lr=0.25))
assert w[0, 0] == 0.5625
"""
NOTICE = "fastsoftmax: compiling the Numba kernels, once"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there is no terminal here")
def test_compilation_is_told_once_on_a_terminal(tmp_path):
    told = []
    for _ in range(2):  # the second time from the cache
        ours, theirs = os.openpty()
        subprocess.run(
            [sys.executable, "-c", COMPILE_THE_SMALLEST],
            cwd=tmp_path,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            stderr=theirs,
            check=True,
            timeout=60,
        )
        os.write(theirs, b"end\n")
        text = b""
        while not text.endswith(b"end\r\n"):  # a terminal may hand it over in pieces
            text += os.read(ours, 1000)
        told.append(text.decode().split("\r\n")[:-1])
        os.close(ours)
        os.close(theirs)
    assert told == [[NOTICE, "end"], ["end"]]


def test_compilation_is_silent_elsewhere(run_python, tmp_path):
    result = run_python(COMPILE_THE_SMALLEST, NUMBA_CACHE_DIR=str(tmp_path))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tmp_path.rglob("*.nbi"))


# ---- the cache of what was compiled ----

INDEX, CODE = "kernels.update-*.nbi", "kernels.update-*.1.nbc"
MISS = "compiling the Numba kernels, as their cache cannot be used: "


def compile_the_smallest():
    """Whether it came from the cache; it runs."""
    update = _numba._compiled_update.__wrapped__()
    w, g, v = np.ones((3, 6), np.float32)
    update(w, g, v[:0], 1.0, 0.0, _numba._settings(SGDSettings(lr=0.25)), False)
    assert w.tolist() == [0.75] * 6
    return sum(update.stats.cache_hits.values()) == 1


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """The folder of a cache of its own."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(_numba_cache, "_warned", False)
    return tmp_path / "cache"


@pytest.fixture
def filled(empty):
    """The same, with the smallest kernel in it."""
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
    """It would end the process, or compute something else."""
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


# ---- forks while another thread is at what a child needs ----

FORK = """
import os, signal, sys, threading, time
import numpy as np
import fastsoftmax as fs

def update():
    _numba = fs.get_backend("numba")
    w, b = np.ones((2, 3), np.float32), np.ones(2, np.float32)
    _numba.sgd_update(w, b, w.copy(), b.copy(), 1, fs.optim.SGDSettings(lr=0.25))
    assert w[0, 0] == 0.75

def fork():
    child = os.fork()
    if child == 0:
        try:
            update()
        finally:
            os._exit(sys.exc_info()[0] is not None)
    deadline = time.monotonic() + 120  # it may compile
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            print("hung")
            break
        time.sleep(0.01)
    else:
        print("exit code", os.waitstatus_to_exitcode(ended[1]))

begun = threading.Event()
"""
WHILE_COMPILING = """
from numba.core import event

class Begun(event.Listener):
    def on_start(self, event):
        begun.set()

    def on_end(self, event):
        pass

event.register("numba:compile", Begun())
_numba = fs.get_backend("numba")
thread = threading.Thread(target=lambda: _numba.softmax(np.ones((2, 3), np.float32)))
thread.start()
begun.wait()
assert thread.is_alive()
fork()
thread.join()
"""
WHILE_IMPORTING = """
class Begun:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("numba."):
            begun.set()

sys.meta_path.insert(0, Begun())
thread = threading.Thread(target=lambda: fs.get_backend("numba"))
thread.start()
begun.wait()
assert thread.is_alive()
fork()
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork here")
@pytest.mark.parametrize("while_", [WHILE_COMPILING, WHILE_IMPORTING], ids=["compile", "import"])
def test_fork_while_another_thread_gets_ready(while_, run_python, tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "FASTSOFTMAX_BACKEND": "numpy"}
    result = run_python(FORK + while_, timeout=300, **environment)
    assert (result.stdout, result.stderr) == ("exit code 0\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_locks_are_given_back_after_a_fork():
    child = os.fork()
    if child == 0:
        os._exit(_locks_are_free())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert _locks_are_free()


def _locks_are_free():
    taken = []

    def take():
        for lock in (import_lock, global_compiler_lock._lock):
            taken.append(lock.acquire(timeout=5))
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken == [True, True]


def test_compilation_needs_no_standard_error(monkeypatch):
    """As in windowed programs, which have none."""
    closed = open(os.devnull)
    closed.close()
    for stream in (None, object(), closed):
        monkeypatch.setattr(_numba._Notice, "said", False)
        monkeypatch.setattr(sys, "stderr", stream)
        _numba._Notice().on_start(None)
        assert _numba._Notice.said


# ---- Ctrl-C ----


@pytest.mark.parametrize("in_order", [True, False])
def test_an_epoch_is_some_calls_between_which_ctrl_c_is_heard(make_problem, monkeypatch, in_order):
    problem = make_problem(200, 9, 4)
    order = None if in_order else np.random.default_rng(0).permutation(200)
    run, sgd, calls = _numba._run, SGDSettings(lr=0.1, momentum=0.9), []

    def trained(rows):
        weight, bias = problem.parameters()
        velocity = Velocity.of(weight, bias)
        sample_weight, sums = np.linspace(0.5, 2, 200), None
        if order is None:
            given = problem.x[:rows], problem.target[:rows], None
            sample_weight = sample_weight[:rows]
        else:
            given = problem.x, problem.target, order[:rows]
        try:
            sums = _numba.train_epoch(
                *given, 16, weight, bias, sgd, velocity, sample_weight=sample_weight
            )
        except KeyboardInterrupt:
            pass
        return sums, weight.tobytes(), bias.tobytes(), velocity.weight.tobytes(), velocity.started

    def counted(*args):
        calls.append(1)
        return run(*args)

    def interrupted(*args):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return counted(*args)

    whole, two_calls = trained(200), trained(96)
    monkeypatch.setattr(_numba, "_CALL", 3 * 16 * 36 + 1)  # three steps
    monkeypatch.setattr(_numba, "_run", counted)
    in_parts = trained(200)
    assert len(calls) == 5 and in_parts[1:] == whole[1:]
    assert in_parts[0].correct == whole[0].correct
    assert in_parts[0].loss == pytest.approx(whole[0].loss, rel=1e-12)
    calls.clear()
    monkeypatch.setattr(_numba, "_run", interrupted)
    assert trained(200) == (None, *two_calls[1:])


# ---- threads ----


def test_numbas_number_of_threads_is_restored(make_problem):
    problem = make_problem(200, 9, 4)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        for num_threads in (1, 2, 1000):
            _numba.loss_and_grad(*problem, num_threads=num_threads)
            assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(before)


def test_threads_of_a_context():
    most = numba.config.NUMBA_NUM_THREADS
    with _numba_team.threads(1) as n:
        assert n == 1
    with _numba_team.threads(10**6) as n:
        assert n == numba.get_num_threads() == most
        other = []
        thread = threading.Thread(target=lambda: other.append(_numba_team.threads(2).__enter__()))
        thread.start()
        thread.join(30)
        assert other == [1]  # the team is taken: alone, and at once
    with _numba_team.threads(10**6) as n:
        assert n == most


def test_the_team_is_given_back_after_an_error():
    with pytest.raises(ZeroDivisionError), _numba_team.threads(2):
        1 / 0  # noqa: B018
    with _numba_team.threads(2) as n:
        assert n == min(2, numba.config.NUMBA_NUM_THREADS)


SAY_LAYER_AND_BITS = """
import hashlib
import numpy as np
from fastsoftmax.backends import numba as _numba
from fastsoftmax.backends.numba import team as _numba_team
rng = np.random.default_rng(0)
x = rng.standard_normal((300, 65), np.float32)
w = rng.standard_normal((10, 65), np.float32)
grad = _numba.loss_and_grad(x, np.zeros(300, int), w, w[:, 0].copy(), num_threads=2)[1]
print(_numba_team.layer(), hashlib.sha256(grad.tobytes()).hexdigest())
"""


def test_same_bits_by_every_threading_layer(run_python):
    said = {}
    for layer in ("omp", "tbb", "workqueue"):
        result = run_python(SAY_LAYER_AND_BITS, NUMBA_THREADING_LAYER=layer)
        if result.returncode == 0:
            name, said[layer] = result.stdout.split()
            assert name == layer
        else:
            assert "No threading layer could be loaded" in result.stderr
    assert "workqueue" in said and len(set(said.values())) == 1


def test_sgd_update_takes_the_settings_as_they_are():
    """Each setting reaches the field of its name."""
    sgd = SGDSettings(0.5, momentum=0.25, dampening=0.125, weight_decay=2.0, decay_bias=False)
    assert _numba._settings(sgd)._asdict() == {
        "lr": 0.5,
        "momentum": 0.25,
        "dampening": 0.125,
        "nesterov": False,
        "weight_decay": 2.0,
        "bias_weight_decay": 0.0,
    }


def test_probabilities_beyond_the_last_row_are_zero(make_problem):
    """Not what lay in memory: it may be NaN there, and 0 * NaN is no 0."""
    rng = np.random.default_rng(0)
    for n_rows in (1, 2, 3, 5, 63, 65) * 20:
        problem = make_problem(n_rows, 3, 2)
        probabilities = rng.random((n_rows, 2), np.float32)
        freed = [np.full(2**i, np.nan, np.float32) for i in range(12)]
        del freed
        _, grad_weight, grad_bias = _numba.loss_and_grad(
            problem.x, probabilities, problem.weight, problem.bias
        )
        assert np.isfinite(grad_weight).all() and np.isfinite(grad_bias).all()
