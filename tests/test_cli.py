"""The command line: what it prints, what it writes, and one line where something is wrong."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import cli
from fastsoftmax.datasets import fashion_mnist, synthetic

COMMANDS = ["train", "evaluate", "predict", "info"]


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    """No data, and a cache of our own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FASTSOFTMAX_DATA_DIR", raising=False)
        patch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data():
    return synthetic.make(n_train=1000, n_test=200)


def arrays_of(data):
    return {
        "x_train": data.train_images, "y_train": data.train_labels,
        "x_test": data.test_images, "y_test": data.test_labels,
    }  # fmt: skip


@pytest.fixture(scope="module")
def npz(data, tmp_path_factory):
    """The data as a file."""
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
    """Runs the command: exit code, lines on standard output, lines on standard error."""

    def command(*args):
        code = cli.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return command


@pytest.fixture
def refused(run):
    """Runs a command that must fail as all do: its one line, without the name of the program."""

    def command(*args):
        code, out, err = run(*args)
        assert (code, out, len(err)) == (2, [], 1)
        assert err[0].startswith("fastsoftmax: error: ")
        return err[0].removeprefix("fastsoftmax: error: ")

    return command


# ---- train ----


def test_train_prints_the_history_and_a_summary(run, npz, trained):
    code, out, err = run("train", "--data", npz, "--epochs", 3)
    assert (code, err) == (0, [])
    history = trained.history
    assert out[0].split() == ["epoch", *(name for name in history.to_dict())]
    for epoch in range(3):
        cells = out[1 + epoch].split()
        assert cells[:6] == [
            str(epoch + 1),
            "0.1",
            f"{history.train_loss[epoch]:.4f}",
            f"{history.train_accuracy[epoch]:.4f}",
            f"{history.test_loss[epoch]:.4f}",
            f"{history.test_accuracy[epoch]:.4f}",
        ]
    accuracy, summary = history.test_accuracy[-1], " ".join(out[4:])
    assert f"test accuracy {accuracy:.4f} on garments.npz after 3 epochs" in summary
    assert "trained in 0." in summary
    assert summary.endswith(f"by the {fs.get_backend().name} backend")


def test_one_epoch_is_not_epochs(run, npz):
    _, out, _ = run("train", "--data", npz, "--epochs", 1)
    assert any(line.endswith("after 1 epoch") for line in out)


def test_train_writes_what_it_is_asked_for(run, npz, trained, tmp_path):
    pytest.importorskip("matplotlib")
    model, plot, record = (tmp_path / name for name in ("m.safetensors", "c.png", "h.json"))
    code, _, err = run(
        "train", "--data", npz, "--epochs", 3, "--save", model, "--plot", plot, "--json", record
    )
    assert (code, err) == (0, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "h.json", "m.safetensors"]

    loaded = fs.LinearClassifier.load(model)
    assert loaded.weight.tobytes() == trained.model.weight.tobytes()
    assert loaded.bias.tobytes() == trained.model.bias.tobytes()
    assert loaded.settings["data"] == "garments.npz"

    assert plot.read_bytes().startswith(b"\x89PNG\r\n")

    written = json.loads(record.read_text())
    assert list(written) == ["dataset", "backend", "settings", "history"]
    assert written["dataset"] == "garments.npz"
    assert written["backend"] == trained.backend
    assert written["settings"] == loaded.settings
    expected = trained.history.to_dict()
    assert list(written["history"]) == list(expected)
    for name, values in written["history"].items():
        assert len(values) == 3
        if "second" not in name:
            assert values == expected[name]


def test_every_option_reaches_the_training(run, npz, data, tmp_path):
    code, _, err = run(
        "train", "--data", npz, "--epochs", 2, "--batch-size", 100, "--lr", 0.05,
        "--momentum", 0.9, "--nesterov", "--weight-decay", 0.01, "--class-weight", "balanced",
        "--label-smoothing", 0.1, "--no-shuffle", "--seed", 3,
        "--init-std", 0.5, "--backend", "numpy", "--num-threads", 1, "--save", tmp_path / "m",
        "--json", tmp_path / "j",
    )  # fmt: skip
    assert (code, err) == (0, [])
    result = fs.train(
        data, epochs=2, batch_size=100, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01,
        class_weight="balanced", label_smoothing=0.1, shuffle=False, seed=3, init_std=0.5,
        backend="numpy",
    )  # fmt: skip
    loaded = fs.LinearClassifier.load(tmp_path / "m")
    assert loaded.weight.tobytes() == result.model.weight.tobytes()
    assert loaded.settings == {**result.model.settings, "data": "garments.npz"}
    assert json.loads((tmp_path / "j").read_text())["backend"] == "numpy"


def test_dampening_and_threads_reach_the_training(run, npz, data, tmp_path, monkeypatch):
    asked = []

    def train(data, **options):
        asked.append(options)
        return fs.train(data, **options)

    monkeypatch.setattr(cli, "train", train)
    run("train", "--data", npz, "--epochs", 1, "--momentum", 0.5, "--dampening", 0.25,
        "--num-threads", 3)  # fmt: skip
    (options,) = asked
    assert (options["dampening"], options["num_threads"]) == (0.25, 3)


def test_the_defaults_are_those_of_the_function(run, npz, monkeypatch):
    import inspect

    asked = []

    def train(data, **options):
        asked.append(options)
        return fs.train(data, **{**options, "epochs": 1})

    monkeypatch.setattr(cli, "train", train)
    run("train", "--data", npz)
    (options,) = asked
    parameters = inspect.signature(fs.train).parameters
    assert {name: parameters[name].default for name in options} == options
    no_option = {"data", "validation_data", "sample_weight", "ignore_index", "progress"}
    assert set(parameters) - set(options) == no_option


def test_train_on_flat_float32_rows(run, data, tmp_path):
    flat = {
        name: array.reshape(len(array), -1).astype(np.float32) / 255 if name[0] == "x" else array
        for name, array in arrays_of(data).items()
    }
    np.savez_compressed(tmp_path / "flat.npz", **flat)
    code, out, err = run("train", "--data", tmp_path / "flat.npz", "--epochs", 2)
    assert (code, err) == (0, [])
    assert "on flat.npz after 2 epochs" in " ".join(out)


def test_synthetic_by_name(run, data, monkeypatch):
    monkeypatch.setattr(synthetic, "make", lambda: data)
    code, out, err = run("train", "--data", "synthetic", "--epochs", 1)
    assert (code, err) == (0, [])
    assert "on synthetic after 1 epoch" in " ".join(out)


def test_the_stand_in_is_announced(run, data, monkeypatch, tmp_path):
    for variable in ("FASTSOFTMAX_DATA_DIR", "FASTSOFTMAX_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    # a scheme that no downloader knows: with or without a network, nothing is asked of it
    monkeypatch.setattr(fashion_mnist, "MIRRORS", ("nowhere://a/", "nowhere://b/"))
    monkeypatch.setattr(synthetic, "make", lambda: data)
    code, out, err = run("train", "--epochs", 1)
    assert code == 0
    warnings = [line for line in err if "warning" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("fastsoftmax: warning: Fashion-MNIST is not on this machine")
    assert "synthetic pictures instead" in warnings[0]
    assert "on synthetic after 1 epoch" in " ".join(out)


def test_no_stand_in_for_what_was_asked_for_by_name(run, monkeypatch, tmp_path):
    for variable in ("FASTSOFTMAX_DATA_DIR", "FASTSOFTMAX_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr(fashion_mnist, "MIRRORS", ("nowhere://a/",))
    code, out, err = run("train", "--data", "fashion-mnist")
    assert (code, out) == (2, [])
    errors = [line for line in err if line.startswith("fastsoftmax: error: ")]
    assert len(errors) == 1
    assert "Fashion-MNIST is not on this machine and could not be downloaded" in errors[0]
    assert "train-images-idx3-ubyte.gz" in errors[0]


def test_a_warning_does_not_change_how_python_warns(run, npz):
    import warnings

    before = warnings.showwarning
    run("train", "--data", npz, "--epochs", 1)
    assert warnings.showwarning is before


def test_ctrl_c_keeps_what_was_trained(run, npz, tmp_path, monkeypatch):
    backend = fs.get_backend()
    real, calls = backend.train_epoch, []

    def train_epoch(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(backend, "train_epoch", train_epoch)
    code, out, err = run(
        "train", "--data", npz, "--save", tmp_path / "m", "--json", tmp_path / "j"
    )
    wrote = "".join(f"; wrote {tmp_path / name}" for name in "mj")
    assert (code, err) == (130, [f"fastsoftmax: interrupted after 2 epochs{wrote}"])
    assert any("after 2 epochs" in line for line in out)
    assert len(json.loads((tmp_path / "j").read_text())["history"]["train_loss"]) == 2
    assert fs.LinearClassifier.load(tmp_path / "m").n_classes == 10


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
def test_info_with_a_numba_that_cannot_be_used(before, message, run_python, need_backend):
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


def exits(capsys, *args):
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(args))
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


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


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["train", "--lr", "abc"], "argument --lr: invalid float value: 'abc'"),
        (["train", "--epochs", "1.5"], "argument --epochs: invalid int value: '1.5'"),
        (["train", "--speed", "9"], "unrecognized arguments: --speed 9"),
        (["evaluate"], "the following arguments are required: model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_argparse_refuses(capsys, args, message):
    code, out, err = exits(capsys, *args)
    assert (code, out) == (2, "")
    assert err.startswith("fastsoftmax: error: ")
    assert message in err
    assert err.count("\n") == 1


# ---- errors ----


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("--lr", "-1", "lr must be >= 0, got -1.0"),
        ("--lr", "nan", "lr must be finite in float32, got nan"),
        ("--epochs", "0", "epochs must be >= 1, got 0"),
        ("--batch-size", "-5", "batch_size must be >= 1, got -5"),
        ("--momentum", "-0.5", "momentum must be >= 0, got -0.5"),
        ("--weight-decay", "inf", "weight_decay must be finite in float32, got inf"),
        ("--init-std", "-1", "init_std must be >= 0, got -1.0"),
        ("--num-threads", "0", "num_threads must be >= 1, got 0"),
        (
            "--backend",
            "gpu",
            "backend must be one of ('auto', 'cython', 'numba', 'numpy'), got 'gpu'",
        ),
        (
            "--data",
            "mnist",
            "unknown dataset 'mnist': choose auto, fashion-mnist or synthetic, or give the path "
            "of an .npz file",
        ),
    ],
)
def test_bad_options(refused, npz, option, value, message):
    assert refused("train", "--data", npz, option, value) == message


def test_nesterov_without_momentum(refused, npz):
    assert refused("train", "--data", npz, "--nesterov").startswith("nesterov needs momentum > 0")


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_no_such_model(refused, npz, tmp_path, command):
    assert "missing.st" in refused(command, tmp_path / "missing.st", "--data", npz)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_not_a_model(refused, npz, command):
    assert "garments.npz is not a fastsoftmax model" in refused(command, npz, "--data", npz)


@pytest.mark.parametrize("option", ["--save", "--plot", "--json"])
def test_no_such_folder_is_told_before_training(refused, npz, tmp_path, option, monkeypatch):
    monkeypatch.setattr(cli, "train", lambda *args, **kwargs: pytest.fail("it was trained"))
    path = tmp_path / "nowhere" / "file.png"
    assert refused("train", "--data", npz, option, path) == f"the folder of {path} does not exist"


def test_no_such_npz(refused, tmp_path):
    assert "missing.npz" in refused("train", "--data", tmp_path / "missing.npz")


@pytest.mark.parametrize("lacking", [["y_test"], ["x_train", "y_train"]], ids=" ".join)
def test_an_npz_that_lacks_an_array(refused, data, tmp_path, lacking):
    arrays = {name: a for name, a in arrays_of(data).items() if name not in lacking}
    np.savez(tmp_path / "few.npz", **arrays)
    message = refused("train", "--data", tmp_path / "few.npz")
    what = f"it has no array {', '.join(lacking)}"
    assert message == f"{tmp_path / 'few.npz'} is not data to train on: {what}"


def test_an_npz_with_objects_is_not_unpickled(refused, data, tmp_path):
    arrays = {**arrays_of(data), "y_train": data.train_labels.astype(object)}
    np.savez(tmp_path / "objects.npz", **arrays)
    assert "allow_pickle=False" in refused("train", "--data", tmp_path / "objects.npz")


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"x_train": lambda a: a / 255}, "x must be float32 or uint8, got float64; convert it"),
        ({"x_test": lambda a: a[:, :20].copy()}, "x has 560 features, expected 784"),
        ({"y_train": lambda a: a[1:]}, "(1000,) as train_images has rows, got (999,)"),
        ({"y_train": lambda a: a - 1}, "label 9 is none of the classes [-1, 0, 1, 2"),
        ({"y_test": lambda a: a + 1}, "is none of the classes [0, 1, 2"),
        ({"y_test": lambda a: a[:-1]}, "(200,) as test_images has rows, got (199,)"),
        ({"x_train": lambda a: a[:0], "y_train": lambda a: a[:0]}, "at least 2 classes, got []"),
    ],
    ids=["float64", "features", "y_train", "negative", "unknown", "y_test", "no rows"],
)
def test_an_npz_whose_arrays_do_not_fit(refused, data, tmp_path, changed, message):
    arrays = arrays_of(data)
    for name, change in changed.items():
        arrays[name] = change(arrays[name])
    np.savez(tmp_path / "bad.npz", **arrays)
    assert message in refused("train", "--data", tmp_path / "bad.npz")


@pytest.mark.parametrize(
    "content",
    [b"", b"neither zip nor npy", b"PK\x03\x04" + bytes(50)],
    ids=["empty", "text", "half a zip"],
)
def test_what_is_not_an_npz(refused, tmp_path, content):
    (tmp_path / "not.npz").write_bytes(content)
    message = refused("train", "--data", tmp_path / "not.npz")
    assert message.startswith(f"{tmp_path / 'not.npz'} is not data to train on: ")


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_an_npz_that_is_damaged_inside(refused, data, tmp_path, savez):
    savez(tmp_path / "damaged.npz", **arrays_of(data))
    content = bytearray((tmp_path / "damaged.npz").read_bytes())
    content[2000:2400] = bytes(byte ^ 0x5A for byte in content[2000:2400])
    (tmp_path / "damaged.npz").write_bytes(content)
    assert "damaged.npz" in refused("train", "--data", tmp_path / "damaged.npz")


def test_a_test_part_without_rows_is_no_test_part(run, data, tmp_path):
    arrays = arrays_of(data)
    arrays |= {"x_test": arrays["x_test"][:0], "y_test": arrays["y_test"][:0]}
    np.savez(tmp_path / "train.npz", **arrays)
    model = tmp_path / "m"
    code, out, _ = run("train", "--data", tmp_path / "train.npz", "--epochs", 1, "--save", model)
    assert code == 0
    assert "test" not in " ".join(out)
    code, out, _ = run("evaluate", model, "--data", tmp_path / "train.npz")
    assert (code, len(out)) == (0, 1)


def test_a_run_that_diverges_writes_strict_json(run, npz, tmp_path):
    code, _, _ = run("train", "--data", npz, "--lr", 1e38, "--json", tmp_path / "j")
    assert code == 0
    text = (tmp_path / "j").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["history"]["train_loss"][-1] is None


@pytest.mark.parametrize("option", ["--save", "--json"])
def test_a_folder_where_a_file_should_be(refused, npz, tmp_path, option):
    assert refused("train", "--data", npz, option, tmp_path) == f"{tmp_path} is a folder"


def test_an_npy_that_is_called_npz(refused, data, tmp_path):
    with open(tmp_path / "x.npz", "wb") as file:
        np.save(file, data.train_images)
    assert "x.npz is not data to train on: it is a single array" in refused(
        "train", "--data", tmp_path / "x.npz"
    )


def test_a_plot_that_cannot_be_drawn_is_told_before_training(refused, npz, tmp_path):
    pytest.importorskip("matplotlib")
    message = refused("train", "--data", npz, "--plot", tmp_path / "c.xyz")
    assert "c.xyz must end in one of ." in message and ".png" in message


@pytest.mark.parametrize("count", [0, -3])
def test_predict_at_least_one(refused, npz, saved, count):
    message = refused("predict", saved, "--data", npz, "--count", count)
    assert message == f"--count must be >= 1, got {count}"


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_data_that_the_model_was_not_made_for(run, saved, data, tmp_path, command):
    arrays = arrays_of(data)
    for name in ("x_train", "x_test"):
        arrays[name] = arrays[name][:, :20].copy()
    np.savez(tmp_path / "small.npz", **arrays)
    code, _, err = run(command, saved, "--data", tmp_path / "small.npz")
    assert code == 2
    assert err == ["fastsoftmax: error: x has 560 features, expected 784 as the weight has"]


# ---- a process of its own ----


def process(*args, cwd, text=True, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fastsoftmax.cli", *map(str, args)],
        cwd=cwd,  # not the source folder, from which fastsoftmax cannot be imported
        env={**os.environ, **environment},
        capture_output=True,
        text=text,
        timeout=60,
    )


def test_as_a_process(npz, trained, tmp_path):
    done = process("train", "--data", npz, "--epochs", 3, "--save", "m", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "on garments.npz after 3 epochs" in done.stdout
    loaded = fs.LinearClassifier.load(tmp_path / "m")
    assert loaded.weight.tobytes() == trained.model.weight.tobytes()


def test_an_error_as_a_process(tmp_path):
    done = process("evaluate", "missing", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fastsoftmax: error: ") and done.stderr.count("\n") == 1


# ---- data of one's own ----

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((60, 4)).astype(np.float32)
KINDS = np.arange(60) % 3


@pytest.mark.parametrize(
    "labels",
    [[0, 1000, 2000], [2**40, 0, -5], [2**62, 2**62 + 1, 0], ["a", "b", "c"], [True, False, True]],
    ids=str,
)
def test_the_rules_for_labels_are_those_of_train(run, tmp_path, labels):
    y = np.array(labels)[KINDS]
    np.savez(tmp_path / "d.npz", x_train=ROWS, y_train=y, x_test=ROWS[:20], y_test=y[:20])
    code, out, err = run(
        "train", "--data", tmp_path / "d.npz", "--epochs", 5, "--save", tmp_path / "m"
    )
    assert (code, err) == (0, [])
    expected = fs.train((ROWS, y), validation_data=(ROWS[:20], y[:20]), epochs=5)
    loaded = fs.LinearClassifier.load(tmp_path / "m")
    assert loaded.classes.tolist() == np.unique(y).tolist() == expected.model.classes.tolist()
    assert loaded.weight.tobytes() == expected.model.weight.tobytes()
    assert f"{expected.history.test_loss[-1]:.4f}" in out[5]

    code, out, err = run("evaluate", tmp_path / "m", "--data", tmp_path / "d.npz")
    assert (code, len(out), err) == (0, 2, [])
    code, out, err = run("predict", tmp_path / "m", "--data", tmp_path / "d.npz", "--count", 4)
    assert (code, err) == (0, [])
    assert [line.split()[2] for line in out] == [str(label) for label in y[:4].tolist()]


@pytest.mark.parametrize("name", ["d.npz", "D.NPZ", "without a suffix"])
@pytest.mark.parametrize("names", ["x y", "X Y", "x_train y_train", "X_train y_train"])
def test_names_of_files_and_arrays(run, tmp_path, monkeypatch, name, names):
    x, y = names.split()
    with open(tmp_path / name, "wb") as file:
        np.savez(file, **{x: ROWS, y: KINDS})
    expected = fs.train((ROWS, KINDS), epochs=2)
    path = tmp_path / name
    for data in (path, str(path), fs.load_dataset(path)):
        result = fs.train(data, epochs=2)
        assert result.dataset == name
        assert result.model.weight.tobytes() == expected.model.weight.tobytes()
    result = fs.train(path, epochs=2, validation_data=(ROWS, KINDS))
    assert len(result.history.test_loss) == 2
    monkeypatch.chdir(tmp_path)
    code, _, err = run("train", "--data", name, "--epochs", 2, "--save", "m")
    assert (code, err) == (0, [])
    assert fs.LinearClassifier.load("m").weight.tobytes() == expected.model.weight.tobytes()


def test_a_dataset_of_a_file(tmp_path):
    np.savez(
        tmp_path / "d.npz", x_train=ROWS, y_train=KINDS * 5, x_test=ROWS[:7], y_test=KINDS[:7]
    )
    data = fs.load_dataset(tmp_path / "d.npz")
    assert repr(data) == "<Dataset d.npz: 60 + 7 rows of 4, 3 classes>"
    assert data.class_names is None and not data.train_images.flags.writeable
    assert (data.train_labels == KINDS * 5).all()


def test_a_file_that_is_called_as_a_dataset_is_not_taken_for_it(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    np.savez("synthetic.npz", x=ROWS, y=KINDS)
    os.rename("synthetic.npz", "synthetic")
    monkeypatch.setattr(synthetic, "make", lambda: data)
    assert fs.load_dataset("synthetic") is data
    assert fs.load_dataset("./synthetic").name == "synthetic"


@pytest.fixture
def of_words(tmp_path):
    """A model whose classes are words."""
    model = fs.train((ROWS, np.array(["coat", "bag", "shirt"])[KINDS]), epochs=5).model
    model.save(tmp_path / "words")
    return tmp_path / "words"


@pytest.mark.parametrize("kind", ["x_test", "x", "X", "npy", "with another y"])
def test_predict_rows_without_labels(run, tmp_path, of_words, kind):
    path = tmp_path / ("rows.npy" if kind == "npy" else "rows.npz")
    if kind == "npy":
        np.save(path, ROWS)
    elif kind == "with another y":
        np.savez(path, x_test=ROWS, y_train=KINDS)
    else:
        np.savez(path, **{kind: ROWS})
    code, out, err = run("predict", of_words, "--data", path, "--count", 60)
    assert (code, len(out), err) == (0, 60, [])
    model = fs.LinearClassifier.load(of_words)
    for i, (line, name, p) in enumerate(
        zip(out, model.predict(ROWS), model.predict_proba(ROWS).max(axis=1), strict=True)
    ):
        assert line.split() == [str(i), "predicted", name, f"{p:.3f}"]


def test_predict_and_draw_rows_without_labels(run, saved, data, tmp_path):
    pytest.importorskip("matplotlib")
    np.save(tmp_path / "rows.npy", data.test_images)
    code, out, err = run(
        "predict", saved, "--data", tmp_path / "rows.npy", "--plot", tmp_path / "p.png"
    )
    assert (code, len(out), err) == (0, 18, [])
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_predict_where_labels_are_no_classes(run, tmp_path, of_words):
    np.savez(tmp_path / "d.npz", x=ROWS, y=KINDS)
    code, out, err = run("predict", of_words, "--data", tmp_path / "d.npz")
    assert (code, err) == (0, [])
    assert all(line.endswith("  wrong") for line in out)
    assert [line.split()[2] for line in out] == [str(k) for k in KINDS[:18]]


def test_evaluate_with_test_arrays_alone(run, tmp_path, of_words):
    y = np.array(["coat", "bag", "shirt"])[KINDS]
    model = fs.LinearClassifier.load(of_words)
    loss, accuracy = model.evaluate(ROWS, y)
    for part, names in (("test", "x_test y_test"), ("train", "x_train y_train"), ("all", "X y")):
        np.savez(tmp_path / "d.npz", **dict(zip(names.split(), (ROWS, y), strict=True)))
        code, out, err = run("evaluate", of_words, "--data", tmp_path / "d.npz")
        assert (code, err) == (0, [])
        (line,) = out
        assert line.split() == [
            part, "loss", f"{loss:.4f}", "accuracy", f"{accuracy:.4f}", "(d.npz)",
        ]  # fmt: skip


@pytest.mark.parametrize(
    "command, arrays, message",
    [
        ("predict", {"x_train": ROWS}, "is not data to predict: it has no array x_test or x"),
        ("predict", {"x": ROWS[0, 0]}, "is not data to predict: x must have rows"),
        ("predict", {"x": ROWS, "y": KINDS[:5]}, "labels must be 60 as there are rows, got 5"),
        ("predict", {"x": ROWS.astype(float)}, "x must be float32 or uint8, got float64; convert"),
        ("evaluate", {"x_test": ROWS}, "is not data to evaluate on: it has no array y_test"),
        ("evaluate", {"x": ROWS, "y": KINDS}, "label 0 is none of the classes"),
        ("evaluate", {"x": ROWS[:0], "y": KINDS[:0]}, "has no rows to evaluate on"),
        ("evaluate", {"z": ROWS}, "has no rows to evaluate on"),
        ("train", {"x": ROWS}, "is not data to train on: it has no array y"),
        ("train", {"x_test": ROWS, "y_test": KINDS}, "it has no array x_train, y_train"),
        ("train", {"x": ROWS, "X": ROWS, "y": KINDS}, "it has both x and X"),
        ("train", {"x": ROWS, "y": KINDS * 0}, "labels must be of at least 2 classes, got [0]"),
        ("train", {"x": ROWS, "y": KINDS / 2}, "labels must be integers, booleans or strings"),
        (
            "train",
            {"x": ROWS, "y": KINDS, "x_train": ROWS, "y_train": KINDS},
            "it has both x_train and x",
        ),
        ("train", {"x": ROWS, "y": KINDS[0]}, "x and y must have rows"),
    ],
)
def test_data_that_cannot_be_used(refused, tmp_path, of_words, command, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    model = [] if command == "train" else [of_words]
    assert message in refused(command, *model, "--data", tmp_path / "d.npz")


def bad_archives():
    import io
    import zipfile

    def archive(name, content, **options):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", **options) as made:
            made.writestr(name, content)
        return file.getvalue()

    def header(text):
        text = text.encode().ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text

    yield "no array", archive("x.npy", b"12")
    yield "cut", archive("x.npy", header("{'descr':'<f4','fortran_order':False,'shape':(9,9)}"))
    yield (
        "larger than any memory",
        archive("x.npy", header("{'descr':'<f4','fortran_order':False,'shape':(10**9,10**9)}")),
    )
    for shape in ("(2**70, 3)", "(-1, 3)", "(1.5,)", "3", f"({10**12}, {10**6})", "(" * 60):
        yield (
            f"shape {shape}",
            archive("x.npy", header(f"{{'descr':'<f4','fortran_order':False,'shape':{shape}}}")),
        )
    yield "a type of nonsense", archive("x.npy", header("{'descr':'zz','fortran_order':0}"))
    yield "not utf-8", archive("x.npy", header("{'descr':'<f4'").replace(b"descr", b"\xff\xfe"))
    packed = bytearray(archive("x.npy", header("{}")))
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    packed[6] |= 1
    yield "with a password", bytes(packed)
    packed = bytearray(archive("x.npy", header("{}")))
    packed[packed.index(b"PK\x01\x02") + 10] = packed[8] = 99
    yield "packed in another way", bytes(packed)


@pytest.mark.parametrize("content", [pytest.param(c, id=name) for name, c in bad_archives()])
def test_bad_archives(refused, tmp_path, of_words, content):
    (tmp_path / "bad.npz").write_bytes(content)
    message = refused("predict", of_words, "--data", tmp_path / "bad.npz")
    assert message.startswith(
        (f"{tmp_path / 'bad.npz'} is not data to predict: ", "Unable to all")
    )


@pytest.mark.parametrize(
    "error", [MemoryError(), OverflowError("too large"), RecursionError("too deep"), EOFError()]
)
def test_whatever_ends_it_is_one_line(refused, npz, monkeypatch, error):
    def train(data, **options):
        raise error

    monkeypatch.setattr(cli, "train", train)
    assert refused("train", "--data", npz) == (str(error) or type(error).__name__)


def test_a_number_of_5000_digits(capsys):
    code, out, err = exits(capsys, "train", "--epochs", "9" * 5000)
    assert (code, out, err.count("\n")) == (2, "", 1)


# ---- files first, then words ----


@pytest.fixture
def small(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=ROWS, y_train=KINDS, x_test=ROWS, y_test=KINDS)
    return tmp_path / "d.npz"


def shell(script, cwd, stdout=subprocess.PIPE, **environment):
    """What bash says of a script in which $FS is the command."""
    return subprocess.run(
        ["bash", "-c", f'FS="{sys.executable} -m fastsoftmax.cli"; {script}'],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
    )


@pytest.fixture
def nobody():
    """A pipe whose reader is gone."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


TRAIN = "$FS train --data d.npz --epochs 1 --save m --json j"


@pytest.mark.parametrize("buffered", ["", "1"], ids=["", "unbuffered"])
def test_a_closed_pipe_is_quiet_and_costs_no_file(small, nobody, buffered):
    folder = small.parent
    done = shell(TRAIN, folder, nobody, PYTHONUNBUFFERED=buffered)
    assert (done.returncode, done.stderr) == (141, b"")
    assert fs.LinearClassifier.load(folder / "m").n_classes == 3
    assert json.loads((folder / "j").read_text())["dataset"] == "d.npz"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "trouble, reason",
    [
        (">/dev/full", b"No space left on device"),
        (">&-", b"it is closed"),
        ("</dev/null 1<&0", b"Bad"),
    ],
)
def test_no_trouble_of_standard_output_costs_a_file(small, trouble, reason):
    folder = small.parent
    done = shell(f"{TRAIN} {trouble}", folder)
    assert done.returncode == 2
    assert done.stderr.startswith(b"fastsoftmax: error: standard output: ")
    assert reason in done.stderr and done.stderr.count(b"\n") == 1
    assert fs.LinearClassifier.load(folder / "m").n_classes == 3
    assert json.loads((folder / "j").read_text())["dataset"] == "d.npz"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "command",
    [
        "evaluate m --data d.npz",
        "predict m --data d.npz",
        "info",
        "--help",
        "--version",
        "train -h",
    ],
)
def test_every_command_bears_a_standard_output_that_is_none(small, nobody, command):
    fs.train(small, epochs=1).model.save(small.parent / "m")
    for trouble, code, lines in (("", 141, 0), (">/dev/full", 2, 1), (">&-", 2, 1)):
        done = shell(f"$FS {command} {trouble}", small.parent, nobody)
        assert (done.returncode, done.stderr.count(b"\n")) == (code, lines), trouble


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("trouble", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_no_standard_error(small, trouble):
    folder = small.parent
    done = shell(f"{TRAIN} {trouble}", folder)
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 5)
    done = shell(f"$FS train --data nowhere.npz {trouble}", folder)
    assert (done.returncode, done.stdout) == (2, b"")
    done = shell(f"$FS train --speed 9 {trouble}", folder)
    assert (done.returncode, done.stdout) == (2, b"")
    # a warning, of the data
    done = shell(
        f"$FS train --epochs 1 --save w {trouble}", folder,
        FASTSOFTMAX_CACHE_DIR=str(folder), http_proxy="http://127.0.0.1:9",
        https_proxy="http://127.0.0.1:9",
    )  # fmt: skip
    assert done.returncode == 0 and (folder / "w").exists()


def test_a_file_that_cannot_be_written_costs_no_other(run, npz, tmp_path, monkeypatch):
    def save(self, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(fs.LinearClassifier, "save", save)
    code, out, err = run(
        "train", "--data", npz, "--epochs", 2, "--save", tmp_path / "m", "--json", tmp_path / "j"
    )
    assert (code, len(out)) == (2, 6)
    assert err == [f"fastsoftmax: error: [Errno 28] No space left on device: '{tmp_path / 'm'}'"]
    assert json.loads((tmp_path / "j").read_text())["dataset"] == "garments.npz"


# ---- two names of one file ----


@pytest.mark.parametrize(
    "args, a, b",
    [
        ("--save out --json out", "json", "save"),
        ("--save out --json ./out", "json", "save"),
        ("--save link --json out", "json", "save"),
        ("--save dangling --json nothing", "json", "save"),
        ("--plot c.svg --json c.svg", "json", "plot"),
        ("--save d.npz", "save", "data"),
        ("--save to-data", "save", "data"),
        ("--json d.npz", "json", "data"),
    ],
)
def test_two_names_of_one_file_are_refused(refused, small, monkeypatch, args, a, b):
    if "plot" in args:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(small.parent)
    monkeypatch.setattr(cli, "train", lambda *args, **kwargs: pytest.fail("it was trained"))
    (small.parent / "out").write_bytes(b"old")
    os.symlink("out", "link")
    os.symlink("nothing", "dangling")
    os.link("d.npz", "to-data")
    before = small.read_bytes()
    message = refused("train", "--data", "d.npz", *args.split())
    assert message.startswith(f"--{a} ") and f" is the same file as --{b} " in message
    assert small.read_bytes() == before and (small.parent / "out").read_bytes() == b"old"


def test_a_picture_over_the_model_or_the_data(refused, small, tmp_path):
    pytest.importorskip("matplotlib")
    model, rows = tmp_path / "m.png", tmp_path / "rows.svg"
    fs.train(small, epochs=1).model.save(model)
    np.savez(tmp_path / "r.npz", x=ROWS)
    os.rename(tmp_path / "r.npz", rows)
    message = refused("predict", model, "--data", rows, "--plot", model)
    assert message == f"--plot {model} is the same file as model {model}"
    message = refused("predict", model, "--data", rows, "--plot", rows)
    assert message == f"--plot {rows} is the same file as --data {rows}"


# ---- words on odd terminals ----

FORGED = "a\n    1  true b  predicted b  1.000"
ODD = [FORGED, "b\x1b[2J\u202e", "été ⊕ $\\frac"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "utf-16", "cp1252:strict"])
def test_words_that_a_terminal_lacks(small, encoding):
    folder = small.parent
    y = np.array(ODD)[KINDS]
    np.savez(folder / "w.npz", x_train=ROWS, y_train=y, x_test=ROWS, y_test=y)
    fs.train(folder / "w.npz", epochs=1).model.save(folder / "m")
    done = process("predict", "m", "--data", "w.npz", cwd=folder, text=False,
                   PYTHONIOENCODING=encoding)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    out = done.stdout.decode(encoding.partition(":")[0])
    assert len(out.splitlines()) == 18
    assert "a\\n    1  true b" in out and "b\\x1b[2J\\u202e" in out
    assert "\x1b" not in out and "\u202e" not in out
    if encoding == "utf-8":
        assert "été ⊕ $\\frac" in out
    if encoding == "ascii":
        assert "\\xe9t\\xe9 \\u2295 $\\frac" in out


def test_words_in_the_c_locale(small):
    folder = small.parent
    os.rename(small, folder / "été\n.npz")
    for name, lines in (("été\n.npz", 0), ("nié\x1b[2J.npz", 1)):
        done = process(
            "train", "--data", name, "--epochs", 1, cwd=folder, text=False,
            LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0",
        )  # fmt: skip
        assert done.returncode == 2 * lines
        assert done.stderr.count(b"\n") == lines and b"\x1b" not in done.stderr
    assert b"\x1b" not in done.stdout


def test_a_model_and_data_from_pipes(small):
    folder = small.parent
    fs.train(small, epochs=1).model.save(folder / "m")
    plain = shell("$FS evaluate m --data d.npz", folder)
    piped = shell("$FS evaluate <(cat m) --data <(cat d.npz)", folder)
    assert (plain.returncode, piped.returncode, piped.stderr) == (0, 0, b"")
    assert [line.split()[:-1] for line in piped.stdout.splitlines()] == [
        line.split()[:-1] for line in plain.stdout.splitlines()
    ]
    done = shell("$FS evaluate <(echo no model) --data d.npz", folder)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1
    assert b"/dev/fd/" in done.stderr and b"is not a fastsoftmax model" in done.stderr


# ---- Ctrl-C ----


def test_ctrl_c_in_the_first_epoch_writes_nothing(run, npz, tmp_path, monkeypatch):
    def train_epoch(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(fs.get_backend(), "train_epoch", train_epoch)
    (tmp_path / "m").write_bytes(b"a good model")
    code, out, err = run("train", "--data", npz, "--save", tmp_path / "m")
    assert (code, out, err) == (130, [], ["fastsoftmax: interrupted"])
    assert (tmp_path / "m").read_bytes() == b"a good model"


@pytest.mark.parametrize("where", ["load_dataset", "train", "check_output", "same_file"])
def test_ctrl_c_anywhere(run, npz, tmp_path, monkeypatch, where):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, where, interrupted)
    code, out, err = run("train", "--data", npz, "--save", tmp_path / "m")
    assert (code, out, err) == (130, [], ["fastsoftmax: interrupted"])
    assert not (tmp_path / "m").exists()


def test_ctrl_c_while_a_file_is_written(run, npz, tmp_path, monkeypatch):
    def fsync(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "m").write_bytes(b"old")
    code, _, err = run("train", "--data", npz, "--epochs", 1, "--save", tmp_path / "m")
    assert (code, err) == (130, ["fastsoftmax: interrupted"])
    assert (tmp_path / "m").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_real_ctrl_c(tmp_path):
    np.savez(tmp_path / "d.npz", x=RNG.standard_normal((3000, 20)).astype(np.float32),
             y=np.arange(3000) % 5)  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "fastsoftmax.cli", "train", "--data", "d.npz", "--epochs", "200000",
         "--save", "m", "--json", "j"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as training:  # fmt: skip
        time.sleep(2)
        training.send_signal(signal.SIGINT)
        out, err = training.communicate(timeout=60)
    assert training.returncode == 130
    if err == "fastsoftmax: interrupted\n":  # on a slow machine, before the first epoch
        assert not (tmp_path / "m").exists()
        return
    n = len(json.loads((tmp_path / "j").read_text())["history"]["lr"])
    assert err == f"fastsoftmax: interrupted after {n} epoch{'s' * (n != 1)}; wrote m; wrote j\n"
    assert len(out.splitlines()) == 1 + n
    assert fs.LinearClassifier.load(tmp_path / "m").n_classes == 5


# ---- before the package is there ----

COMMAND = (
    "import sys; from _fastsoftmax_command import main; sys.argv[1:] = ['info']; sys.exit(main())"
)


@pytest.mark.parametrize("variable", ["FASTSOFTMAX_BACKEND", "FASTSOFTMAX_ISA"])
def test_a_wrong_environment_is_one_line(run_python, variable):
    if variable == "FASTSOFTMAX_ISA" and "cython" not in fs.available_backends():
        pytest.skip("without the extension there are no instruction sets")
    done = run_python(COMMAND, **{"FASTSOFTMAX_BACKEND": "", variable: "foo"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fastsoftmax: error: ") and done.stderr.count("\n") == 1
    assert "'foo'" in done.stderr


def test_ctrl_c_while_the_package_is_imported(run_python):
    finder = """
import sys
class Finder:
    def find_spec(self, name, *args):
        if name == "numpy":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
"""
    done = run_python(finder + COMMAND)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fastsoftmax: interrupted\n")


def test_the_script_begins_there(run_python):
    done = run_python(COMMAND)
    assert done.returncode == 0 and done.stdout.startswith("fastsoftmax ")
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="fastsoftmax")
    assert script.value == "_fastsoftmax_command:main"
