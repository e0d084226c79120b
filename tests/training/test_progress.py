"""The bar of train(), and the standard errors that can show none."""

from __future__ import annotations

import io
import sys

import pytest

import fastsoftmax as fs
from helpers.training import arrays

X, Y = arrays()


class Bar:
    """The part of tqdm that train() uses."""

    made: list[Bar]

    def __init__(self, **options):
        self.options, self.postfixes, self.updates, self.closed = options, [], 0, 0
        Bar.made.append(self)

    def set_postfix(self, postfix, refresh=True):
        self.postfixes.append(postfix)

    def update(self, n=1):
        self.updates += n

    def close(self):
        self.closed += 1


@pytest.fixture
def bars(monkeypatch):
    Bar.made = []
    monkeypatch.setattr("tqdm.tqdm", Bar)
    return Bar.made


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("validation", [False, True])
def test_the_bar_shows_each_epoch(bars, validation):
    test = (X, Y) if validation else None
    result = fs.train((X, Y), epochs=3, validation_data=test, progress=True)
    (bar,) = bars
    assert bar.options["total"] == 3
    assert (bar.updates, bar.closed) == (3, 1)
    history = result.history
    for epoch, postfix in enumerate(bar.postfixes):
        expected = {
            "loss": f"{history.train_loss[epoch]:.4f}",
            "accuracy": f"{history.train_accuracy[epoch]:.4f}",
        }
        if validation:
            expected["test"] = f"{history.test_accuracy[epoch]:.4f}"
        assert postfix == expected
    assert len(bar.postfixes) == 3


def test_the_bar_is_closed_when_training_fails(bars, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(fs.get_backend().kernels, "train", fail)
    with pytest.raises(MemoryError):
        fs.train((X, Y), progress=True)
    assert [bar.closed for bar in bars] == [1]


def test_a_bar_where_standard_error_is_a_terminal(bars, monkeypatch):
    fs.train((X, Y), epochs=1)
    assert bars == []
    monkeypatch.setattr(sys, "stderr", Terminal())
    fs.train((X, Y), epochs=1, progress=False)
    assert bars == []
    fs.train((X, Y), epochs=1)
    assert len(bars) == 1


class Broken(io.StringIO):
    """A standard error that is full, closed, or no file at all."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def isatty(self):
        return True

    def write(self, text):
        raise self.error


@pytest.mark.parametrize("progress", [None, True, False])
@pytest.mark.parametrize(
    "stream",
    [
        None,
        object(),
        Broken(OSError(28, "No space left on device")),
        Broken(BrokenPipeError()),
        Broken(ValueError("I/O operation on closed file")),
    ],
    ids=["none", "object", "full", "pipe", "closed"],
)
def test_no_bar_where_nothing_can_be_shown(monkeypatch, stream, progress):
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(fs.train((X, Y), epochs=3, progress=progress).history) == 3


def test_a_standard_error_that_was_closed(monkeypatch):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(fs.train((X, Y), epochs=3).history) == 3


def test_the_real_bar(capsys):
    fs.train((X, Y), epochs=3, progress=True)
    out, err = capsys.readouterr()
    assert "0/3" in err and "epoch" in err
    assert out == ""


def test_silent_when_not_a_terminal(capfd):
    fs.train((X, Y), epochs=3)
    assert capfd.readouterr() == ("", "")
