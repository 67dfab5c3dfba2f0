"""What auxiliary classifiers give: how they place and answer on held-out images, and the model where it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from onnx_gapmil.files.urls import said
from onnx_gapmil.rewriting.result import SCHEMA_VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_gapmil.fitting.pooling.judging import Judgement
    from onnx_gapmil.metrics.intervals import Interval
    from onnx_gapmil.rewriting.auxiliary.proving import AuxiliaryProof
    from onnx_gapmil.validation.refitting.result import FitData
    from onnx_gapmil.validation.refitting.weighing import Weight


@dataclass(frozen=True)
class AuxiliaryHead:
    """One classifier.

    Attributes:
        tensor: the vendor's map that it reads.
        size: (H, W) of it.
        channels: C.
        ridge: how strongly it is tied to 0; infinite where its map tells nothing of the classes, and it is left out.
        costs: by each ridge that was tried the mean cost of images that the fits did not see; empty where it was given.
        converged: whether L-BFGS ended for there was nothing to gain.
        alone: the figure that decides (accuracy, or mean average precision of several labels) of its own answers on the
            held-out images.
    """

    tensor: str
    size: tuple[int, int]
    channels: int
    ridge: float
    costs: Mapping[str, float]
    converged: bool
    alone: float


@dataclass(frozen=True)
class Placed:
    """One measure of place, of the vendor's grid and of the finer one, on the same objects.

    Attributes:
        vendor: the share of the vendor's grid.
        finer: of the finer grid.
        difference: ``finer - vendor``.
        interval: of the difference, 95 %, paired by object, drawing images (or groups of them).
    """

    vendor: float
    finer: float
    difference: float
    interval: Interval


@dataclass(frozen=True)
class Localized:
    """Where the classes are, by the vendor's grid and by the finer one, on the held-out images with boxes.

    Attributes:
        images: that have some.
        objects: kinds of objects in them.
        boxes: MaxBoxAccV2, the mean over IoUs of 0.3, 0.5 and 0.7, each half of the objects at the other half's
            threshold.
        half: the same at an IoU of 0.5 alone.
        pointing: the pointing game, which is the harder the smaller the cells are.
        thresholds: of the boxes, the best for each grid.
    """

    images: int
    objects: int
    boxes: Placed
    half: Placed
    pointing: Placed
    thresholds: tuple[float, float]


@dataclass(frozen=True)
class AuxiliaryFit:
    """Auxiliary classifiers and what they are worth.

    Attributes:
        model: the model's name.
        fit: what was fitted.
        scores: whether they count in the scores of the new output.
        data: the images.
        heads: the classifiers, the finest first.
        cells: (h, w) of the vendor's grid, (H, W) of the finer one.
        held_out: what the answers would be with the classifiers in the scores, beside the vendor's and calibrated only.
        weight: how strongly they count in the finer grid, and what chose that; None where none of them knows anything.
        localized: on held-out images with boxes; None where there are none, or no classifier knows anything.
        reason: why the model was not written; "" where it was.
        output: the new output's name; "" where no classifier knows anything.
        proof: of the model; None where it was not built.
        output_path: where it was written; None where it was not.
        source: where the vendor's model lies.
    """

    model: str
    fit: str
    scores: bool
    data: FitData
    heads: tuple[AuxiliaryHead, ...]
    cells: tuple[tuple[int, int], tuple[int, int]]
    held_out: Judgement
    weight: Weight | None = None
    localized: Localized | None = None
    reason: str = ""
    output: str = ""
    proof: AuxiliaryProof | None = None
    output_path: Path | None = None
    source: Path | None = None

    @property
    def written(self) -> bool:
        """Whether the model was written, or may be."""
        return not self.reason

    def at(self, path: Path) -> AuxiliaryFit:
        """The same, written."""
        return replace(self, output_path=path)

    def to_json(self) -> dict[str, Any]:
        """The report of ``repool --fit sac --json``."""
        placed = self.localized
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "output_path": said(self.output_path) if self.output_path is not None else None,
            "fit": self.fit,
            "reason": self.reason or None,
            "scores": self.scores,
            "output": self.output or None,
            "data": {**vars(self.data), "unreadable": list(self.data.unreadable)},
            "auxiliary": [{**vars(head), "size": list(head.size), "costs": dict(head.costs)} for head in self.heads],
            "cells": {"vendor": list(self.cells[0]), "finer": list(self.cells[1])},
            "weight": self.weight.to_json() if self.weight is not None else None,
            "held_out": self.held_out.to_json(),
            "localization": None
            if placed is None
            else {
                "images": placed.images,
                "objects": placed.objects,
                "maxboxacc_v2": _placed_json(placed.boxes),
                "iou_0.5": _placed_json(placed.half),
                "pointing_game": _placed_json(placed.pointing),
                "thresholds": {"vendor": placed.thresholds[0], "finer": placed.thresholds[1]},
            },
            "proof": self.proof.to_json() if self.proof is not None else None,
        }


def _placed_json(found: Placed) -> dict[str, Any]:
    return {**vars(found), "interval": list(found.interval)}
