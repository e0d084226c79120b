"""The Numba backend's threads: taken and given back, the same bits by each layer, Ctrl-C heard."""

import os
import threading

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings, Velocity
from fastsoftmax.problem import Loss, Params, Rows
from helpers import make_problem

if "numba" not in os.environ.get("FASTSOFTMAX_EXPECT_BACKENDS", "").split(","):
    pytest.importorskip("numba")

import numba

from fastsoftmax.backends import numba as _numba
from fastsoftmax.backends.numba import team as _numba_team

# ---- Ctrl-C ----


@pytest.mark.parametrize("in_order", [True, False])
def test_an_epoch_is_some_calls_between_which_ctrl_c_is_heard(monkeypatch, in_order):
    problem = make_problem(200, 9, 4)
    order = None if in_order else np.random.default_rng(0).permutation(200)
    run, sgd, calls = _numba.run, SGDSettings(lr=0.1, momentum=0.9), []

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
            sums = get_backend("numba").train_epoch(
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
    monkeypatch.setattr(_numba, "run", counted)
    in_parts = trained(200)
    assert len(calls) == 5 and in_parts[1:] == whole[1:]
    assert in_parts[0].correct == whole[0].correct
    assert in_parts[0].loss == pytest.approx(whole[0].loss, rel=1e-12)
    calls.clear()
    monkeypatch.setattr(_numba, "run", interrupted)
    assert trained(200) == (None, *two_calls[1:])


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_what_ends_an_epoch_early_is_returned_with_the_sums_so_far(monkeypatch, calls):
    """Before the first step it is raised: nothing has changed then."""
    problem, run, done = make_problem(200, 9, 4), _numba.run, []

    def interrupted(*args):
        if len(done) == calls:
            raise KeyboardInterrupt
        done.append(run(*args))

    def train(n_rows):
        params = Params(*problem.parameters())
        rows, target = problem.x[:n_rows], problem.target[:n_rows].astype(np.int32)
        settings = SGDSettings(lr=0.1).of_step(False)
        result = _numba.train(Rows(rows, 1.0), Loss.of_classes(target), params, settings, 16, 2)
        return *result, params.weight.tobytes()

    monkeypatch.setattr(_numba, "_CALL", 2 * 16 * 36 + 1)  # two steps
    whole = train(32 * calls) if calls else None
    monkeypatch.setattr(_numba, "run", interrupted)
    if calls == 0:
        with pytest.raises(KeyboardInterrupt):
            train(200)
        return
    sums, error, weight = train(200)
    assert type(error) is KeyboardInterrupt
    assert (sums, None, weight) == whole


# ---- threads ----


def test_numbas_number_of_threads_is_restored():
    problem = make_problem(200, 9, 4)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        for num_threads in (1, 2, 1000):
            get_backend("numba").loss_and_grad(*problem, num_threads=num_threads)
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
from fastsoftmax.backends import get_backend
from fastsoftmax.backends.numba import team as _numba_team
rng = np.random.default_rng(0)
x = rng.standard_normal((300, 65), np.float32)
w = rng.standard_normal((10, 65), np.float32)
loss_and_grad = get_backend("numba").loss_and_grad
grad = loss_and_grad(x, np.zeros(300, int), w, w[:, 0].copy(), num_threads=2)[1]
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
