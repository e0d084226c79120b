"""train(): the loop against one by hand, its history, and everything that can go wrong."""

from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import sys

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import Velocity
from fastsoftmax.datasets import Dataset, synthetic
from fastsoftmax.optim import SGDSettings
from fastsoftmax.training import train as trainer

N, D, K = 500, 20, 4


def arrays(n=N, dtype=np.float32, seed=0):
    """Rows and labels that a linear model can tell apart, mostly."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((K, D)).astype(np.float32)
    rng = np.random.default_rng([2, seed])
    y = rng.integers(0, K, n)
    x = centres[y] + rng.standard_normal((n, D), np.float32)
    if dtype == np.uint8:
        x = (128 + 40 * x).clip(0, 255).astype(np.uint8)
    return x, y


def bits(result):
    """Of what was trained and measured; the times apart."""
    digest = hashlib.sha256(result.model.weight.tobytes() + result.model.bias.tobytes())
    history = result.history
    losses = (history.train_loss, history.train_accuracy, history.test_loss, history.test_accuracy)
    return digest.hexdigest(), losses


def by_hand(
    x, target, *, test=None, epochs=3, batch_size=256, lr=lambda epoch: 0.1, momentum=0.0,
    shuffle=True, seed=0, init_std=0.01, backend="cython", n_classes=K, **settings,
):  # fmt: skip
    """The same as `train`, by the functions of a backend: parameters, and four lists."""
    steps = fs.get_backend(backend)
    scale = 1 / 255 if x.dtype == np.uint8 else 1.0
    rng = np.random.default_rng(seed)
    n_features = x[0].size
    weight = rng.standard_normal((n_classes, n_features), np.float32) * np.float32(init_std)
    bias = np.zeros(n_classes, np.float32)
    velocity = Velocity.of(weight, bias) if momentum else None
    lists = [], [], [], []
    for epoch in range(epochs):
        order = rng.permutation(len(x)) if shuffle else np.arange(len(x))
        loss, correct = 0.0, 0
        sgd = SGDSettings(lr(epoch), momentum, **settings)
        for begin in range(0, len(x), batch_size):
            batch = order[begin : begin + batch_size]
            sums = steps.train_step(
                x[batch], target[batch], weight, bias, sgd, velocity, scale=scale
            )
            loss, correct = loss + sums[0], correct + sums[1]
        lists[0].append(loss / len(x))
        lists[1].append(correct / len(x))
        if test is not None:
            test_loss, test_correct, *_ = steps.evaluate(*test, weight, bias, scale=scale)
            lists[2].append(test_loss / len(test[0]))
            lists[3].append(test_correct / len(test[0]))
    return weight, bias, lists


def assert_same(result, hand, rel=0.0):
    weight, bias, lists = hand
    assert result.model.weight.tobytes() == weight.tobytes()
    assert result.model.bias.tobytes() == bias.tobytes()
    history = result.history
    assert history.train_accuracy == lists[1]
    assert history.test_accuracy == lists[3]
    assert history.train_loss == pytest.approx(lists[0], rel=rel, abs=0)
    assert history.test_loss == pytest.approx(lists[2], rel=rel, abs=0)


# ---- the loop ----

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
}


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
    # 1.75 times as long; 0.85 times without its memory
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
    # weights up to 0.33, of which a float32 ULP is 3e-8, after ten steps
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


# ---- data ----


def test_a_dataset():
    data = synthetic.make(n_train=600, n_test=200)
    result = fs.train(data, epochs=3)
    assert result.dataset == result.model.settings["data"] == "synthetic"
    assert result.model.class_names == data.class_names
    assert result.model.classes.tolist() == list(range(10))
    hand = by_hand(
        data.train_images, data.train_labels, test=(data.test_images, data.test_labels),
        n_classes=10,
    )  # fmt: skip
    assert_same(result, hand, rel=1e-15)


def test_a_dataset_by_its_name(monkeypatch):
    small = synthetic.make(n_train=600, n_test=200)
    monkeypatch.setattr(synthetic, "make", lambda: small)
    result = fs.train("synthetic", epochs=2)
    assert result.dataset == "synthetic"
    assert bits(result) == bits(fs.train(small, epochs=2))


def test_a_class_without_rows_is_still_a_class_of_the_dataset():
    x, y = arrays(dtype=np.uint8)
    keep = y < 2
    data = Dataset(x[keep], y[keep], x, y, ("a", "b", "c", "d"), "four")
    result = fs.train(data, epochs=1)
    assert result.model.weight.shape == (4, D) and result.dataset == "four"
    assert len(result.history.test_loss) == 1


def test_evaluation_is_that_of_the_model():
    x, y = arrays()
    test = arrays(n=333, seed=1)
    result = fs.train((x, y), epochs=3, validation_data=test)
    evaluation = result.model.evaluate(*test)
    assert (result.history.test_loss[-1], result.history.test_accuracy[-1]) == evaluation
    assert result.model.score(*test) == result.history.test_accuracy[-1] > 0.8


def test_validation_data_takes_the_place_of_a_datasets_own_test_part():
    data = synthetic.make(n_train=600, n_test=200)
    other = data.train_images[:100], data.train_labels[:100]
    result = fs.train(data, epochs=1, validation_data=other)
    assert result.history.test_loss == [result.model.evaluate(*other).loss]
    assert bits(result)[0] == bits(fs.train(data, epochs=1))[0]


def test_validation_rows_may_be_of_the_other_type():
    x, y = arrays(dtype=np.uint8)
    floats = x.astype(np.float32) / np.float32(255)
    same = fs.train((x, y), epochs=2, validation_data=(x, y))
    other = fs.train((x, y), epochs=2, validation_data=(floats, y))
    assert other.model.weight.tobytes() == same.model.weight.tobytes()
    assert other.history.test_loss == pytest.approx(same.history.test_loss, rel=1e-6)
    assert other.history.test_accuracy == same.history.test_accuracy


def test_no_validation_data():
    history = fs.train(arrays(), epochs=2).history
    assert history.test_loss == history.test_accuracy == history.eval_seconds == []
    assert len(history) == len(history.train_loss) == 2
    assert "test" not in str(history) and "eval_seconds" not in str(history)


@pytest.mark.parametrize(
    "labels",
    [[40, -3, 7, 1 << 40], ["dress", "bag", "ankle boot", "Ä"], ["10", "9", "1", "2"]],
    ids=["integers", "strings", "digits"],
)
def test_labels_of_any_kind(labels):
    x, y = arrays()
    labels = np.array(labels)
    ranks = np.argsort(np.argsort(labels))  # the classes of a model are in order
    test = arrays(n=100, seed=1)
    result = fs.train((x, labels[y]), epochs=3, validation_data=(test[0], labels[test[1]]))
    plain = fs.train((x, ranks[y]), epochs=3, validation_data=(test[0], ranks[test[1]]))
    assert bits(result) == bits(plain)
    assert result.model.classes.tolist() == sorted(labels.tolist())
    predicted = result.model.predict(test[0])
    assert predicted.dtype == labels.dtype
    assert (predicted == labels[test[1]]).mean() == result.history.test_accuracy[-1] > 0.8


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64])
def test_labels_of_any_integer_type(dtype):
    x, y = arrays()
    assert bits(fs.train((x, y.astype(dtype)), epochs=1)) == bits(fs.train((x, y), epochs=1))


@pytest.mark.parametrize("kind", ["object", "bool"])
def test_labels_as_pandas_and_comparisons_give_them(kind):
    x, y = arrays()
    names = np.array(["a", "b", "c", "d"], object)
    labels = names[y] if kind == "object" else y > 1
    result = fs.train((x, labels), epochs=3, validation_data=(x, labels))
    assert result.model.score(x, labels) == result.history.test_accuracy[-1] > 0.8
    assert result.model.classes.tolist() == (list("abcd") if kind == "object" else [False, True])
    assert (result.model.predict(x) == labels).mean() == result.history.test_accuracy[-1]


# ---- the history ----


def test_the_history_has_an_entry_of_each_kind_for_each_epoch():
    x, y = arrays()
    history = fs.train((x, y), epochs=4, validation_data=(x, y)).history
    fields = [
        "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds",
        "eval_seconds", "samples_per_second",
    ]  # fmt: skip
    as_dict = history.to_dict()
    assert list(as_dict) == fields
    assert len(history) == 4
    for name, values in as_dict.items():
        assert values == getattr(history, name) and len(values) == 4
        assert all(type(value) is float for value in values)
    assert all(seconds > 0 for seconds in history.seconds + history.eval_seconds)
    assert history.samples_per_second == [N / seconds for seconds in history.seconds]
    assert history.train_loss[3] < history.train_loss[0] < 1.1 * np.log(K)
    as_dict["lr"].append(1.0)
    assert len(history.lr) == 4


def test_seconds_are_those_of_training_and_eval_seconds_the_rest(monkeypatch):
    clock = iter(float(t) for t in [0, 3, 5, 100, 107, 108])
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: next(clock))
    x, y = arrays()
    history = fs.train((x, y), epochs=2, validation_data=(x, y), num_threads=1).history
    assert history.seconds == [3, 7]
    assert history.eval_seconds == [2, 1]
    assert history.samples_per_second == [N / 3, N / 7]


def test_the_history_prints_as_a_table():
    history = fs.History(
        lr=[0.1, 1e-5],
        train_loss=[2.30258509, 0.5],
        train_accuracy=[0.1, 0.81236],
        test_loss=[1.0, 12.5],
        test_accuracy=[0.5, 0.25],
        seconds=[0.01, 0.02],
        eval_seconds=[0.001, 0.002],
        samples_per_second=[6e6, 999.6],
    )
    assert str(history).splitlines() == [
        "epoch     lr  train_loss  train_accuracy  test_loss  test_accuracy  seconds"
        "  eval_seconds  samples_per_second",
        "    1    0.1      2.3026          0.1000     1.0000         0.5000   0.0100"
        "        0.0010           6,000,000",
        "    2  1e-05      0.5000          0.8124    12.5000         0.2500   0.0200"
        "        0.0020               1,000",
    ]
    assert str(fs.History()) == "epoch"
    assert len(fs.History()) == 0


def test_settings_are_on_record():
    x, y = arrays()
    model = fs.train(
        (x, y), epochs=2, batch_size=100, lr=0.5, momentum=0.9, nesterov=True, weight_decay=1e-3,
        shuffle=False, seed=5, init_std=0.5,
    ).model  # fmt: skip
    assert model.settings == {
        "data": "arrays", "batch_size": 100, "epochs": 2, "lr": [0.5, 0.5], "momentum": 0.9,
        "dampening": 0.0, "nesterov": True, "weight_decay": 1e-3, "class_weight": None,
        "sample_weight": False, "label_smoothing": 0.0, "ignore_index": None, "shuffle": False,
        "seed": 5, "init_std": 0.5,
    }  # fmt: skip


def test_a_trained_model_can_be_saved(tmp_path):
    x, y = arrays()
    model = fs.train((x, y), epochs=2, lr=fs.optim.cosine(0.5, 2)).model
    model.save(tmp_path / "m")
    loaded = fs.LinearClassifier.load(tmp_path / "m")
    assert loaded.settings == model.settings
    assert loaded.evaluate(x, y) == model.evaluate(x, y)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": np.int64(3)},
        {"lr": np.float32(0.1)},
        {"lr": lambda epoch: np.float32(0.1)},
        {"momentum": np.float32(0.9)},
        {"shuffle": np.True_},
    ],
    ids=["seed", "lr", "schedule", "momentum", "shuffle"],
)
def test_a_model_trained_with_numpy_scalars_can_be_saved(tmp_path, options):
    x, y = arrays()
    fs.train((x, y), epochs=1, **options).model.save(tmp_path / "m")


# ---- arguments ----

X, Y = arrays()
BAD = {
    "epochs 0": ({"epochs": 0}, ValueError, "epochs must be >= 1, got 0"),
    "epochs 1.5": ({"epochs": 1.5}, TypeError, "epochs must be an integer, got 1.5"),
    "batch_size 0": ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
    "batch_size -1": ({"batch_size": -1}, ValueError, "batch_size must be >= 1, got -1"),
    "batch_size None": ({"batch_size": None}, TypeError, "batch_size must be an integer, got N"),
    "lr -1": ({"lr": -1}, ValueError, "lr must be >= 0, got -1"),
    "lr nan": ({"lr": float("nan")}, ValueError, "lr must be finite in float32, got nan"),
    "lr '0.1'": ({"lr": "0.1"}, TypeError, "lr must be a number, got '0.1'"),
    "schedule -1": ({"lr": lambda epoch: -1}, ValueError, "lr(0) must be >= 0, got -1"),
    "schedule None": ({"lr": lambda epoch: None}, TypeError, "lr(0) must be a number, got N"),
    "momentum -1": ({"momentum": -1}, ValueError, "momentum must be >= 0, got -1"),
    "momentum None": ({"momentum": None}, TypeError, "momentum must be a number, got None"),
    "dampening inf": ({"dampening": np.inf}, ValueError, "dampening must be finite in float32"),
    "nesterov alone": (
        {"nesterov": True}, ValueError,
        "nesterov needs momentum > 0 and dampening == 0, got momentum=0.0, dampening=0.0",
    ),
    "weight_decay": ({"weight_decay": -0.1}, ValueError, "weight_decay must be >= 0, got -0.1"),
    "init_std -1": ({"init_std": -1}, ValueError, "init_std must be >= 0, got -1"),
    "seed 'a'": ({"seed": "a"}, TypeError, "seed must be an integer, got 'a'"),
    "seed -1": ({"seed": -1}, ValueError, "seed must be >= 0, got -1"),
    "backend": (
        {"backend": "gpu"}, ValueError,
        "backend must be one of ('auto', 'cython', 'numba', 'numpy'), got 'gpu'",
    ),
    "threads 0": ({"num_threads": 0}, ValueError, "num_threads must be >= 1, got 0"),
    "threads 1.5": (
        {"num_threads": 1.5}, TypeError, "num_threads must be an integer or None, got 1.5",
    ),
    "name": (
        {"data": "mnist"}, ValueError,
        "unknown dataset 'mnist': choose auto, fashion-mnist or synthetic",
    ),
    "data None": ({"data": None}, TypeError, "must be a dataset or a pair (X, y), got NoneType"),
    "data array": ({"data": X}, TypeError, "data must be a dataset or a pair (X, y), got ndarray"),
    "data triple": ({"data": (X, Y, Y)}, TypeError, "data must be a dataset or a pair (X, y)"),
    "float64": (
        {"data": (X.astype(np.float64), Y)}, TypeError,
        "x must be float32 or uint8, got float64; convert it once with np.ascont",
    ),
    "int64": ({"data": (X.astype(int), Y)}, TypeError, "float32 or uint8, got int64; convert it"),
    "a list": ({"data": (X.tolist(), Y)}, TypeError, "float32 or uint8, got float64; convert it"),
    "strided": (
        {"data": (X[:, ::2], Y)}, ValueError,
        "x must be C-contiguous, got shape (500, 10) with strides (80, 8); np.ascontiguousarray",
    ),
    "one row": ({"data": (X[0], Y)}, ValueError, "x must be (N, D) or (N, H, W) and the like"),
    "no features": ({"data": (X[:, :0].copy(), Y)}, ValueError, "0 features, expected at least 1"),
    "no rows": ({"data": (X[:0], Y[:0])}, ValueError, "at least 2 classes, got []"),
    "no rows but y": ({"data": (X[:0], Y)}, ValueError, "x has no rows, expected at least 1"),
    "one class": ({"data": (X, Y * 0)}, ValueError, "must be of at least 2 classes, got [0]"),
    "y too short": ({"data": (X, Y[:-1])}, ValueError, "(500,) as x has rows, got (499,)"),
    "y (N, 1)": ({"data": (X, Y[:, None])}, ValueError, "one-dimensional, got shape (500, 1)"),
    "y of floats": ({"data": (X, Y / 2)}, TypeError, "integers, booleans or strings, got float64"),
    "y with a gap": (
        {"data": (X, np.array(["a", None] * 250))}, TypeError,
        "labels[1] is missing, None; with keep = pandas.notna(labels)",
    ),
    "validation array": (
        {"validation_data": X}, TypeError, "validation_data must be a pair (X, y), got ndarray",
    ),
    "validation features": (
        {"validation_data": (X[:, 1:].copy(), Y)}, ValueError,
        "x has 19 features, expected 20 as the weight has",
    ),
    "validation float64": (
        {"validation_data": (X.astype(np.float64), Y)}, TypeError,
        "x must be float32 or uint8, got float64; convert it once with np.ascont",
    ),
    "validation y": (
        {"validation_data": (X, Y[1:])}, ValueError, "(500,) as x has rows, got (499,)",
    ),
    "validation label": ({"validation_data": (X, Y + 1)}, ValueError, "is none of the classes [0"),
    "validation no rows": (
        {"validation_data": (X[:0], Y[:0])}, ValueError, "the validation data has no rows",
    ),
    "validation words": (
        {"validation_data": (X, np.array(list("abcd"))[Y])}, ValueError,
        "is none of the classes [0, 1, 2, 3]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case, monkeypatch):
    changed, error, message = BAD[case]
    monkeypatch.setattr(fs.get_backend(), "train_epoch", never)
    with pytest.raises(error, match=re.escape(message)):
        fs.train(**{"data": (X, Y), "epochs": 3, **changed})


def never(*args, **kwargs):
    pytest.fail("an epoch was trained before the arguments were checked")


@pytest.mark.parametrize("value, error", [("x", TypeError), (float("nan"), ValueError)], ids=repr)
def test_a_bad_init_std_is_called_by_its_name(value, error):
    with pytest.raises(error, match=r"init_std must be"):
        fs.train((X, Y), init_std=value)


def test_a_label_that_only_the_validation_data_has_is_named():
    with pytest.raises(ValueError, match=r"label .*'e'.* is none of the classes"):
        fs.train((X, np.array(list("abcd"))[Y]), validation_data=(X, np.array(list("abce"))[Y]))


def test_only_data_is_positional():
    with pytest.raises(TypeError, match="positional argument"):
        fs.train((X, Y), None)


# ---- Ctrl-C ----


def interrupt(monkeypatch, name, call):
    """Ctrl-C in that call of a function of the backend."""
    backend = fs.get_backend("cython")
    real, calls = getattr(backend, name), []

    def function(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(backend, name, function)


def interrupted(*args, **options):
    """What the exception has with it that a training of these arguments ends with."""
    with pytest.raises(KeyboardInterrupt) as stop:
        fs.train(*args, **options)
    # of a subclass, Python would not tell the shell, and a loop of processes would go on
    assert type(stop.value) is KeyboardInterrupt
    return stop.value.result


@pytest.mark.parametrize("name", ["train_epoch", "evaluate"])
@pytest.mark.parametrize("progress", [None, True])
def test_ctrl_c_in_the_third_epoch(monkeypatch, capsys, name, progress):
    x, y = arrays()
    trained = 2 if name == "train_epoch" else 3
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
    interrupt(monkeypatch, "train_epoch", 1)
    result = interrupted((X, Y), epochs=10, backend="cython")
    assert result.interrupted and len(result.history) == 0
    assert result.model.predict(X).shape == (N,)


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("method", ["add_test", "add_training"])
def test_ctrl_c_while_an_epoch_is_written_down(monkeypatch, method, call):
    """Python asks for signals between any two of its instructions."""

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

    monkeypatch.setattr("fastsoftmax.training.train.load_dataset", load)
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


# ---- the progress bar ----


class Bar:
    """What train asks of tqdm."""

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

    monkeypatch.setattr(fs.get_backend(), "train_epoch", fail)
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


# ---- plot ----


def test_the_result_plots_its_history(tmp_path):
    pytest.importorskip("matplotlib")
    result = fs.train((X, Y), epochs=3, validation_data=(X, Y))
    figure = result.plot(tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").stat().st_size > 0
    lines = figure.axes[0].get_lines()
    assert list(lines[0].get_ydata()) == result.history.train_loss
