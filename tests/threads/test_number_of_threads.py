"""How many threads a call has: as set, by OMP_NUM_THREADS, by the cores, by its work."""

import functools
import os
import re
import threading

import numpy as np
import pytest

from fastsoftmax import get_num_threads, set_num_threads, threads


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
