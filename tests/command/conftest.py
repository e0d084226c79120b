"""The command, run in this process; data and a model for it."""

from __future__ import annotations

import os

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import cli
from fastsoftmax.datasets import synthetic
from helpers.arguments import X, Y
from helpers.command import arrays_of


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    """No real data, and an empty cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FASTSOFTMAX_DATA_DIR", raising=False)
        patch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data():
    return synthetic.make(n_train=1000, n_test=200)


@pytest.fixture(scope="module")
def npz(data, tmp_path_factory):
    """The path of the data as an .npz file."""
    path = tmp_path_factory.mktemp("npz") / "garments.npz"
    np.savez(path, **arrays_of(data))
    return str(path)


@pytest.fixture(scope="module")
def trained(data):
    return fs.train(data, epochs=3)


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    trained.model.save(path)
    return str(path)


@pytest.fixture
def run(capsys):
    """``run(*args)`` runs the command: its exit code, lines of output, and lines of errors."""

    def command(*args):
        code = cli.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return command


@pytest.fixture
def refused(run):
    """``refused(*args)`` runs a command that must fail: the message of its only line."""

    def command(*args):
        code, out, err = run(*args)
        assert (code, out, len(err)) == (2, [], 1)
        assert err[0].startswith("fastsoftmax: error: ")
        return err[0].removeprefix("fastsoftmax: error: ")

    return command


@pytest.fixture
def of_words(tmp_path):
    """A model whose classes are words."""
    model = fs.train((X, np.array(["coat", "bag", "shirt"])[Y]), epochs=5).model
    model.save(tmp_path / "words")
    return tmp_path / "words"


@pytest.fixture
def small(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=X, y_train=Y, x_test=X, y_test=Y)
    return tmp_path / "d.npz"


@pytest.fixture
def nobody():
    """A pipe whose reader is gone."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)
