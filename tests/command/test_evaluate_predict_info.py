"""`fastsoftmax evaluate`, `predict` and `info`; help and version."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from helpers import need_backend
from helpers.command import arrays_of, exits

COMMANDS = ["train", "evaluate", "predict", "info"]


# ---- evaluate and predict ----


def test_evaluate(run, npz, saved, trained, data):
    code, out, err = run("evaluate", saved, "--data", npz)
    assert (code, err) == (0, [])
    train = trained.model.evaluate(data.train_images, data.train_labels)
    test = trained.model.evaluate(data.test_images, data.test_labels)
    assert [" ".join(line.split()) for line in out] == [
        f"train loss {train.loss:.4f} accuracy {train.accuracy:.4f} (garments.npz)",
        f"test loss {test.loss:.4f} accuracy {test.accuracy:.4f} (garments.npz)",
    ]


@pytest.mark.parametrize("count", [None, 1, 50, 10_000])
def test_predict(run, npz, saved, trained, data, count):
    args = [] if count is None else ["--count", count]
    code, out, err = run("predict", saved, "--data", npz, *args)
    assert (code, err) == (0, [])
    assert len(out) == min(count or 18, 200)
    images = data.test_images[: len(out)]
    probability = trained.model.predict_proba(images)
    names, wrong = data.class_names, 0
    for i, line in enumerate(out):
        k, true = probability[i].argmax(), data.test_labels[i]
        expected = f"{i} true {names[true]} predicted {names[k]} {probability[i].max():.3f}"
        if k != true:
            wrong += 1
            expected += " wrong"
        assert " ".join(line.split()) == expected
    assert count == 1 or 0 < wrong < len(out)


def test_predict_draws(run, npz, saved, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "p.svg"
    code, out, err = run("predict", saved, "--data", npz, "--count", 3, "--plot", path)
    assert (code, len(out), err) == (0, 3, [])
    assert "<svg" in path.read_text()


def test_a_model_without_names_has_labels(run, data, tmp_path):
    labels = np.array([7, 3, 100, -5, 12, 1, 2, 4, 5, 6])
    model = fs.train((data.train_images, data.train_labels), epochs=1).model
    fs.LinearClassifier(model.weight, model.bias, labels).save(tmp_path / "m")
    arrays = arrays_of(data)
    np.savez(tmp_path / "d.npz", **{**arrays, "y_test": labels[data.test_labels]})
    _, out, _ = run("predict", tmp_path / "m", "--data", tmp_path / "d.npz", "--count", 5)
    assert [int(line.split()[2]) for line in out] == labels[data.test_labels[:5]].tolist()


@pytest.mark.parametrize(
    "before, message",
    [
        ("", "The threading layer requested 'none' is unknown to Numba."),
        ("import sys; sys.modules['numba.core'] = None; ", "import of numba.core halted"),
    ],
)
def test_info_with_a_numba_that_cannot_be_used(before, message, run_python):
    need_backend("numba")
    code = before + "import fastsoftmax; fastsoftmax.show_config()"
    result = run_python(code, NUMBA_THREADING_LAYER="none", FASTSOFTMAX_BACKEND="numpy")
    assert result.returncode == 0 and message in result.stdout
    assert result.stdout.splitlines()[-1].startswith("threads ")


def test_info(run):
    code, out, err = run("info")
    assert (code, err) == (0, [])
    width = out[0].index(fs.__version__)  # of the column of names
    values = {line[:width].strip(): line[width:] for line in out}
    assert values["fastsoftmax"] == fs.__version__
    assert values["numpy"] == np.__version__
    assert values["backends"] == ", ".join(fs.available_backends())
    assert values["backend in use"] == fs.get_backend().name
    assert values["threads"] == str(fs.get_num_threads())


# ---- help and version ----


def test_version(capsys):
    assert exits(capsys, "--version") == (0, f"{fs.__version__}\n", "")


def test_help(capsys):
    code, out, err = exits(capsys, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: fastsoftmax [-h] [--version] COMMAND")
    for command in COMMANDS:
        assert f"\n    {command} " in out


@pytest.mark.parametrize(
    "command, options",
    [
        (
            "train",
            "--data --epochs --batch-size --lr --momentum --dampening --nesterov --weight-decay "
            "--class-weight --label-smoothing --no-shuffle --seed --init-std --backend "
            "--num-threads --save --plot --json",
        ),
        ("evaluate", "--data"),
        ("predict", "--data --count --plot"),
        ("info", ""),
    ],
)
def test_help_of_each_command(capsys, command, options):
    code, out, err = exits(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: fastsoftmax {command} [-h]")
    _, _, listed = out.partition("options:")
    for option in options.split():
        assert f"\n  {option}" in listed
    assert " ".join(out.split()).count("(auto)") == {
        "train": 2, "evaluate": 1, "predict": 1, "info": 0,
    }[command]  # fmt: skip
