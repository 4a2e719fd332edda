"""The picture of `magicmind compare`: the relative error of every tensor. Importing this needs the extra [plot]."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from magicmind.compare import Comparison
from magicmind.errors import Error, MissingExtraError

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtraError("matplotlib is not installed", hint="pip install 'magicmind[plot]'") from error

FLOOR = 1e-9
"""Errors below this are drawn here: the axis is logarithmic."""


def draw_errors(found: Comparison, path: Path) -> None:
    """Saves a chart with one point per tensor in the order of the model; the first that differs is marked.

    Raises Error for a file that cannot be written, or of a kind that is not drawn.
    """
    rows = found.rows
    errors = [np.clip(row.relative_l2, FLOOR, 10.0) for row in rows]
    figure = Figure(figsize=(min(4 + 0.12 * len(rows), 24), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    axis.semilogy(errors, ".-", linewidth=0.8)
    axis.axhline(found.tolerance, color="crimson", linewidth=0.8, label=f"tolerance {found.tolerance:g}")
    if found.first is not None:
        place = rows.index(found.first)
        axis.axvline(place, color="crimson", linestyle=":", label=f"first to differ: {found.first.node}")
    step = max(1, len(rows) // 40)
    axis.set_xticks(range(0, len(rows), step), [row.node[-24:] for row in rows[::step]], rotation=90, fontsize=7)
    axis.set_ylabel("relative L2 error")
    axis.legend()
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise Error(f"the plot {path} cannot be written: {error}", hint="a .png, .svg or .pdf in a folder") from error
