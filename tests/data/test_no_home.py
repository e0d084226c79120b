"""Users without a home: no cache is no trouble."""

from __future__ import annotations

import os

import pytest

from fastsoftmax.datasets import (
    DatasetUnavailableError,
    fashion_mnist,
    load_dataset,
)
from helpers.data import assert_is, use_folder

NO_CACHE = {
    "unknown user": {},
    "a home that is no place": {"HOME": "relative"},
    "of nobody": {"FASTSOFTMAX_CACHE_DIR": "~nobody-of-this-name/cache"},
    "of a home that is no place": {"HOME": "relative", "FASTSOFTMAX_CACHE_DIR": "~/cache"},
    "of no home": {"FASTSOFTMAX_CACHE_DIR": "~/cache"},
}


@pytest.mark.parametrize("case", NO_CACHE)
def test_no_home_no_cache(case, monkeypatch, small, no_home):
    use_folder(monkeypatch, small["folder"])
    for name, value in NO_CACHE[case].items():
        monkeypatch.setenv(name, value)
    assert fashion_mnist.cache_folder() is None
    for _ in range(2):
        assert_is(load_dataset("fashion-mnist"), small)


@pytest.mark.parametrize("error", [KeyError, RuntimeError, "~/.cache/fastsoftmax"])
def test_no_home_by_every_platformdirs(error, monkeypatch, small, no_home):
    import platformdirs

    def user_cache_dir(name):
        if isinstance(error, str):
            return error
        raise error("no home")

    monkeypatch.setattr(platformdirs, "user_cache_dir", user_cache_dir)
    use_folder(monkeypatch, small["folder"])
    assert fashion_mnist.cache_folder() is None
    assert_is(load_dataset("fashion-mnist"), small)


def test_no_home_and_no_data_either(monkeypatch, small, no_home):
    monkeypatch.setenv("FASTSOFTMAX_DATA_DIR", "~nobody-of-this-name/data")
    with pytest.raises(DatasetUnavailableError, match="no home folder") as caught:
        load_dataset("fashion-mnist")
    assert "  ~nobody-of-this-name/data/fashion-mnist\n" in str(caught.value)
    with pytest.warns(UserWarning, match="could not be downloaded"):
        assert load_dataset("auto").name == "synthetic"


def test_a_download_without_a_home(monkeypatch, small, serve, no_home):
    address, _ = serve(small["folder"].parent)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{address}/fashion-mnist/",))
    assert_is(load_dataset("fashion-mnist"), small)


def test_no_folder_for_what_is_downloaded(monkeypatch, small, serve, no_home):
    """Neither a cache nor a temporary folder."""
    address, asked = serve(small["folder"].parent)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{address}/fashion-mnist/",))

    def nowhere(*args, **kwargs):
        raise FileNotFoundError("No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.TemporaryDirectory", nowhere)
    with pytest.raises(DatasetUnavailableError, match="No usable temporary directory"):
        load_dataset("fashion-mnist")
    assert asked == []
    with pytest.warns(UserWarning, match="FileNotFoundError"):
        assert load_dataset().name == "synthetic"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_user_who_is_in_no_list(run_python):
    """Tried with a real user id, not by patching."""
    code = (
        "import os, platformdirs\n"
        "from fastsoftmax.datasets import fashion_mnist\n"
        "fashion_mnist.cache_folder()\n"  # all imports, which the other user may not do
        "for name in ('HOME', 'XDG_CACHE_HOME', 'FASTSOFTMAX_CACHE_DIR'):\n"
        "    os.environ.pop(name, None)\n"
        "os.setuid(54321)\n"
        "print(fashion_mnist.cache_folder())"
    )
    result = run_python(code)
    assert (result.stdout, result.stderr) == ("None\n", "")
