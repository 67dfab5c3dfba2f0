"""`Ranking`: what the detective found, as a value."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from onnx_gapmil.files.blob import Source
from onnx_gapmil.images.preprocess import Preprocess

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class RankingRow:
    """One candidate and how it did.

    Attributes:
        name: of its normalization and colours: a preset's, with the colour order where that is not the
            preset's own ("imagenet BGR"), or "as given".
        preprocess: all of it.
        offset: what was added to the labels to make them the model's classes.
        images: on how many images it was tried.
        top1: share of the images.
        top5: share of the images.
        log_prob: mean natural logarithm of the probability of the right classes.
        cell_agreement: mean share of cells whose best class is right.
        cell_top5: mean share of cells with a right class among their five best.
        chosen: whether this is the one.
        tied: whether it was tried on all images and the chosen one cannot be told from it on them.
    """

    name: str
    preprocess: Preprocess
    offset: int
    images: int
    top1: float
    top5: float
    log_prob: float
    cell_agreement: float
    cell_top5: float
    chosen: bool
    tied: bool

    @property
    def resizing(self) -> str:
        """Resize rule, crop and interpolation in a few words, such as "shortest 0.875, bilinear"."""
        return resizing(self.preprocess)

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON types."""
        return {
            "name": self.name,
            "preprocess": self.preprocess.to_json(),
            "offset": self.offset,
            "images": self.images,
            "top1": self.top1,
            "top5": self.top5,
            "log_prob": self.log_prob,
            "cell_agreement": self.cell_agreement,
            "cell_top5": self.cell_top5,
            "chosen": self.chosen,
            "tied": self.tied,
        }


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates for a model's preprocessing, ranked by labelled images.

    Attributes:
        rows: those tried on all images first, then the others; each part by top-1, top-5, log-probability
            and cells, best first.
        best: the preprocessing that was chosen: the first row, or among those that cannot be told from it
            the one that is the documented default or comes nearest to it.
        offset: the class offset that was chosen with it.
        images: how many were tried.
        failed: (file, reason) of those that could not be read.
        forward_passes: images that the model was run on, all candidates together.
        conclusive: whether any candidate is better than guessing. If none is, `best` is the default.
        sentence: the finding, for people.
    """

    rows: tuple[RankingRow, ...]
    best: Preprocess
    offset: int
    images: int
    failed: tuple[tuple[Source, str], ...]
    forward_passes: int
    conclusive: bool
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """The ranking as plain JSON types, with a `schema_version`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "sentence": self.sentence,
            "conclusive": self.conclusive,
            "best": self.best.to_json(),
            "offset": self.offset,
            "images": self.images,
            "failed": [{"image": str(path).replace(os.sep, "/"), "error": reason} for path, reason in self.failed],
            "forward_passes": self.forward_passes,
            "rows": [row.to_json() for row in self.rows],
        }


def resizing(preprocess: Preprocess) -> str:
    """Resize rule, crop and interpolation in a few words."""
    crop = "" if preprocess.crop == 1.0 else f" {preprocess.crop:.4g}"
    return f"{preprocess.resize}{crop}, {preprocess.interpolation}"
