"""Data files that the command cannot use: one line that says why."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.arguments import X, Y
from helpers.command import arrays_of

# ---- to train on ----


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


def test_an_npy_that_is_called_npz(refused, data, tmp_path):
    with open(tmp_path / "x.npz", "wb") as file:
        np.save(file, data.train_images)
    assert "x.npz is not data to train on: it is a single array" in refused(
        "train", "--data", tmp_path / "x.npz"
    )


# ---- for any command ----


@pytest.mark.parametrize(
    "command, arrays, message",
    [
        ("predict", {"x_train": X}, "is not data to predict: it has no array x_test or x"),
        ("predict", {"x": X[0, 0]}, "is not data to predict: x must have rows"),
        ("predict", {"x": X, "y": Y[:5]}, "labels must be 60 as there are rows, got 5"),
        ("predict", {"x": X.astype(float)}, "x must be float32 or uint8, got float64; convert"),
        ("evaluate", {"x_test": X}, "is not data to evaluate on: it has no array y_test"),
        ("evaluate", {"x": X, "y": Y}, "label 0 is none of the classes"),
        ("evaluate", {"x": X[:0], "y": Y[:0]}, "has no rows to evaluate on"),
        ("evaluate", {"z": X}, "has no rows to evaluate on"),
        ("train", {"x": X}, "is not data to train on: it has no array y"),
        ("train", {"x_test": X, "y_test": Y}, "it has no array x_train, y_train"),
        ("train", {"x": X, "X": X, "y": Y}, "it has both x and X"),
        ("train", {"x": X, "y": Y * 0}, "labels must be of at least 2 classes, got [0]"),
        ("train", {"x": X, "y": Y / 2}, "labels must be integers, booleans or strings"),
        (
            "train",
            {"x": X, "y": Y, "x_train": X, "y_train": Y},
            "it has both x_train and x",
        ),
        ("train", {"x": X, "y": Y[0]}, "x and y must have rows"),
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
