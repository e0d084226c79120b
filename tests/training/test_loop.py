"""train() is the loop by hand, bit for bit; and the same bits for a seed."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.datasets import synthetic
from helpers.training import D, K, N, arrays, assert_same, bits, by_hand

LOOPS = {
    "defaults": {},
    "batch of 1": {"batch_size": 1, "epochs": 1},
    "batch of all": {"batch_size": N},
    "batch of more than all": {"batch_size": 10 * N},
    "batch of 64": {"batch_size": 64},
    "as they come": {"shuffle": False},
    "another seed": {"seed": 7, "init_std": 1.0},
    "from zero": {"init_std": 0.0},
    "momentum": {"momentum": 0.9, "batch_size": 100},
    "damped": {"momentum": 0.9, "dampening": 0.5, "batch_size": 100},
    "nesterov": {"momentum": 0.9, "nesterov": True, "batch_size": 100},
    "decay": {"weight_decay": 0.1, "batch_size": 100},
    "l1": {"l1": 0.01, "momentum": 0.5, "batch_size": 100},
}


# ---- the loop ----


@pytest.mark.parametrize("options", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("backend", fs.available_backends())
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_it_is_the_loop_by_hand(options, backend, dtype):
    x, y = arrays(dtype=dtype)
    test = arrays(n=101, dtype=dtype, seed=1)
    options = {"epochs": 3, "backend": backend, **options}
    result = fs.train((x, y), validation_data=test, **options)
    assert result.backend == backend and result.dataset == "arrays" and not result.interrupted
    assert_same(result, by_hand(x, y, test=test, **options), rel=1e-15)


def test_what_the_loops_above_change_is_felt():
    x, y = arrays()
    results = [bits(fs.train((x, y), **{"epochs": 3, **options})) for options in LOOPS.values()]
    more_than_all = list(LOOPS).index("batch of more than all")
    assert results.pop(more_than_all) == results[list(LOOPS).index("batch of all")]
    assert len({weights for weights, _ in results}) == len(results)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_schedule_reaches_the_history_and_the_steps(momentum):
    x, y = arrays()
    asked = []

    def schedule(epoch):
        asked.append(epoch)
        return [0.5, 0.25, 0.0, 0.125][epoch]

    result = fs.train((x, y), epochs=4, lr=schedule, momentum=momentum)
    assert asked == [0, 1, 2, 3]
    assert result.history.lr == result.model.settings["lr"] == [0.5, 0.25, 0.0, 0.125]
    expected = by_hand(x, y, epochs=4, lr=lambda e: [0.5, 0.25, 0, 0.125][e], momentum=momentum)
    assert_same(result, expected, rel=1e-15)


def test_the_momentum_goes_on_from_epoch_to_epoch():
    x, y = arrays()
    weight, *_ = by_hand(x, y, batch_size=N, shuffle=False, epochs=1, momentum=0.9)
    start = np.random.default_rng(0).standard_normal((K, D), np.float32) * np.float32(0.01)
    first = weight - start
    two = fs.train((x, y), batch_size=N, shuffle=False, epochs=2, momentum=0.9)
    one = fs.train((x, y), batch_size=N, shuffle=False, epochs=1, momentum=0.9)
    assert one.model.weight.tobytes() == weight.tobytes()
    # the steps are 1.75 times as long; 0.85 times if the momentum were forgotten
    assert np.linalg.norm(two.model.weight - weight) > 1.5 * np.linalg.norm(first)


def test_lr_zero_changes_nothing_but_measures():
    x, y = arrays()
    result = fs.train((x, y), epochs=2, lr=0.0)
    start = np.random.default_rng(0).standard_normal((K, D), np.float32) * np.float32(0.01)
    assert result.model.weight.tobytes() == start.tobytes()
    assert not result.model.bias.any()
    evaluation = result.model.evaluate(x, y)
    assert result.history.train_loss == pytest.approx([evaluation.loss] * 2, rel=1e-7)
    assert result.history.train_accuracy == [evaluation.accuracy] * 2


def test_the_data_stays_as_it_was():
    x, y = arrays()
    before = x.tobytes(), y.tobytes()
    x.flags.writeable = y.flags.writeable = False
    fs.train((x, y), epochs=1, validation_data=(x, y))
    assert (x.tobytes(), y.tobytes()) == before


def test_pictures_are_rows():
    x, y = arrays(dtype=np.uint8)
    flat = fs.train((x, y), epochs=2, validation_data=(x, y))
    pictures = x.reshape(N, 4, 5)
    assert bits(fs.train((pictures, y), epochs=2, validation_data=(pictures, y))) == bits(flat)


def test_a_list_is_a_pair():
    x, y = arrays()
    as_tuples = fs.train((x, y), epochs=1, validation_data=(x, y))
    assert bits(fs.train([x, y.tolist()], epochs=1, validation_data=[x, y])) == bits(as_tuples)


@pytest.mark.parametrize("name", ["cython", "numba"])
def test_backends_agree(name):
    if name not in fs.available_backends():
        pytest.skip(f"backend {name} is not available here")
    x, y = arrays(dtype=np.uint8)
    ours, numpy = (
        fs.train((x, y), epochs=5, backend=each, validation_data=(x, y), momentum=0.9)
        for each in (name, "numpy")
    )
    assert (ours.backend, numpy.backend) == (name, "numpy")
    # weights are up to 0.33, where a ULP of float32 is 3e-8; there were ten steps
    np.testing.assert_allclose(ours.model.weight, numpy.model.weight, rtol=0, atol=1.5e-7)
    assert ours.history.train_loss == pytest.approx(numpy.history.train_loss, rel=3e-8)
    assert ours.history.test_loss == pytest.approx(numpy.history.test_loss, rel=3e-8)
    assert fs.train((x, y), epochs=1).backend == fs.get_backend().name


# ---- the same again ----


def test_a_seed_gives_the_same_bits_and_another_seed_others():
    x, y = arrays()
    results = [bits(fs.train((x, y), epochs=2, seed=seed)) for seed in (0, 0, 1)]
    assert results[0] == results[1] == bits(fs.train((x, y), epochs=2))
    assert results[0][0] != results[2][0]


def test_the_seed_decides_the_order_too():
    x, y = arrays()
    # the same initial weight, all zero
    a, b = (fs.train((x, y), epochs=1, seed=seed, init_std=0.0) for seed in (0, 1))
    assert a.model.weight.tobytes() != b.model.weight.tobytes()


def test_no_seed_is_another_one_each_time():
    x, y = arrays()
    a, b = (fs.train((x, y), epochs=1, seed=None) for _ in range(2))
    assert bits(a)[0] != bits(b)[0]
    assert a.model.settings["seed"] is None


def test_it_leaves_numpys_global_generator_alone():
    x, y = arrays()
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    fs.train((x, y), epochs=1)
    assert np.random.random() == expected


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_same_bits_for_any_number_of_threads(dtype):
    data = synthetic.make(n_train=1000, n_test=300)
    train, test = data.train_images, data.test_images
    if dtype == np.float32:
        train, test = (images.astype(np.float32) / np.float32(255) for images in (train, test))
    test = test, data.test_labels
    results = [
        bits(fs.train((train, data.train_labels), epochs=2, num_threads=n, validation_data=test))
        for n in (1, 2, 3, 5, None)
    ]
    assert all(result == results[0] for result in results)
