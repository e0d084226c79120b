"""threadpoolctl sees and limits our threads, whichever is imported first."""

import pytest

from fastsoftmax.backends import available_backends

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
