"""What a user asks of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.preparation import Request

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_gapmil.fitting.pooling.wish import FitWish


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """What a user asks of a fit.

    Attributes:
        data: model and data, as an audit takes them.
        wish: what to fit.
        output: where to write the model.
        group: column of the data whose images stay together; ``group``, where there is one, if None.
        folds: also judge by so many folds of all images; 0 does not.
        ridge: how strongly the fit is tied to where it began; found by folds of the images of the fit if None.
        seed: of the split.
        require_better: write the model only where the interval of what decides lies above 0.
        force: write it whatever the interval says, and fit however few images there are for a weight.
        scores: of auxiliary classifiers, whether they count in the scores of their output, and not only in its grid.
        budget: bytes that what is kept of the images may take in memory; a quarter of what is free if None.
    """

    data: Request
    wish: FitWish
    output: Path | None = None
    group: str | None = None
    folds: int = 0
    ridge: float | None = None
    seed: int = 0
    require_better: bool = False
    force: bool = False
    scores: bool = False
    budget: int | None = None
