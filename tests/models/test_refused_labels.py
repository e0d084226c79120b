"""Labels, keys of class_weight and indices of pandas that are refused; the message mends them."""

from __future__ import annotations

import datetime
import re

import numpy as np
import pandas as pd
import pytest

import fastsoftmax as fs
from fastsoftmax import LinearClassifier
from fastsoftmax.labels import labels
from helpers.arguments import X
from helpers.models import LABELS, train_on

torch = pytest.importorskip("torch")

N, D = 60, 4


class Sparse:
    """Has the method that sparse matrices of SciPy have."""

    def toarray(self):
        return np.array([[1, 0, 2]])


# name: (labels, words of the message, the line that it gives, what that line makes)
MENDED = {
    "whole floats": (
        [1.0, 2.0],
        "got float64",
        "np.asarray(labels).astype(int)",
        [1, 2],
    ),
    "whole float32": (
        np.array([1, 2], np.float32),
        "got float32",
        "np.asarray(labels).astype(int)",
        [1, 2],
    ),
    "pandas Float64": (
        pd.Series([1.0, 2.0], dtype="Float64"),
        "got float64",
        "np.asarray(labels).astype(int)",
        [1, 2],
    ),
    "integers and floats": (
        [0, 2.5],
        "got float64",
        "np.unique(labels, return_inverse=True)[1]",
        [0, 1],
    ),
    "floats": (
        np.array([0.5, np.inf, 1e300]),
        "got float64",
        "np.unique(labels, return_inverse=True)[1]",
        [0, 2, 1],
    ),
    "mixed": (
        [0, "a", 2.5],
        "got float and int and str",
        "[str(label) for label in labels]",
        ["0", "a", "2.5"],
    ),
    "mixed in objects": (
        np.array([0, "a"], object),
        "got int and str",
        "[str(label) for label in labels]",
        ["0", "a"],
    ),
    "a boolean and a string": (
        [True, "a"],
        "got bool and str",
        "[str(label) for label in labels]",
        ["True", "a"],
    ),
    "a NUL at the end": (
        ["b", "a\0"],
        "labels[1] is 'a\\x00', and NumPy's strings lose a NUL at their end",
        '[label.rstrip("\\0") for label in labels]',
        ["b", "a"],
    ),
    "bytes": ([b"a", b"b"], "got bytes", "[label.decode() for label in labels]", ["a", "b"]),
    "an array of bytes": (
        np.array(["\u00e4".encode(), b"b"]),
        "got |S2",
        "[label.decode() for label in labels]",
        ["\u00e4", "b"],
    ),
    "dates": (
        np.array(["2024-01-02", "2024-01-01"], "M8[D]"),
        "got datetime64[D]",
        "np.asarray(labels).astype(str)",
        ["2024-01-02", "2024-01-01"],
    ),
    "dates of pandas": (
        pd.Series(pd.to_datetime(["2024-01-02", "2024-01-01"])),
        "got datetime64",
        "np.asarray(labels).astype(str)",
        None,
    ),
    "dates of Python": (
        [datetime.date(2024, 1, 2)],
        "got date",
        "[str(label) for label in labels]",
        ["2024-01-02"],
    ),
    "NumPy's dates in a list": (
        [np.datetime64("2024-01-02", "ns")],
        "got datetime64",
        "[str(label) for label in labels]",
        None,
    ),
    "too large": (
        [-1, 2**63],
        "labels must fit into int64, or all into uint64",
        "[str(label) for label in labels]",
        ["-1", str(2**63)],
    ),
    "a column": (
        np.array([[1], [2]]),
        "got shape (2, 1)",
        "np.asarray(labels).ravel()",
        [1, 2],
    ),
    "a column of a list": ([["a"], ["b"]], "(2, 1)", "np.asarray(labels).ravel()", ["a", "b"]),
    "a frame": (pd.DataFrame({"y": [1, 2]}), "(2, 1)", "np.asarray(labels).ravel()", [1, 2]),
    "one-hot": (
        np.eye(3)[[2, 0]],
        "got shape (2, 3)",
        "np.asarray(labels).argmax(axis=1)",
        [2, 0],
    ),
    "sparse": (
        Sparse(),
        "of type Sparse",
        "labels.toarray().ravel()",
        [1, 0, 2],
    ),
    "a tensor of bfloat16": (
        torch.tensor([2, 1]).to(torch.bfloat16),
        "NumPy cannot read",
        "labels.float().numpy()",
        None,
    ),
    "a tensor with a gradient": (
        torch.tensor([2.0, 1.0], requires_grad=True),
        "NumPy cannot read",
        "labels.detach().numpy()",
        None,
    ),
    "None": (
        ["a", None],
        "labels[1] is missing, None",
        "keep = pandas.notna(labels)",
        None,
    ),
    "NaN": ([1, float("nan")], "labels[1] is missing, nan", "keep = pandas.notna(labels)", None),
    "NaN among strings": (["a", np.nan], "labels[1] is missing", "pandas.notna(labels)", None),
    "NaN in an array": (np.array([np.nan, 1]), "labels[0] is missing", "pandas.notna", None),
    "NA in Int64": (pd.Series([1, None], dtype="Int64"), "labels[1] is missing", "notna", None),
    "NA in string": (pd.Series(["a", None], dtype="string"), "labels[1] is missing", "notn", None),
    "NA in str": (pd.Series(["a", None]), "labels[1] is missing", "pandas.notna", None),
    "NA in a category": (
        pd.Series(["a", None], dtype="category"), "labels[1] is missing", "pandas.notna", None,
    ),
    "NA in boolean": (
        pd.Series([True, None], dtype="boolean"), "labels[1] is missing, <NA>", "notna", None,
    ),
    "NaT in objects": ([pd.NaT, "a"], "labels[0] is missing, NaT", "pandas.notna(labels)", None),
    "masked": (
        np.ma.array([1, 2], mask=[False, True]), "labels[1] is masked", "~labels.mask", None,
    ),
    "a number": (3, "one-dimensional, got shape () of type int", "a list", None),
    "a word": ("abc", "one-dimensional, got shape () of type str", "a list", None),
    "a set": ({1, 2}, "one-dimensional, got shape () of type set", "a list", None),
    "ragged": ([1, [2, 3]], "labels must be of one kind, got int and list", "str(label)", None),
    "dicts": ([{}], "labels must be integers, booleans or strings, got dict", "str(label)", None),
    "complex": ([1j], "got complex", "str(label)", None),
}  # fmt: skip


# ---- what does not, with the line that mends it ----


@pytest.mark.parametrize("case", MENDED)
def test_labels_that_are_refused_with_the_line_that_mends_them(case):
    given, said, line, mended = MENDED[case]
    with pytest.raises((TypeError, ValueError)) as error:
        labels(given)
    message = str(error.value)
    assert message.startswith("labels") and said in message and line in message
    if mended is not None:
        assert labels(eval(line, {"np": np, "labels": given})).tolist() == mended


@pytest.mark.parametrize("y", [pd.Series(["a", None, "b"] * 20), np.array([1, np.nan, 2] * 20)])
def test_the_line_about_missing_labels(y):
    with pytest.raises(TypeError, match=re.escape("keep = pandas.notna(labels)")):
        train_on(y)
    keep = pd.notna(y)
    kept = y[keep]
    if kept.dtype == np.float64:
        with pytest.raises(TypeError, match=re.escape("np.asarray(labels).astype(int)")):
            fs.train((X[keep], kept), epochs=1)
        kept = np.asarray(kept).astype(int)
    assert len(fs.train((X[keep], kept), epochs=1).model.classes) == 2


def test_the_line_about_masked_labels():
    y = np.ma.array(LABELS, mask=np.arange(N) < 5)
    with pytest.raises(TypeError, match=r"labels\[0\] is masked"):
        train_on(y)
    keep = ~y.mask
    fs.train((X[keep], y[keep].data), epochs=1)


def test_everything_that_takes_labels_refuses_them_alike():
    model, mixed = train_on(LABELS), [0, "a", 2.5] * (N // 3)
    for take in (
        train_on,
        model.encode,
        lambda y: model.evaluate(X, y),
        lambda y: model.score(X, y),
        lambda y: train_on(LABELS, validation_data=(X, y)),
    ):
        with pytest.raises(TypeError, match="labels must be of one kind"):
            take(mixed)
    with pytest.raises(TypeError, match="classes must be of one kind, got float and int and str"):
        LinearClassifier(model.weight, model.bias, [0, "a", 2.5])
    with pytest.raises(TypeError, match=r"ignore_index must be a label, .* got b'a'"):
        train_on(LABELS, ignore_index=b"a")


COUNTS = pd.Series(["b"] * 30 + ["c"] * 20 + ["a"] * 10).value_counts()
WRONG_KEYS = {
    "a string": ({0: 1, "1": 2}, ValueError, "label '1' is none of the classes [0, 1, 2]"),
    "a string of NumPy": ({np.str_("1"): 2}, ValueError, "is none of the classes [0, 1, 2]"),
    "a float": ({0: 1, 1.0: 2}, TypeError, "boolean or string, got 1.0"),
    "None": ({None: 1}, TypeError, "boolean or string, got None"),
    "a tuple": ({(0, 1): 1}, TypeError, "boolean or string, got (0, 1)"),
    "of no class": ({3: 1}, ValueError, "class_weight's label 3 is none of the classes [0, 1, 2]"),
    "twice": (
        pd.Series([1, 2], index=[0, 0]), ValueError, "class_weight has the label 0 twice",
    ),
    "twice, as a tensor": (
        {1: 2, torch.tensor(1): 3}, ValueError, "class_weight has the label tensor(1) twice",
    ),
    "of strings": (
        1 / COUNTS,
        ValueError,
        "class_weight's label 'b' is none of the classes [0, 1, 2]; an array has",
    ),
    "a weight that is none": ({1: "a"}, TypeError, "class_weight[1] must be a number, got 'a'"),
    "a frame": (pd.DataFrame({0: [1, 2]}), TypeError, "class_weight[0] must be a number"),
}  # fmt: skip


# ---- weights by label ----


@pytest.mark.parametrize("case", WRONG_KEYS)
def test_a_wrong_key_is_named_as_it_is(case):
    given, error, message = WRONG_KEYS[case]
    with pytest.raises(error, match=re.escape(message)):
        train_on(LABELS, class_weight=given)


def test_keys_that_are_the_same_label():
    expected = [1.0, 2.0, 1.0]
    for key in (1, np.int8(1), np.uint64(1), True, np.True_, torch.tensor(1)):
        assert train_on(LABELS, class_weight={key: 2}).settings["class_weight"] == expected
    big = np.array([2**62, 2**62 + 1, 2**62 + 2], np.uint64)
    assert train_on(big[LABELS], class_weight={2**62 + 1: 2}).settings["class_weight"] == expected


# ---- rows by position, and never by two indices ----


def test_pandas_objects_of_two_indices_are_refused():
    order = np.random.default_rng(2).permutation(N)
    x, y, other = pd.DataFrame(X), pd.Series(LABELS), pd.Series(np.ones(N), index=order)
    w, b = np.zeros((3, D), np.float32), np.zeros(3, np.float32)
    model = train_on(LABELS)
    for call, name, first in (
        (lambda: train_on(y, sample_weight=other), "sample_weight", "y"),
        (lambda: fs.train((x, LABELS), sample_weight=other), "sample_weight", "X"),
        (lambda: fs.train((x, y[order])), "y", "X"),
        (lambda: train_on(LABELS, validation_data=(x, y[order])), "y", "X"),
        (lambda: model.evaluate(X, y, other), "sample_weight", "y"),
        (lambda: model.score(x, y[order]), "y", "x"),
        (lambda: fs.sgd_step(x, y[order], w, b, lr=1), "target", "x"),
        (lambda: fs.sgd_step(X, y, w, b, lr=1, sample_weight=other), "sample_weight", "target"),
        (lambda: fs.SGD(w, b, lr=1).step(x, y[order]), "target", "x"),
        (lambda: fs.linear_cross_entropy(x, w, y[order]), "target", "input"),
        (lambda: fs.linear_cross_entropy_grad(x, w, y[order]), "target", "input"),
        (lambda: fs.cross_entropy(x.iloc[:, :3], y[order]), "target", "logits"),
        (lambda: fs.nll_loss(x.iloc[:, :3], y[order]), "target", "log_probs"),
    ):
        with pytest.raises(ValueError, match=f"^{name} has another index than {first}: "):
            call()
    assert not w.any()
    losses = {"reduction": "none", "grad_output": other}
    with pytest.raises(ValueError, match="grad_output has another index than target: "):
        fs.linear_cross_entropy_grad(X, w, y, **losses)
    # what the message says
    train_on(y, sample_weight=other.loc[y.index])
    train_on(y, sample_weight=other.to_numpy())


def test_strings_with_code_points_that_unicode_has_not():
    """A broken .npz file may have them; Python raises SystemError when they are used."""
    broken = np.array([0x61, 0x110000], np.uint32).view("U1")
    for y in (broken, broken[::-1], broken.astype(broken.dtype.newbyteorder())):
        with pytest.raises(ValueError, match="labels must be text, got code point 0x110000"):
            labels(y)
    assert labels(np.array(["", ""])).tolist() == ["", ""]
    assert labels(np.array([], "U3")).tolist() == []
    assert labels(np.array(["\U0010ffff"])).tolist() == ["\U0010ffff"]
