"""train() checks its arguments once a call, however many epochs there are."""

from __future__ import annotations

import inspect
from collections import Counter

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import arrays, checks, door, scalars

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 5), np.float32), RNG.integers(0, 3, 60)


def count_calls(monkeypatch):
    """The calls of each function that checks arguments, from now on."""
    calls = Counter()

    def counted(name, function):
        def call(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    for module in (arrays, checks, door, scalars):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__:
                monkeypatch.setattr(module, name, counted(name, function))
    return calls


@pytest.mark.parametrize("backend", fs.available_backends())
def test_no_check_in_an_epoch(monkeypatch, backend):
    options = {"momentum": 0.9, "sample_weight": RNG.random(60), "backend": backend}

    def checked(epochs):
        with monkeypatch.context() as patch:
            fs.get_backend(backend)  # whose modules have settings of their own
            calls = count_calls(patch)
            fs.train((X, Y), epochs=epochs, validation_data=(X, Y), **options)
            return calls

    assert checked(1) == checked(7)
    assert checked(1)["rows"] == 2 and checked(1)["loss"] == 2  # training and validation
