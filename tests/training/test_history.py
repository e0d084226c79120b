"""What train() gives back: the history, the settings on record, a model that can be saved."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.training import train as trainer
from helpers.training import K, N, arrays

# ---- of a run ----


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
        "dampening": 0.0, "nesterov": True, "weight_decay": 1e-3, "l1": 0.0, "class_weight": None,
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


# ---- what is made of a history ----

X, Y = arrays()


@pytest.mark.parametrize("validation", [None, (X, Y)], ids=["without", "with"])
def test_a_history_makes_a_frame(validation):
    pandas = pytest.importorskip("pandas")
    history = fs.train((X, Y), epochs=3, validation_data=validation).history
    made = pandas.DataFrame(history.to_dict())
    assert len(made) == 3 and made["lr"].tolist() == history.lr
    assert ("test_loss" in made) == ("eval_seconds" in made) == (validation is not None)


def test_the_result_plots_its_history(tmp_path):
    pytest.importorskip("matplotlib")
    result = fs.train((X, Y), epochs=3, validation_data=(X, Y))
    figure = result.plot(tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").stat().st_size > 0
    lines = figure.axes[0].get_lines()
    assert list(lines[0].get_ydata()) == result.history.train_loss
