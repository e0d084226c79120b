"""The command as a process: closed and full streams cost no file; words on any terminal; pipes."""

from __future__ import annotations

import importlib.metadata
import json
import os

import numpy as np
import pytest

import fastsoftmax as fs
from helpers.arguments import X, Y
from helpers.command import COMMAND, TRAIN, process, shell

# ---- a process of its own ----


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


# ---- streams that cannot be written to ----


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
    # a warning that the data is the stand-in
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


FORGED = "a\n    1  true b  predicted b  1.000"
ODD = [FORGED, "b\x1b[2J\u202e", "été ⊕ $\\frac"]


# ---- words on odd terminals ----


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "utf-16", "cp1252:strict"])
def test_words_that_a_terminal_lacks(small, encoding):
    folder = small.parent
    y = np.array(ODD)[Y]
    np.savez(folder / "w.npz", x_train=X, y_train=y, x_test=X, y_test=y)
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


# ---- the script that pip installs ----


@pytest.mark.parametrize("variable", ["FASTSOFTMAX_BACKEND", "FASTSOFTMAX_ISA"])
def test_a_wrong_environment_is_one_line(run_python, variable):
    if variable == "FASTSOFTMAX_ISA" and "cython" not in fs.available_backends():
        pytest.skip("without the extension there are no instruction sets")
    done = run_python(COMMAND, **{"FASTSOFTMAX_BACKEND": "", variable: "foo"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fastsoftmax: error: ") and done.stderr.count("\n") == 1
    assert "'foo'" in done.stderr


def test_the_script_begins_there(run_python):
    done = run_python(COMMAND)
    assert done.returncode == 0 and done.stdout.startswith("fastsoftmax ")
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="fastsoftmax")
    assert script.value == "_fastsoftmax_command:main"
