"""The demo's picture: digits with predictions. Importing this module needs the extra [plot]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from magicmind.errors import MissingExtraError

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtraError("matplotlib is not installed", hint="pip install 'magicmind[plot]'") from error

Array = np.ndarray[Any, Any]
ROWS, COLUMNS = 4, 8


def draw_predictions(images: Array, labels: Array, probabilities: Array, path: Path) -> None:
    """Saves a sheet of digits (images [N, H, W], labels [N], probabilities [N, 10]), wrong ones first, in red."""
    predicted = probabilities.argmax(1)
    order = np.argsort(predicted == labels, kind="stable")[: ROWS * COLUMNS]
    figure = Figure(figsize=(1.25 * COLUMNS, 1.5 * ROWS))
    FigureCanvasAgg(figure)
    for place, i in enumerate(order, start=1):
        axis = figure.add_subplot(ROWS, COLUMNS, place)
        axis.imshow(images[i], cmap="gray_r", interpolation="nearest")
        axis.set_axis_off()
        right = predicted[i] == labels[i]
        title = f"{predicted[i]}  {probabilities[i].max():.0%}" + ("" if right else f"\nis a {labels[i]}")
        axis.set_title(title, fontsize=10, color="black" if right else "crimson")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
