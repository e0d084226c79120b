"""The glossary has each word once, and its picture is of the code as it is."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def glossary():
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("glossary", ROOT / "docs" / "glossary.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_has_the_numbers_of_the_code(glossary):
    text = glossary.PICTURE.read_text()
    (drawn,) = re.findall(r"<dc:description>(.*?)</dc:description>", text)
    how_to_mend = "run `python docs/glossary.py`"
    assert json.loads(drawn.replace("&quot;", '"')) == glossary.numbers(), how_to_mend


def test_it_shows_them(glossary):
    n = glossary.numbers()
    (axes,) = glossary.draw(n).axes
    shown = "\n".join(text.get_text() for text in axes.texts)
    assert f"the at most {n['FS_BLOCK_ROWS']} rows" in shown
    assert f"the {n['batch_size']} rows of a step" in shown
    assert f"the up to {n['SPAN_ROWS']:,} rows" in shown
    assert f"{n['FS_CLASSES']} classes by 64 features" in shown
    assert len(re.findall(r"^chunk \d$", shown, re.MULTILINE)) == 2 * 4  # of 256 rows


def test_no_text_lies_on_another(glossary):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = glossary.draw(glossary.numbers())
    renderer = FigureCanvasAgg(figure).get_renderer()
    (axes,) = figure.axes
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in axes.texts]
    boxes = [(text, box) for text, box in boxes if text]
    for i, (text, box) in enumerate(boxes):
        assert figure.bbox.containsx(box.x0) and figure.bbox.containsx(box.x1), text
        assert figure.bbox.containsy(box.y0) and figure.bbox.containsy(box.y1), text
        for other, place in boxes[:i]:
            assert not box.overlaps(place), (text, other)


def test_each_word_is_there_once():
    text = (ROOT / "docs" / "glossary.md").read_text()
    words = re.findall(r"\*\*(.+?)\*\*", text)
    assert len(words) > 40
    assert sorted(words) == sorted(set(words))


def test_the_words_of_the_picture_are_in_the_text(glossary):
    text = (ROOT / "docs" / "glossary.md").read_text()
    (axes,) = glossary.draw(glossary.numbers()).axes
    bold = [text for text in axes.texts if text.get_fontweight() == "bold"]
    headings = {"Rows", "Weight", "Step"}
    for word in {re.sub(r" \d$", "", one.get_text()) for one in bold} - headings:
        assert f"**{word}**" in text, word
