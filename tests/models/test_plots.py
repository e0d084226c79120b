"""The pictures: that they show the numbers they are given, and land in files."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import LinearClassifier, plots

matplotlib = pytest.importorskip("matplotlib")

HISTORY = fs.History(
    lr=[0.1] * 3,
    train_loss=[0.9, 0.6, 0.55],
    train_accuracy=[0.7, 0.8, 0.81],
    test_loss=[0.7, 0.65, 0.6],
    test_accuracy=[0.75, 0.78, 0.79],
    seconds=[0.01] * 3,
    eval_seconds=[0.001] * 3,
    samples_per_second=[1e6] * 3,
)
NAMES = ["coat", "bag", "shirt"]


def model(**options):
    """A model of 2x3 pictures: class 0 is the left column, 1 the middle one, 2 the right one."""
    weight = np.tile(np.eye(3, dtype=np.float32), 2)
    return LinearClassifier(weight, np.zeros(3, np.float32), **options)


def pictures(*columns):
    images = np.zeros((len(columns), 2, 3), np.uint8)
    images[range(len(columns)), :, columns] = 200
    return images


def visible(figure):
    return [axes for axes in figure.axes if axes.get_images()]


def titles(figure):
    return [axes.get_title() for axes in visible(figure)]


def is_red(axes):
    red, green, blue, _ = matplotlib.colors.to_rgba(axes.title.get_color())
    return red > 0.5 > max(green, blue)


# ---- curves ----


def test_curves_are_exactly_the_history():
    (axes,) = plots.curves(HISTORY).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["train loss", "train accuracy", "test accuracy"]
    for line in lines.values():
        assert list(line.get_xdata()) == [1, 2, 3]
    assert list(lines["train loss"].get_ydata()) == HISTORY.train_loss
    assert list(lines["train accuracy"].get_ydata()) == HISTORY.train_accuracy
    assert list(lines["test accuracy"].get_ydata()) == HISTORY.test_accuracy
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(lines)
    assert axes.get_xlabel() == "epoch"
    looks = {(line.get_linestyle(), line.get_color()) for line in lines.values()}
    assert len({style for style, _ in looks}) == len({color for _, color in looks}) == 3


def test_curves_without_validation_data():
    history = fs.History(lr=[0.1], train_loss=[0.9], train_accuracy=[0.7])
    (axes,) = plots.curves(history).axes
    assert [line.get_label() for line in axes.get_lines()] == ["train loss", "train accuracy"]
    assert [list(line.get_ydata()) for line in axes.get_lines()] == [[0.9], [0.7]]


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_ticks_are_whole_epochs(n):
    history = fs.History(lr=[0.1] * n, train_loss=[0.5] * n, train_accuracy=[0.5] * n)
    figure = plots.curves(history)
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticks()
    assert (ticks == np.round(ticks)).all()


def test_the_result_of_train_draws_the_same():
    x = np.random.default_rng(0).standard_normal((50, 3), np.float32)
    y = np.arange(50) % 2
    result = fs.train((x, y), epochs=2, validation_data=(x, y))
    lines = result.plot().axes[0].get_lines()
    history = result.history
    expected = [history.train_loss, history.train_accuracy, history.test_accuracy]
    assert [list(line.get_ydata()) for line in lines] == expected


# ---- predictions ----


def test_predictions_show_true_and_predicted_names_and_mark_the_wrong_ones():
    images = pictures(0, 2, 1, 0)
    figure = plots.predictions(model(class_names=NAMES), images, [0, 1, 1, 2])
    assert titles(figure) == ["coat\ncoat", "bag\nshirt", "bag\nbag", "shirt\ncoat"]
    assert [is_red(axes) for axes in visible(figure)] == [False, True, False, True]
    for axes, image in zip(visible(figure), images, strict=True):
        assert (axes.get_images()[0].get_array() == image).all()
        assert not axes.axison


def test_predictions_without_labels():
    figure = plots.predictions(model(class_names=NAMES), pictures(2, 0))
    assert titles(figure) == ["shirt", "coat"]
    assert not any(is_red(axes) for axes in visible(figure))


def test_predictions_without_names_show_labels():
    figure = plots.predictions(model(classes=[30, 10, 20]), pictures(0, 1), [30, 20])
    assert titles(figure) == ["30\n30", "20\n10"]
    figure = plots.predictions(model(classes=["x", "y", "z"]), pictures(0, 1), ["x", "z"])
    assert titles(figure) == ["x\nx", "z\ny"]
    assert [is_red(axes) for axes in visible(figure)] == [False, True]


@pytest.mark.parametrize("n, columns, shape", [(1, 6, (1, 1)), (7, 6, (2, 6)), (4, 2, (2, 2))])
def test_predictions_come_in_lines(n, columns, shape):
    figure = plots.predictions(model(), pictures(*[0] * n), columns=columns)
    assert len(visible(figure)) == n
    assert figure.axes[0].get_gridspec().get_geometry() == shape
    assert len(figure.axes) == shape[0] * shape[1]
    assert not any(axes.axison for axes in figure.axes)


def test_predictions_of_float32_pictures():
    images = pictures(0, 2).astype(np.float32)
    assert titles(plots.predictions(model(class_names=NAMES), images)) == ["coat", "shirt"]


@pytest.mark.parametrize("shape", [(6,), (4, 6), (0, 2, 3), (2, 2, 3, 1)], ids=str)
def test_predictions_of_what_is_not_a_picture(shape):
    with pytest.raises(ValueError) as error:
        plots.predictions(model(), np.zeros(shape, np.uint8))
    assert str(error.value) == f"images must be (N, H, W) with N >= 1, got shape {shape}"


def test_predictions_with_labels_of_no_class():
    with pytest.raises(ValueError, match=r"label .*3.* is none of the classes \[0, 1, 2\]"):
        plots.predictions(model(), pictures(0, 1), [0, 3])


@pytest.mark.parametrize("labels", [[0], [0, 1, 2]], ids=["few", "many"])
def test_predictions_with_another_number_of_labels(labels):
    with pytest.raises(ValueError) as error:
        plots.predictions(model(), pictures(0, 1), labels)
    assert str(error.value) == f"labels must be 2 as there are images, got {len(labels)}"


# ---- weights ----


def test_weights_are_pictures_of_one_scale_with_blue_for_the_class():
    classifier = model(class_names=NAMES)
    classifier.weight[1, 0] = -4
    figure = plots.weights(classifier, (2, 3))
    assert titles(figure) == NAMES
    for axes, weight in zip(visible(figure), classifier.weight, strict=True):
        (image,) = axes.get_images()
        assert (image.get_array() == weight.reshape(2, 3)).all()
        assert image.get_clim() == (-4, 4)
        red, _, blue, _ = image.cmap(image.norm(4.0))
        assert blue > red
        red, _, blue, _ = image.cmap(image.norm(-4.0))
        assert red > blue


def test_weights_of_square_pictures_need_no_shape():
    weight = np.arange(24, dtype=np.float32).reshape(6, 4)
    figure = plots.weights(LinearClassifier(weight, np.zeros(6, np.float32)))
    assert titles(figure) == list("012345")
    assert visible(figure)[5].get_images()[0].get_array().tolist() == [[20, 21], [22, 23]]
    assert figure.axes[0].get_gridspec().get_geometry() == (2, 5)
    assert len(figure.axes) == 10 and not any(axes.axison for axes in figure.axes)


def test_weights_that_are_all_zero():
    figure = plots.weights(LinearClassifier(np.zeros((2, 4), np.float32), np.zeros(2, np.float32)))
    assert [axes.get_images()[0].get_clim() for axes in visible(figure)] == [(-1, 1)] * 2


@pytest.mark.parametrize(
    "shape, message",
    [
        (None, "6 features are not a picture of 2x2; give image_shape"),
        ((3, 3), "6 features are not a picture of 3x3; give image_shape"),
    ],
)
def test_weights_of_another_shape(shape, message):
    with pytest.raises(ValueError) as error:
        plots.weights(model(), shape)
    assert str(error.value) == message


MARKUP = [
    "$$", "$x_1$", "$\\frac{1}{$", "a$b", "_hidden", "100 %", "\\textbf{a}", "a^b_c", "{", "&#~",
    "été ⊕",
]  # fmt: skip


# ---- text as it is ----


@pytest.mark.parametrize("name", MARKUP)
@pytest.mark.parametrize("as_class", [False, True], ids=["class_names", "classes"])
def test_text_is_no_markup(tmp_path, name, as_class):
    names = [name, "b", "c"]
    classifier = model(classes=names) if as_class else model(class_names=names)
    labels = names[:2] if as_class else [0, 1]
    figure = plots.predictions(classifier, pictures(0, 1), labels, tmp_path / "p.svg")
    assert titles(figure) == [f"{name}\n{name}", "b\nb"]
    assert titles(plots.weights(classifier, (2, 3), tmp_path / "w.png")) == names


def test_names_are_not_set_by_tex_even_where_a_user_has_all_text_so():
    with matplotlib.rc_context({"text.usetex": True}):
        figure = plots.weights(model(class_names=["100 %", "b", "c"]), (2, 3))
    assert not any(axes.title.get_usetex() for axes in visible(figure))


def test_a_name_is_one_line_of_what_can_be_seen():
    names = ["a\nb", "\x1b\0\t\ud800", "long " * 10]
    figure = plots.weights(model(class_names=names), (2, 3))
    assert titles(figure) == ["a\\nb", "\\x1b\\x00\\t\\ud800", "long long long long lon…"]
    figure.draw_without_rendering()


# ---- arguments of a wrong kind ----


@pytest.mark.parametrize(
    "columns, error",
    [(0, ValueError), (-3, ValueError), ("3", TypeError), (2.5, TypeError), (2.0, TypeError),
     (True, TypeError), (None, TypeError), ((2,), TypeError), (np.nan, TypeError)],
    ids=repr,
)  # fmt: skip
def test_columns(columns, error):
    for draw in (
        lambda: plots.predictions(model(), pictures(0), columns=columns),
        lambda: plots.weights(model(), (2, 3), columns=columns),
    ):
        with pytest.raises(error, match=r"^columns must be "):
            draw()


def test_columns_of_numpy():
    assert len(plots.weights(model(), (2, 3), columns=np.int8(2)).axes) == 4


@pytest.mark.parametrize(
    "shape, error",
    [((2, 3, 1), ValueError), ((6,), ValueError), ((), ValueError), (6, TypeError), (0, TypeError),
     ("23", TypeError), ((2.0, 3.0), TypeError), ((-2, -3), ValueError), ((0, 6), ValueError),
     ((True, 6), TypeError), (("2", "3"), TypeError), ((None, 3), TypeError), (False, TypeError)],
    ids=repr,
)  # fmt: skip
def test_image_shape(shape, error):
    with pytest.raises(error, match=r"^image_shape(\[[01]\])? must be "):
        plots.weights(model(), shape)


def test_image_shape_of_numpy():
    assert titles(plots.weights(model(), np.array([2, 3]))) == list("012")
    assert titles(plots.weights(model(), [2, 3])) == list("012")


@pytest.mark.parametrize("labels", [3, [[0], [1]], [0.5, 1.0]], ids=str)
def test_predictions_with_what_are_no_labels(labels):
    with pytest.raises((TypeError, ValueError), match="labels must be"):
        plots.predictions(model(), pictures(0, 1), labels)


DRAW = {
    "curves": lambda path=None: plots.curves(HISTORY, path),
    "predictions": lambda path=None: plots.predictions(model(), pictures(0, 1), [0, 2], path),
    "weights": lambda path=None: plots.weights(model(), (2, 3), path),
}
EACH = pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)


# ---- files ----


@EACH
@pytest.mark.parametrize("as_text", [True, False], ids=["str", "Path"])
@pytest.mark.parametrize("suffix, start", [("png", b"\x89PNG\r\n\x1a\n"), ("svg", b"<?xml")])
def test_files(tmp_path, draw, suffix, start, as_text):
    path = tmp_path / f"picture.{suffix}"
    figure = draw(str(path) if as_text else path)
    content = path.read_bytes()
    assert content.startswith(start)
    assert len(content) > 1000
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == "png":
        width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
        assert (width, height) == tuple(150 * figure.get_size_inches().round(6) // 1)


@pytest.mark.parametrize("name", ["c.xyz", "c", "png", ".png"])
def test_a_path_that_no_picture_can_have(name):
    with pytest.raises(ValueError) as error:
        plots.check_path(name)
    assert str(error.value).startswith(f"{name} must end in one of .")
    assert ".png" in str(error.value) and ".svg" in str(error.value)


def test_a_path_that_a_picture_can_have(tmp_path):
    for name in ("c.png", "c.SVG", "c.x.pdf"):
        plots.check_path(tmp_path / name)
        plots.curves(HISTORY, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000


@EACH
@pytest.mark.parametrize("name", ["c.xyz", "c", ".png", "c.png.gz", ""])
def test_a_wrong_suffix_is_told_before_anything_is_drawn(tmp_path, monkeypatch, draw, name):
    monkeypatch.setattr(plots.np, "arange", lambda *args: pytest.fail("it was drawn"))
    monkeypatch.setattr(plots, "_grid", lambda *args: pytest.fail("it was drawn"))
    with pytest.raises(ValueError, match=r" must end in one of \."):
        draw(name)
    with pytest.raises(ValueError, match=r" must end in one of \."):
        draw(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@EACH
def test_an_old_picture_is_replaced_through_a_link(tmp_path, draw):
    (tmp_path / "old.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("old.png")
    draw(tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "old.png").read_bytes().startswith(b"\x89PNG")


@EACH
@pytest.mark.parametrize("suffix", ["pdf", "svgz", "eps", "jpg", "PNG"])
def test_other_formats(tmp_path, draw, suffix):
    draw(tmp_path / f"c.{suffix}")
    assert (tmp_path / f"c.{suffix}").stat().st_size > 1000


@EACH
def test_no_file_without_a_path(tmp_path, monkeypatch, draw):
    monkeypatch.chdir(tmp_path)
    draw()
    assert list(tmp_path.iterdir()) == []


def test_pyplot_is_left_alone(tmp_path):
    code = """
import sys
import fastsoftmax as fs
fs.plots.curves(fs.History([0.1], [0.5], [0.5]), "curves.png")
assert "matplotlib.figure" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    # in a process of its own, as other tests may have imported pyplot; not in the source folder,
    # from which fastsoftmax cannot be imported
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@EACH
def test_without_matplotlib(monkeypatch, draw):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError) as error:
        draw()
    assert str(error.value) == 'plots need matplotlib: pip install "fastsoftmax[plot]"'
    assert error.value.name == "matplotlib"
