"""The picture of the table of shapes: for each batch a panel of ratios, K by D."""

from math import log2
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benches.sections.shapes_jobs import CLASSES, FEATURES, batch_name
from benches.sections.shapes_race import Result

WIDEST = 8.0  # the colours end there; the numbers go on


def draw(results: list[Result], path: Path) -> None:
    """Colours by the logarithm, white where ours and the best peer are equally fast."""
    batches = list(dict.fromkeys(batch_name(r.job) for r in results))
    figure, panels = plt.subplots(
        1,
        len(batches),
        figsize=(1.2 + 2.9 * len(batches), 3.4),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, batch in zip(panels[0], batches, strict=True):
        cells = {
            (CLASSES.index(r.job.n_classes), FEATURES.index(r.job.n_features)): r
            for r in results
            if batch_name(r.job) == batch
        }
        logs = [
            [
                log2(cells[row, column].ratio) if (row, column) in cells else float("nan")
                for column in range(len(FEATURES))
            ]
            for row in range(len(CLASSES))
        ]
        image = axes.imshow(
            logs, cmap="RdBu", vmin=-log2(WIDEST), vmax=log2(WIDEST), aspect="auto"
        )
        for (row, column), result in cells.items():
            axes.text(
                column,
                row,
                f"{result.ratio:.1f}" if result.ratio >= 1.95 else f"{result.ratio:.2f}",
                ha="center",
                va="center",
                fontsize=8,
                weight="bold" if result.ratio < result.aim else "normal",
                color="white" if abs(log2(result.ratio)) > 2 else "#222222",
            )
        axes.set_title("all rows in one batch" if batch == "all" else f"B = {batch}", fontsize=10)
        axes.set_xticks(range(len(FEATURES)), [str(d) for d in FEATURES])
        axes.set_xlabel("D")
        axes.tick_params(length=0, labelsize=8)
        axes.spines[:].set_visible(False)
    panels[0][0].set_yticks(range(len(CLASSES)), [f"K = {k}" for k in CLASSES])
    bar = figure.colorbar(image, ax=panels, ticks=range(-3, 4), pad=0.01)
    bar.ax.set_yticklabels(["⅛", "¼", "½", "1", "2", "4", "8"])
    bar.outline.set_visible(False)
    figure.suptitle(
        "Best peer ÷ fastsoftmax, float32 rows: above 1 fastsoftmax is faster "
        "(bold: less than aimed at)",
        fontsize=11,
    )
    figure.savefig(path, dpi=140)
    plt.close(figure)
