"""Draws docs/glossary.svg: the parts of a batch, of the weight and of a call.

    python docs/glossary.py

The numbers are read from the code that has them. They are also written into the picture's
description, by which a test sees whether the picture is of the code as it is.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

import fastsoftmax
from fastsoftmax.backends.chunks import chunks_of

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "glossary.svg"

N, D, K = 60_000, 784, 10  # the book's job: rows, features, classes
MANY_CLASSES = 30  # of the weight that is drawn: the book's 10 classes are a single class group
LARGE_BATCH = 4096  # of the step by tiles that is drawn
THREADS = 2

INK, GREY = "#1f2933", "#6b7785"
ROWS = ("#e3eefb", "#bcd6f5", "#7fb0e8", "#2f6fb5")  # from the whole to the smallest part
WEIGHT = ("#fdeedd", "#f9d3a8", "#f0a95b", "#b8651b")
CALL = ("#e2f3e8", "#b9e0c7", "#7cc199", "#2f7d52")


# ---- the numbers ----


def numbers() -> dict[str, int]:
    """What the picture shows, read from csrc/ and from the signature of `train`."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "csrc").rglob("*.[ch]")))
    isa = re.search(r"defined\(FS_ISA_X86_64_V4\)(.*?)\n#elif", text, re.DOTALL)
    assert isa, "no kernels of x86-64-v4"
    found = {
        name: _number(text, rf"\b{name} = ([^,\n]+),")
        for name in ("FS_BLOCK_ROWS", "FS_MAX_CHUNKS", "CHUNK_ROWS", "LEAST_CHUNKS", "SPAN_ROWS")
    }
    found |= {
        name: _number(isa[1], rf"define {name} +(\d+)") for name in ("FS_LANES", "FS_CLASSES")
    }
    found |= {
        name: _number(text, rf"define {name} +(\d+)") for name in ("FS_WIDE", "FS_FEW_CLASSES")
    }
    found["batch_size"] = inspect.signature(fastsoftmax.train).parameters["batch_size"].default
    return found


def _number(text: str, pattern: str) -> int:
    """What the first match has: an integer, or a shift or a product of two."""
    match = re.search(pattern, text)
    assert match, f"no {pattern}"
    factors = re.fullmatch(r"(\d+)(?: (<<|\*) (\d+))?", match[1].strip())
    assert factors, f"{match[0]} is not a number"
    first, operator, second = factors.groups()
    if operator is None:
        return int(first)
    return int(first) << int(second) if operator == "<<" else int(first) * int(second)


def divide_up(a: int, b: int) -> int:
    return -(-a // b)


def tile_vectors(n: dict[str, int]) -> int:
    """The vectors of features that a tile has: FS_WIDER."""
    return n["FS_CLASSES"] // n["FS_FEW_CLASSES"] * n["FS_WIDE"]


# ---- shapes ----


class Canvas:
    """One pair of axes in units of 1/100 inch, from the top left."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width / 100, height / 100))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")

    def box(self, x: float, y: float, w: float, h: float, color: str, line: float = 0.8) -> None:
        self.axes.add_patch(Rectangle((x, y), w, h, facecolor=color, edgecolor=INK, lw=line))

    def zoom(self, small: tuple[float, ...], large: tuple[float, ...], color: str) -> None:
        """A beam from the right edge of one box (x, y, w, h) to the left edge of another."""
        (x, y, w, h), (u, v, _, t) = small, large
        corners = [(x + w, y), (u, v), (u, v + t), (x + w, y + h)]
        self.axes.add_patch(Polygon(corners, facecolor=color, alpha=0.45, lw=0, zorder=0))

    def line(
        self, x: float, y: float, u: float, v: float, color: str = INK, width: float = 0.8
    ) -> None:
        self.axes.plot((x, u), (y, v), color=color, lw=width, solid_capstyle="butt")

    def arrow(self, x: float, y: float, u: float, v: float, color: str = INK) -> None:
        style = {"arrowstyle": "-|>", "color": color, "lw": 1, "shrinkA": 0, "shrinkB": 0}
        self.axes.annotate("", (u, v), (x, y), arrowprops=style)

    def brace(self, x: float, y: float, w: float, color: str) -> None:
        """A bracket below (x, y) of that width."""
        self.axes.plot((x, x, x + w, x + w), (y, y + 6, y + 6, y), color=color, lw=1.2)

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        self.axes.text(x, y, text, **{"fontsize": 9.5, "color": INK, "va": "center", **style})

    def label(self, x: float, y: float, text: str, ground: str = "white") -> None:
        """Text that can be read over lines."""
        box = {"facecolor": ground, "edgecolor": "none", "alpha": 0.85, "pad": 2}
        self.text(x, y, text, ha="center", bbox=box)

    def side(self, box: tuple[float, ...], above: str, left: str) -> None:
        """What the two sides of a box count."""
        x, y, w, h = box
        self.text(x + w / 2, y - 11, above, ha="center", color=GREY)
        self.text(x - 11, y + h / 2, left, ha="center", rotation=90, color=GREY)

    def tree(self, x: float, centres: list[float]) -> float:
        """Joins neighbours, two by two, from x to the right; returns where the last one ends."""
        while len(centres) > 1:
            pairs = [centres[i : i + 2] for i in range(0, len(centres), 2)]
            for pair in pairs:
                for y in pair:
                    self.line(x, y, x + 24, y)
                self.line(x + 24, pair[0], x + 24, pair[-1])
            centres, x = [sum(pair) / len(pair) for pair in pairs], x + 24
        self.line(x, centres[0], x + 24, centres[0])
        return x + 24

    def word(self, x: float, y: float, word: str, meaning: str, color: str, **style: Any) -> None:
        """A word of the glossary, and under it what it is here."""
        self.text(x, y, word, fontsize=11.5, fontweight="bold", color=color, **style)
        self.text(
            x, y + 17, meaning, fontsize=9.5, color=GREY, va="top", linespacing=1.35, **style
        )

    def title(self, y: float, text: str, sub: str, color: str) -> None:
        self.text(30, y, text, fontsize=15, fontweight="bold", color=color)
        self.text(30, y + 21, sub, fontsize=9.5, color=GREY)


# ---- the three strips ----


def draw_rows(c: Canvas, n: dict[str, int], top: float) -> None:
    batch, block, panel = n["batch_size"], n["FS_BLOCK_ROWS"], tile_vectors(n) * n["FS_LANES"]
    n_chunks, chunk_rows = chunks_of(batch)
    c.title(top, "Rows", "what a step reads, cut by the number of rows alone", ROWS[3])
    top += 62
    height, below = 250, top + 276

    c.box(40, top, 110, height, ROWS[0])
    for i in range(30):  # the rows of one batch, which may lie anywhere
        y = top + 5 + (i * 97 + 31) % (height - 10)
        c.line(41, y, 149, y, ROWS[3], 1.1)
    c.box(40, top, 110, height, "none", 1.6)
    c.word(40, below, "rows", f"x is (N, D): {N:,} rows\nof {D} features", ROWS[3])
    c.arrow(160, top + height / 2, 230, top + height / 2)
    c.text(193, top + height / 2 - 14, "order", ha="center", fontstyle="italic", color=GREY)

    band = height / n_chunks
    for i in range(n_chunks):
        c.box(240, top + i * band, 130, band, ROWS[1])
        c.text(305, top + (i + 0.5) * band, f"chunk {i}", ha="center")
    c.box(240, top, 130, height, "none", 1.6)
    c.word(240, below, "batch", f"the {batch} rows of a step", ROWS[3])
    most = block * n["FS_MAX_CHUNKS"]
    c.word(
        240, below + 58, "chunk",
        f"{chunk_rows} of them, a piece of work\n(more in batches of over {most:,})", ROWS[3],
    )  # fmt: skip

    x, y, w, h = large = (480, top + 26, 300, 198)
    c.zoom((240, top + band, 130, band), large, ROWS[1])
    c.box(*large, ROWS[2])
    c.box(x + 2 * w * panel / D, y, w * panel / D, h, ROWS[3], 0)
    for i in range(4, block, 4):
        c.line(x, y + i * h / block, x + w, y + i * h / block, "white", 0.5)
    c.box(*large, "none", 1.6)
    c.side(large, f"{D} features", f"{block} rows")
    c.word(x, below, "block", f"the at most {block} rows that a kernel holds at a time", ROWS[3])
    c.word(
        x, below + 58, "panel",
        f"a copy of {panel} features (dark) of many rows,\n"
        "side by side, to be read again and again", ROWS[3],
    )  # fmt: skip

    c.arrow(x + w + 10, y + h / 2, 850, y + h / 2)
    x, y, w, h = work = (880, top + 79, 280, 92)
    c.box(*work, ROWS[0])
    for k in range(1, K):
        c.line(x, y + k * h / K, x + w, y + k * h / K, ROWS[2], 0.7)
    c.box(*work, "none", 1.6)
    c.side(work, f"{block} rows, in lanes", f"{K} classes")
    c.label(x + w / 2, y + h / 2, "logits, then residuals")
    c.word(
        x, below, "workspace",
        f"where a block is worked on: (K, {block})\nlogits, which become residuals", ROWS[3],
    )  # fmt: skip


def draw_weight(c: Canvas, n: dict[str, int], top: float) -> None:
    lanes, classes, wide = n["FS_LANES"], n["FS_CLASSES"], tile_vectors(n)
    n_vectors, n_groups = divide_up(D, lanes), MANY_CLASSES // classes
    n_tiles = divide_up(n_vectors, wide)
    c.title(
        top, "Weight",
        f"(K, D), here of {MANY_CLASSES} classes, with the numbers of x86-64-v4; its gradient is "
        "cut in the same way", WEIGHT[3],
    )  # fmt: skip
    top += 84
    x, y, w, h = whole = (40, top, 392, 150)
    width, height = w * wide / n_vectors, h / n_groups
    for g in range(n_groups):
        for t in range(n_tiles):
            left, color = x + t * width, WEIGHT[1] if g == 1 else WEIGHT[0]
            c.box(left, y + g * height, min(width, x + w - left), height, color, 0.6)
    tile = (x + (n_tiles - 2) * width, y + height, width, height)
    c.box(*tile, WEIGHT[2], 1.4)
    c.box(*whole, "none", 1.6)
    c.side(whole, f"{D} features: {n_vectors} vectors of {lanes}", f"{MANY_CLASSES} classes")
    below = top + h + 26
    c.word(
        x, below, "class group", f"{classes} classes, which a kernel\ntakes together", WEIGHT[3]
    )
    c.word(
        x + 210, below, "tile",
        f"a class group by {wide} vectors:\n{classes} classes by {wide * lanes} features",
        WEIGHT[3],
    )  # fmt: skip

    x, y, w, h = large = (540, top - 18, 300, 186)
    c.zoom(tile, large, WEIGHT[1])
    for k in range(classes):
        for v in range(wide):
            c.box(x + v * w / wide, y + k * h / classes, w / wide, h / classes, WEIGHT[1], 0.5)
    one = (x + (wide - 1) * w / wide, y + 4 * h / classes, w / wide, h / classes)
    c.box(*one, WEIGHT[2], 1.4)
    c.box(*large, "none", 1.6)
    c.side(large, f"{wide} vectors", f"{classes} classes")

    vector = (930, top + 56, 230, 30)
    c.zoom(one, vector, WEIGHT[1])
    for lane in range(lanes):
        c.box(930 + lane * 230 / lanes, top + 56, 230 / lanes, 30, WEIGHT[2], 0.5)
    c.box(*vector, "none", 1.6)
    c.word(
        930, below, "vector",
        f"{lanes} neighbouring features of a class,\none in each lane of a register", WEIGHT[3],
    )  # fmt: skip

    y = top + 266
    c.word(
        40,
        y,
        "packed",
        "the copy that the kernels walk,\none class group after another",
        WEIGHT[3],
    )
    x, w, h, bias = 300, 860, 36, 56
    part = (w - bias) / n_groups
    for g in range(n_groups):
        c.box(x + g * part, y - 6, part, h, WEIGHT[1] if g == 1 else WEIGHT[0])
        for t in range(1, n_tiles):
            left = x + g * part + t * part * wide / n_vectors
            c.line(left, y - 6, left, y - 6 + h, GREY, 0.4)
        c.label(
            x + (g + 0.5) * part,
            y - 6 + h / 2,
            f"class group {g}",
            WEIGHT[1] if g == 1 else WEIGHT[0],
        )
    c.box(x + n_groups * part, y - 6, bias, h, WEIGHT[0])
    c.text(x + w - bias / 2, y - 6 + h / 2, "bias", ha="center")
    c.box(x, y - 6, w, h, "none", 1.6)
    for i in range(THREADS):
        left = x + i * w / THREADS
        c.brace(left + 3, y + h, w / THREADS - 6, WEIGHT[3])
        c.text(
            left + w / THREADS / 2,
            y + h + 19,
            f"slice {i}",
            ha="center",
            color=WEIGHT[3],
            fontweight="bold",
        )


def draw_step(c: Canvas, n: dict[str, int], top: float) -> None:
    batch, span = n["batch_size"], n["SPAN_ROWS"]
    owner = (CALL[1], CALL[2])
    c.title(
        top, "Step",
        f"an epoch is {divide_up(N, batch)} of them, in one call; a step is a row of phases, and "
        "a phase a number of items, each with an owner:", CALL[3],
    )  # fmt: skip
    for i, color in enumerate(owner):
        c.box(838 + i * 88, top + 14, 14, 14, color)
        c.text(858 + i * 88, top + 21, f"thread {i}", fontsize=9.5, color=GREY)
    top += 68

    n_chunks, _ = chunks_of(batch)
    c.text(40, top, "by rows", fontsize=11.5, fontweight="bold", color=CALL[3])
    c.text(122, top, "where the weight is small", fontsize=9.5, color=GREY)
    y0, h, gap = top + 50, 34, 8
    total = n_chunks * (h + gap) - gap
    c.text(40, y0 - 16, "phase 1: an item is a chunk", color=GREY)
    centres = [y0 + i * (h + gap) + h / 2 for i in range(n_chunks)]
    for i, y in enumerate(centres):
        c.box(40, y - h / 2, 90, h, owner[i * THREADS // n_chunks])
        c.text(85, y, f"chunk {i}", ha="center")
        c.arrow(132, y, 168, y)
        c.box(170, y - h / 2, 90, h, WEIGHT[1])
        c.text(215, y, f"partial {i}", ha="center")
    c.arrow(c.tree(260, centres), y0 + total / 2, 358, y0 + total / 2)
    c.text(360, y0 - 16, "phase 2: an item is a slice", color=GREY)
    for i in range(THREADS):
        c.box(360, y0 + i * total / THREADS, 180, total / THREADS, owner[i])
        c.text(450, y0 + (i + 0.5) * total / THREADS, f"slice {i}", ha="center")
    c.box(360, y0, 180, total, "none", 1.6)
    below = y0 + total + 28
    c.word(40, below, "partial", "gradient of a chunk,\n(K, D) and (K,)", CALL[3])
    c.word(215, below, "tree", "partials are added\nin a fixed order", CALL[3])
    c.word(360, below, "slice", "parameters that a thread\nadds up and updates", CALL[3])

    c.line(590, top - 8, 590, below + 50, "#cfd6dd")
    x = 640
    c.text(x, top, "by tiles", fontsize=11.5, fontweight="bold", color=CALL[3])
    c.text(
        x + 82,
        top,
        "where it is large, or rows are few beside the classes",
        fontsize=9.5,
        color=GREY,
    )
    n_spans = LARGE_BATCH // span
    c.text(x, y0 - 16, f"batch of {LARGE_BATCH:,}", color=GREY)
    for i in range(n_spans):
        y = y0 + i * total / n_spans
        c.box(x, y, 90, total / n_spans, ROWS[0] if i else ROWS[2])
        c.text(x + 45, y + total / n_spans / 2, f"span {i}", ha="center")
    c.box(x, y0, 90, total, "none", 1.6)
    held = (x + 134, y0, 130, total)
    c.zoom((x, y0, 90, total / n_spans), held, ROWS[1])
    in_span, rows = chunks_of(span)
    for i in range(in_span):
        y = y0 + i * total / in_span
        c.box(held[0], y, 130, total / in_span, owner[i * THREADS // in_span], 0.5)
    c.box(*held, "none", 1.6)
    c.text(held[0], y0 - 16, "phase 1: residuals", color=GREY)
    c.label(held[0] + 65, y0 + total / 2, f"{in_span} chunks\nof {rows} rows")
    c.arrow(held[0] + 132, y0 + total / 2, held[0] + 168, y0 + total / 2)
    left, width, columns, lines = held[0] + 170, 216, 13, 6
    for i in range(columns):
        for j in range(lines):
            at = (left + i * width / columns, y0 + j * total / lines)
            c.box(*at, width / columns, total / lines, owner[i * THREADS // columns], 0.5)
    c.box(left, y0, width, total, "none", 1.6)
    c.text(left, y0 - 16, "phase 2: an item is some tiles", color=GREY)
    c.label(left + width / 2, y0 + total / 2, "each over all rows\nof the span")
    c.word(
        x, below, "span", f"the up to {span:,} rows whose residuals\nare held at a time", CALL[3]
    )
    c.word(left, below, "item", "done by whoever is free:\nthe bits are the same", CALL[3])


def draw(n: dict[str, int]) -> Figure:
    """The picture, of these numbers."""
    with rc_context({"font.family": "DejaVu Sans"}):
        c = Canvas(1200, 1350)
        draw_rows(c, n, 40)
        draw_weight(c, n, 520)
        draw_step(c, n, 980)
    return c.figure


def main() -> None:
    n = numbers()
    metadata = {
        "Date": None,
        "Creator": None,
        "Title": "The parts of a batch, of the weight and of a step",
        "Description": json.dumps(n),
    }
    with rc_context({"svg.hashsalt": "fastsoftmax", "svg.fonttype": "path"}):
        draw(n).savefig(PICTURE, metadata=metadata, facecolor="white")


if __name__ == "__main__":
    main()
