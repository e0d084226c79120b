"""Ctrl-C ends train() with what was trained, and a loop of trainings."""

from __future__ import annotations

import os
import signal

import pytest

import fastsoftmax as fs
from helpers.training import N, arrays

X, Y = arrays()


def interrupt(monkeypatch, name, call):
    """Makes that call of that function of the kernels raise KeyboardInterrupt."""
    backend = fs.get_backend("cython").kernels
    real, calls = getattr(backend, name), []

    def function(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(backend, name, function)


def interrupted(*args, **options):
    """The `result` of the KeyboardInterrupt that this training ends with."""
    with pytest.raises(KeyboardInterrupt) as stop:
        fs.train(*args, **options)
    # a subclass would not end Python by the signal, and a shell's loop would go on
    assert type(stop.value) is KeyboardInterrupt
    return stop.value.result


@pytest.mark.parametrize("name", ["train", "evaluate"])
@pytest.mark.parametrize("progress", [None, True])
def test_ctrl_c_in_the_third_epoch(monkeypatch, capsys, name, progress):
    x, y = arrays()
    trained = 2 if name == "train" else 3
    expected = fs.train((x, y), epochs=trained, validation_data=(x, y), backend="cython")
    interrupt(monkeypatch, name, 3)
    result = interrupted(
        (x, y), epochs=10, validation_data=(x, y), backend="cython", progress=progress
    )
    assert result.interrupted and not expected.interrupted
    history = result.history
    assert len(history) == 2 and {len(values) for values in history.to_dict().values()} == {2}
    assert history.train_loss == expected.history.train_loss[:2]
    assert history.test_loss == expected.history.test_loss[:2]
    assert result.model.weight.tobytes() == expected.model.weight.tobytes()
    assert len(str(history).splitlines()) == 3
    assert ("epoch" in capsys.readouterr().err) == bool(progress)


def test_ctrl_c_in_the_first_epoch(monkeypatch):
    interrupt(monkeypatch, "train", 1)
    result = interrupted((X, Y), epochs=10, backend="cython")
    assert result.interrupted and len(result.history) == 0
    assert result.model.predict(X).shape == (N,)


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("method", ["add_test", "add_training"])
def test_ctrl_c_while_an_epoch_is_written_down(monkeypatch, method, call):
    """A signal may be heard between any two instructions of Python."""

    class Cut(list):
        def append(self, value):
            super().append(value)
            if len(self) == call:
                raise KeyboardInterrupt

    history = fs.History()
    column = {"add_test": "test_loss", "add_training": "train_accuracy"}[method]
    setattr(history, column, Cut())
    monkeypatch.setattr("fastsoftmax.training.train.History", lambda: history)
    result = interrupted((X, Y), epochs=5, validation_data=(X, Y))
    assert {len(values) for values in vars(result.history).values()} == {call - 1}


def test_ctrl_c_before_training_begins(monkeypatch):
    def load(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastsoftmax.training.data.load_dataset", load)
    with pytest.raises(KeyboardInterrupt) as stop:
        fs.train("synthetic")
    assert not hasattr(stop.value, "result")


LOOP = """
import os, signal, threading
import numpy as np
import fastsoftmax as fs

rng = np.random.default_rng(0)
X = rng.standard_normal((5000, 20), np.float32)
y = rng.integers(0, 3, 5000)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
for _ in range(100_000):
    result = fs.train((X, y), epochs=20)
print("went on")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_one_ctrl_c_ends_a_loop_of_trainings(run_python):
    done = run_python(LOOP)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"
