"""How many threads, forks, Python threads beside a call, and the ISA that a process takes."""

import functools
import hashlib
import os
import re
import signal
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from fastsoftmax import get_num_threads, set_num_threads, threads
from fastsoftmax.backends import BACKENDS, available_backends, get_backend
from fastsoftmax.backends import cython as _cython
from fastsoftmax.optim import SGDSettings, Velocity


def train(backend, problem, num_threads=3, epochs=2):
    """sha256 of all that a short training returns and updates."""
    weight, bias = problem.parameters()
    velocity = Velocity.of(weight, bias)
    sums = [
        backend.train_epoch(
            problem.x,
            problem.target,
            None,
            200,
            weight,
            bias,
            SGDSettings(lr=0.1, momentum=0.9),
            velocity,
            scale=problem.scale,
            num_threads=num_threads,
        )
        for _ in range(epochs)
    ]
    arrays = (weight, bias, velocity.weight, velocity.bias)
    return hashlib.sha256(repr(sums).encode() + b"".join(a.tobytes() for a in arrays)).digest()


@pytest.fixture
def problem(make_problem):
    return make_problem(700, 50, 10)


# ---- fork ----

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork here")


def in_child(function, seconds=30):
    """What `function` returns, bytes, called in a fork of this process that then exits with 0."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(write_end, function())  # less than a pipe holds
            status = 0
        finally:
            os._exit(status)  # and not on into pytest
    os.close(write_end)
    deadline = time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail(f"the child hung for {seconds} s")
        time.sleep(0.002)
    with os.fdopen(read_end, "rb") as pipe:
        written = pipe.read()
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    return written


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_after_use(backend, problem):
    expected = train(backend, problem)
    for _ in range(3):
        assert in_child(lambda: train(backend, problem)) == expected
        assert train(backend, problem) == expected  # the parent has kept its own


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_of_a_fork(problem):
    expected = train(_cython, problem)

    def child():
        assert train(_cython, problem) == expected
        return in_child(lambda: train(_cython, problem))

    assert in_child(child) == expected


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_while_another_thread_trains(problem):
    expected = train(_cython, problem)
    stop = threading.Event()

    def keep_training():
        while not stop.is_set():
            train(_cython, problem)

    def child():
        bits = train(_cython, problem)
        if sys.platform.startswith("linux"):  # a team of its own, whoever had the parent's
            assert len(os.listdir("/proc/self/task")) == 3
        return bits

    busy = threading.Thread(target=keep_training)
    busy.start()
    try:
        for _ in range(20):
            assert in_child(child) == expected
    finally:
        stop.set()
        busy.join(30)
    assert not busy.is_alive()


# ---- Python threads ----


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_concurrent_python_threads(backend, make_problem, num_threads):
    """Each with a problem of its own: nothing is shared between calls."""
    problems = [make_problem(700, 20 + seed, 10, seed=seed) for seed in range(4)]
    expected = [train(backend, problem) for problem in problems]
    results = [[] for _ in problems]
    together = threading.Barrier(len(problems), timeout=30)

    def work(problem, result):
        together.wait()
        for _ in range(5):
            result.append(train(backend, problem, num_threads))

    pool = [
        threading.Thread(target=work, args=pair, daemon=True)
        for pair in zip(problems, results, strict=True)
    ]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join(60)
    assert results == [[bits] * 5 for bits in expected]


CALLS = {
    "train_epoch": lambda b, x, y, w, c: b.train_epoch(
        x, y, None, 256, w.copy(), c.copy(), SGDSettings(lr=0.1), num_threads=1
    ),
    "loss_and_grad": lambda b, x, y, w, c: b.loss_and_grad(x, y, w, c, num_threads=1),
    "evaluate": lambda b, x, y, w, c: b.evaluate(x, y, w, c, num_threads=1),
    "predict_logits": lambda b, x, y, w, c: b.predict_logits(x, w, c, num_threads=1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("name", BACKENDS)
def test_other_python_threads_run_during_a_call(name, call, make_problem):
    """This thread wakes every millisecond while another one is in a call of a tenth of a second
    and more. If the call held the GIL this one would sleep on until it is over."""
    if name not in available_backends():
        pytest.skip(f"backend {name} is not available here")
    backend = get_backend(name)
    _, _, weight, bias = make_problem(1, 784, 200)
    rows = np.zeros((1, 784), np.uint8)
    call(backend, rows, np.zeros(1, np.int32), weight, bias)  # compiles, the first time
    n_rows, seconds = 500, 0.0
    while seconds < 0.1:
        n_rows *= 2
        x = np.zeros((n_rows, 784), np.uint8)
        target = np.zeros(n_rows, np.int32)
        begin = time.perf_counter()
        call(backend, x, target, weight, bias)
        seconds = time.perf_counter() - begin

    entered, left = threading.Event(), threading.Event()

    def work():
        entered.set()
        call(backend, x, target, weight, bias)
        left.set()

    worker = threading.Thread(target=work)
    ticks = 0
    worker.start()
    entered.wait(30)
    while not left.is_set():
        time.sleep(0.001)
        ticks += 1
    worker.join(30)
    assert ticks > 8  # with the GIL held: 1 or 2, before the call and after it


# ---- how many ----


@pytest.fixture
def default_num_threads():
    set_num_threads(None)
    yield
    set_num_threads(None)


def test_set_num_threads(default_num_threads):
    default = get_num_threads()
    assert default >= 1
    for n in (1, 3, 500):
        set_num_threads(n)
        assert get_num_threads() == n
        assert threads.check_num_threads(None) == n
        assert threads.check_num_threads(2) == 2
    set_num_threads(np.int64(2))
    assert get_num_threads() == 2
    set_num_threads(None)
    assert get_num_threads() == default


@pytest.mark.parametrize(
    "bad, exception, message",
    [
        (0, ValueError, "num_threads must be >= 1, got 0"),
        (-2, ValueError, "num_threads must be >= 1, got -2"),
        (1.0, TypeError, "num_threads must be an integer or None, got 1.0"),
        ("2", TypeError, "num_threads must be an integer or None, got '2'"),
    ],
)
def test_set_num_threads_errors(bad, exception, message, default_num_threads):
    set_num_threads(3)
    with pytest.raises(exception) as raised:
        set_num_threads(bad)
    assert str(raised.value) == message
    assert get_num_threads() == 3


SAY_NUM_THREADS = "import fastsoftmax; print(fastsoftmax.get_num_threads())"


def n_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    "value, expected",
    [("3", 3), ("2,4", 2), (" 7 ", 7), ("999999", 1024), ("", None), (" ", None)],
)
def test_omp_num_threads(value, expected, monkeypatch, default_num_threads):
    monkeypatch.setattr(threads, "_quota", functools.cache(lambda: 1000))
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    set_num_threads(None)  # reads it again
    assert get_num_threads() == (expected or n_cores())
    assert threads.threads_for(None, 1 << 40) == (expected or n_cores())


@pytest.mark.parametrize(
    "value", ["0", "-1", "all", "²", "٣", "1_0", "2.0", ",2", "9" * 20, "9" * 5000]
)
def test_omp_num_threads_that_is_no_number_of_threads(value, monkeypatch, default_num_threads):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    set_num_threads(None)
    message = re.escape(
        f"OMP_NUM_THREADS must be a number of threads, an integer >= 1, got {value!r}"
    )
    for asked in (get_num_threads, lambda: threads.threads_for(None, 1)):
        with pytest.raises(ValueError, match=message):
            asked()
    assert threads.threads_for(2, 1) == 2  # nobody asked for the default
    set_num_threads(3)
    assert get_num_threads() == 3


def test_omp_num_threads_is_read_by_the_process(run_python):
    assert run_python(SAY_NUM_THREADS, OMP_NUM_THREADS="5").stdout == "5\n"
    result = run_python(SAY_NUM_THREADS, OMP_NUM_THREADS="²")
    assert result.stderr.splitlines()[-1].startswith("ValueError: OMP_NUM_THREADS must be")


@pytest.mark.parametrize("asked, work, expected", [(None, 0, 1), (None, 3 << 17, 3), (5, 0, 5)])
def test_threads_for_small_work(asked, work, expected):
    set_num_threads(4)
    try:
        assert threads.threads_for(asked, work) == expected
        assert threads.threads_for(None, 1 << 40) == 4
    finally:
        set_num_threads(None)


NARROW = """
import os, time
import fastsoftmax as fs
from fastsoftmax.threads import threads_for
before = fs.get_num_threads(), threads_for(None, 1 << 40)
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
time.sleep(0.02)
print(*before, threads_for(None, 1 << 40), fs.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_the_cores_are_those_of_now(run_python):
    n = min(n_cores(), threads._quota())
    result = run_python(NARROW, OMP_NUM_THREADS="")
    assert (result.stdout, result.stderr) == (f"{n} {n} 1 1\n", "")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_a_thread_of_one_core_uses_one(monkeypatch, default_num_threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    set_num_threads(None)
    seen = []

    def pinned():
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        seen.append((get_num_threads(), threads.threads_for(None, 1 << 40)))

    threads.threads_for(None, 1 << 40)  # by the time it is asked by the other, just read
    thread = threading.Thread(target=pinned)
    thread.start()
    thread.join()
    assert seen == [(1, 1)]


# ---- the quota of a control group ----

V1 = "3:cpu,cpuacct:{group}\n2:memory:/elsewhere\n1:name=systemd:/\n0::/\n"
V1_MOUNT = "31 23 0:28 {root} {mount} rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "0::{group}\n"
V2_MOUNT = "41 31 0:38 {root} {mount} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.fixture
def control_group(monkeypatch, tmp_path, default_num_threads):
    """``control_group(version, group, root, limits)``: how many cores of 64 are then used."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_PROC", tmp_path)
    monkeypatch.setattr(threads, "_cores", lambda: 64)

    def cores(version, group, root, limits):
        mount = tmp_path / "mounted"
        mount.mkdir(exist_ok=True)
        (tmp_path / "cgroup").write_text((V1 if version == 1 else V2).format(group=group))
        (tmp_path / "mountinfo").write_text(
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
            + (V1_MOUNT if version == 1 else V2_MOUNT).format(root=root, mount=mount)
        )
        for folder, limit in limits.items():
            (mount / folder).mkdir(parents=True, exist_ok=True)
            if version == 2:
                (mount / folder / "cpu.max").write_text(limit + "\n")
            else:
                quota, period = limit.split()
                (mount / folder / "cpu.cfs_quota_us").write_text(quota + "\n")
                (mount / folder / "cpu.cfs_period_us").write_text(period + "\n")
        set_num_threads(None)
        return get_num_threads()

    return cores


@pytest.mark.parametrize(
    "version, group, root, limits, expected",
    [
        (2, "/", "/", {"": "50000 100000"}, 1),  # half a core
        (2, "/", "/", {"": "150000 100000"}, 2),
        (2, "/", "/", {"": "400000 100000"}, 4),
        (2, "/", "/", {"": "max 100000"}, 64),
        (2, "/", "/", {}, 64),  # the root of the hierarchy has no such file
        (2, "/a/b", "/", {"a/b": "max 100000", "a": "300000 100000"}, 3),  # of one above
        (2, "/a/b", "/", {"a/b": "200000 100000", "a": "300000 100000"}, 2),
        (2, "/docker/1", "/docker/1", {"": "200000 100000"}, 2),
        (2, "/../1", "/", {"": "200000 100000"}, 2),  # as seen from another namespace
        (2, "/docker/1", "/docker/2", {"": "200000 100000"}, 2),
        (1, "/a", "/", {"a": "50000 100000"}, 1),
        (1, "/a", "/", {"a": "-1 100000", "": "250000 100000"}, 3),
        (1, "/docker/1", "/docker/1", {"": "200000 100000"}, 2),
        (1, "/a", "/", {"a": "-1 100000"}, 64),
        (2, "/", "/", {"": "1000000000 100000"}, 64),
        (2, "/", "/", {"": "nonsense"}, 64),
        (2, "/", "/", {"": "50000 0"}, 64),
        (1, "/", "/", {"": "x y"}, 64),
    ],
)
def test_quota(version, group, root, limits, expected, control_group):
    assert control_group(version, group, root, limits) == expected
    assert threads.threads_for(None, 1 << 40) == expected


def test_omp_num_threads_comes_before_the_quota(control_group, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert control_group(2, "/", "/", {"": "50000 100000"}) == 5


@pytest.mark.parametrize("content", ["", "\n", "0:", "no colon", " - "])
def test_no_quota_of_unknown_files(content, control_group, tmp_path):
    assert control_group(2, "/", "/", {"": "50000 100000"}) == 1
    (tmp_path / "cgroup").write_text(content)
    set_num_threads(None)
    assert get_num_threads() == 64
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "mountinfo").write_text(content)
    set_num_threads(None)
    assert get_num_threads() == 64


# ---- threadpoolctl ----

LIMIT = """
from threadpoolctl import threadpool_info, threadpool_limits

(ours,) = [info for info in threadpool_info() if info["user_api"] == "fastsoftmax"]
assert ours["num_threads"] == fs.get_num_threads() == 3, ours
assert ours["version"] == fs.__version__
with threadpool_limits(1):
    assert fs.get_num_threads() == 1
    with threadpool_limits({"fastsoftmax": 2}):
        assert fs.get_num_threads() == 2
    assert fs.get_num_threads() == 1
assert fs.get_num_threads() == 3
with threadpool_limits(1, user_api="blas"):
    assert fs.get_num_threads() == 3

# what is restored is the default that it was
os.environ["OMP_NUM_THREADS"] = "4"
fs.set_num_threads(None)
with threadpool_limits(1):
    assert fs.get_num_threads() == 1
assert fs.threads._num_threads is None

# the variable's error is none of threadpoolctl's
os.environ["OMP_NUM_THREADS"] = "many"
fs.set_num_threads(None)
with threadpool_limits(1):
    assert fs.get_num_threads() == 1
assert len([f for f in sys.meta_path if type(f).__module__.startswith("fastsoftmax")]) == 0
print("done")
"""
BEFORE = "import os, sys, importlib.util; "


@pytest.mark.parametrize("backend", available_backends())
@pytest.mark.parametrize(
    "start",
    [
        "import fastsoftmax as fs; assert 'threadpoolctl' not in sys.modules",
        "import threadpoolctl; threadpoolctl.threadpool_info(); import fastsoftmax as fs",
        "import fastsoftmax as fs; importlib.util.find_spec('threadpoolctl')",
    ],
    ids=["before it", "after it", "looked for only"],
)
def test_threadpoolctl(start, backend, run_python):
    pytest.importorskip("threadpoolctl")
    code = BEFORE + start + "\nfs.set_num_threads(3)\n" + LIMIT
    result = run_python(code, FASTSOFTMAX_BACKEND=backend)
    assert (result.stdout, result.stderr) == ("done\n", "")


def test_without_threadpoolctl(run_python):
    code = (
        "import sys; sys.modules['threadpoolctl'] = None\n"
        "import fastsoftmax\n"
        "try:\n    import threadpoolctl\nexcept ImportError:\n    print('none')"
    )
    assert run_python(code).stdout == "none\n"
    code = (
        "import sys, fastsoftmax\n"
        "sys.path[:] = []; sys.path_importer_cache.clear()\n"
        "try:\n    import threadpoolctl\nexcept ModuleNotFoundError:\n    print('none')"
    )
    assert run_python(code).stdout == "none\n"


COUNT_THREADS = """
import os
import numpy as np
import fastsoftmax as fs
from fastsoftmax.backends import cython as _cython
from fastsoftmax.optim import SGDSettings

_cython._allow_threads_beyond_cores(True)

def started(**keywords):
    before = len(os.listdir("/proc/self/task"))
    for _ in range(3):
        weight, bias = np.zeros((10, 784), np.float32), np.zeros(10, np.float32)
        _cython.train_step(x, np.zeros(len(x), int), weight, bias, SGDSettings(lr=1), **keywords)
    return len(os.listdir("/proc/self/task")) - before

x = np.zeros((1000, 784), np.float32)
counts = [started(num_threads=1)]
fs.set_num_threads(3)
x, large = x[:32].copy(), x
counts.append(started())
x = large
counts.append(started())
counts.append(started(num_threads=2))
counts.append(started(num_threads=5))
counts.append(started(num_threads=10**6))
print(*counts)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_threads_that_are_started(run_python):
    """None alone or for 32 rows; two beside the caller; those again; two more; 63 at most."""
    result = run_python(COUNT_THREADS)
    assert result.stderr == ""
    *few, many = map(int, result.stdout.split())
    assert few == [0, 0, 2, 0, 2]
    assert 0 < many <= 63 - sum(few)


@pytest.mark.parametrize("n_rows", [1, 2, 63, 200, 5000])
def test_more_threads_than_cores_or_chunks(n_rows, backend, make_problem):
    problem = make_problem(n_rows, 9, 4)
    expected = train(backend, problem, 1)
    for num_threads in (n_rows + 1, 40, 64, 65, 1000):
        assert train(backend, problem, num_threads) == expected


# ---- the instruction set of a process ----

SAY_ISA = "from fastsoftmax.backends import cython as _cython; print(_cython.selected_isa())"


@pytest.mark.parametrize("name", _cython.built_isas())
def test_isa_of_the_environment(name, run_python):
    if name in _cython.supported_isas():
        result = run_python(SAY_ISA, FASTSOFTMAX_ISA=name)
        assert (result.returncode, result.stdout, result.stderr) == (0, name + "\n", "")
    else:
        result = run_python(SAY_ISA, FASTSOFTMAX_ISA=name)
        assert result.returncode == 1
        assert f"ValueError: FASTSOFTMAX_ISA='{name}' is not for this CPU" in result.stderr


def test_fastest_isa_by_default(run_python):
    assert run_python(SAY_ISA, FASTSOFTMAX_ISA="").stdout == _cython.supported_isas()[-1] + "\n"


@pytest.mark.parametrize("name", ["mmx", "x86-64", "X86-64-V3"])
def test_unknown_isa(name, run_python):
    for code in (SAY_ISA, "import fastsoftmax"):
        result = run_python(code, FASTSOFTMAX_ISA=name)
        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr.splitlines()[-1] == (
            f"ValueError: FASTSOFTMAX_ISA='{name}' is unknown, "
            f"expected one of {_cython.built_isas()}"
        )


def test_select_isa():
    before = _cython.selected_isa()
    try:
        for name in _cython.supported_isas():
            _cython.select_isa(name)
            assert _cython.selected_isa() == name
            with pytest.raises(ValueError, match="'mmx' is unknown"):
                _cython.select_isa("mmx")
            assert _cython.selected_isa() == name
        _cython.select_isa()
        assert _cython.selected_isa() == _cython.supported_isas()[-1]
    finally:
        _cython.select_isa(before)
    assert set(_cython.supported_isas()) <= set(_cython.built_isas())


def test_results_differ_between_isas(make_problem):
    """So that tests which run over all of them do run different kernels."""
    problem = make_problem(257, 784, 10)
    before = _cython.selected_isa()
    results = set()
    try:
        for name in _cython.supported_isas():
            _cython.select_isa(name)
            results.add(_cython.loss_and_grad(*problem)[1].tobytes())
    finally:
        _cython.select_isa(before)
    assert len(results) == len(_cython.supported_isas())


def test_a_velocity_that_is_replaced_meanwhile_stays_alive():
    x, target = np.zeros((20_000, 784), np.uint8), np.zeros(20_000, np.int32)
    weight, bias = np.zeros((10, 784), np.float32), np.zeros(10, np.float32)
    velocity = Velocity.of(weight, bias)
    sgd, stop = SGDSettings(lr=0.1, momentum=0.9), threading.Event()

    def train():
        while not stop.is_set():
            _cython.train_epoch(x, target, None, 256, weight, bias, sgd, velocity)

    thread = threading.Thread(target=train)
    thread.start()
    alive = False
    for _ in range(200):  # now and then no call may be running
        time.sleep(0.002)
        old = weakref.ref(velocity.weight)
        velocity.weight = np.zeros((10, 784), np.float32)
        alive = old() is not None
        if alive:
            break
    stop.set()
    thread.join()
    assert alive
    assert old() is None


@pytest.mark.parametrize("flush", [True, False])
def test_workers_round_as_the_caller_does(flush):
    """Workers that kept the floating-point mode of their birth would give other bits."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, target = 0.01 * rng.standard_normal((256, 64), np.float32), np.zeros(256, np.int32)
    weight, bias = np.zeros((10, 64), np.float32), np.full(10, -86, np.float32)
    bias[0] = 0  # so certain that the gradients of the others are subnormal

    def gradient(num_threads):
        return _cython.loss_and_grad(x, target, weight, bias, num_threads=num_threads)[1]

    gradient(2)
    if flush and not torch.set_flush_denormal(True):
        pytest.skip("this CPU does not flush subnormals")
    try:
        one, two = gradient(1), gradient(2)
    finally:
        torch.set_flush_denormal(False)
    subnormal = np.finfo(np.float32).tiny
    assert ((0 < abs(one)) & (abs(one) < subnormal)).any() != flush
    assert one.tobytes() == two.tobytes()
