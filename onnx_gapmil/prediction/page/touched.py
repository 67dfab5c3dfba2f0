"""What a report keeps of an image beside some classes' maps, so that it can be touched as a photo of the page can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.reading import Reading
from onnx_gapmil.prediction.page.encoding import best_of_cells, text_of
from onnx_gapmil.running.prediction_grid import PredictionGrid


@dataclass(frozen=True)
class TouchedAnswer:
    """What a head says of an image, beside the cells of some classes.

    Attributes:
        shape: (rows, columns) of the grid, also where it is not known where they lie.
        best_kept: whether the five best classes of every cell are among those whose cells are kept.
        logits: of the image, of the classes whose cells are kept, little-endian float32, in Base64.
        sum: the log-sum-exp of the image's logits of all classes.
        winners: of each cell the class that wins it, -1 for nobody, little-endian int32, in Base64.
        placeless: the share of the answer that no place brings; None of a head without a class token.
    """

    shape: tuple[int, int]
    best_kept: bool
    logits: str
    sum: float
    winners: str
    placeless: float | None


def touched_answer(
    grid: npt.NDArray[Any],
    logits: npt.NDArray[Any],
    reading: Reading,
    classes: Sequence[int],
    placeless: float | None,
) -> TouchedAnswer:
    """What is kept of an answer.

    Args:
        grid: (K, rows, columns), logits of the classes.
        logits: (K,), of the image.
        reading: how they are read.
        classes: whose cells are kept.
        placeless: see `placeless_of`.
    """
    cells, whole = np.asarray(grid, dtype=np.float64), np.asarray(logits, dtype=np.float64)
    return TouchedAnswer(
        shape=(int(cells.shape[1]), int(cells.shape[2])),
        best_kept=set(best_of_cells(cells, reading)) <= set(classes),
        logits=text_of(whole[list(classes)].astype("<f4")),
        sum=float(np.logaddexp.reduce(whole)),
        winners=text_of(reading.winners(cells).astype("<i4")),
        placeless=placeless,
    )


def placeless_of(found: PredictionGrid, row: int, *, independent: bool) -> float | None:
    """The share of the answer of a batch's row that no place brings; None of a head without a class token."""
    shares = found.placeless_share(independent=independent)
    return None if shares is None or not np.isfinite(shares[row]) else float(shares[row])
