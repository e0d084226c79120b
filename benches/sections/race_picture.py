"""The picture of the race: a bar for each contender, a line for each limit."""

import textwrap
from itertools import cycle
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benches.harness.spec import Spec

COLORS = {"ours": "#d1495b", "peer": "#9aa5b1"}
LIMIT_COLORS = ["#00798c", "#e09f3e"]
INK = "#222222"


def draw(times: dict[Spec, list[float]], title: str, caption: str, path: Path) -> None:
    """Medians, with a mark at the minimum; the minima of the limits. Forced ISAs are left out."""
    shown = {
        spec: [1e3 * s for s in seconds]
        for spec, seconds in times.items()
        if not spec.env.get("FASTSOFTMAX_ISA")
    }
    bars = sorted(
        (spec for spec in shown if spec.kind != "limit"), key=lambda spec: -median(shown[spec])
    )
    limits = [spec for spec in shown if spec.kind == "limit"]

    figure, axes = plt.subplots(figsize=(10, 1.9 + 0.42 * len(bars)), layout="constrained")
    widest = max(median(shown[spec]) for spec in bars)
    for y, spec in enumerate(bars):
        middle, least = median(shown[spec]), min(shown[spec])
        axes.barh(y, middle, height=0.66, color=COLORS[spec.kind], zorder=2)
        axes.plot([least, least], [y - 0.33, y + 0.33], color="white", linewidth=1.6, zorder=3)
        axes.text(
            middle + 0.008 * widest,
            y,
            f"{middle:.1f} ms",
            va="center",
            color=INK,
            weight="bold" if spec.kind == "ours" else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            zorder=6,
        )
    for color, spec in zip(cycle(LIMIT_COLORS), limits, strict=False):
        least = min(shown[spec])
        label = f"{spec.label}, {least:.1f} ms"
        axes.axvline(least, color=color, linestyle="--", linewidth=1.4, label=label, zorder=5)

    axes.set_yticks(range(len(bars)), [spec.label for spec in bars])
    for tick, spec in zip(axes.get_yticklabels(), bars, strict=True):
        tick.set_weight("bold" if spec.kind == "ours" else "normal")
    axes.set_xlim(0, 1.13 * widest)
    axes.set_xlabel("milliseconds per epoch, median (white mark: minimum); less is better")
    axes.set_title("\n".join(textwrap.wrap(title, 84)), loc="left", fontsize=10.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e4e7eb", zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="none")
    figure.supxlabel("\n".join(textwrap.wrap(caption, 125)), fontsize=8, color="#6b7280", x=0.5)
    figure.savefig(path, dpi=160)
    plt.close(figure)
