"""Everything that is measured on one image: what an audit writes down and computes its summary from.

The parts share what is expensive (the winners of the cells, their means, the overlaps), which is why they are put
together here and not by whoever wants one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import activate
from onnx_gapmil.data.slices import object_share
from onnx_gapmil.files.memory import shared
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics.accuracy import label_ranks
from onnx_gapmil.metrics.background import Background, above_mean, background_reliance
from onnx_gapmil.metrics.boxes import BoxHits, box_hits
from onnx_gapmil.metrics.calibration import brier_score, log_loss
from onnx_gapmil.metrics.causes import Cause, Margin, error_cause, lost_margin
from onnx_gapmil.metrics.control import rank_matched_control
from onnx_gapmil.metrics.edges import Edges, edge_artefacts
from onnx_gapmil.metrics.foreground import Recovery, foreground_recovery, right_cells
from onnx_gapmil.metrics.image_cells import ImageCells
from onnx_gapmil.metrics.overlap import (
    HALF,
    ObjectBox,
    cell_overlap,
    cell_overlap_of_mask,
    cell_overlaps,
    foreground_cells,
)
from onnx_gapmil.metrics.pointing import Pointing, best_cells, centre_in_boxes, centre_in_mask, touches
from onnx_gapmil.metrics.pxap import PixelScores, pixel_scores
from onnx_gapmil.metrics.scoremap import boxes_on_map, mask_on_map, score_map
from onnx_gapmil.metrics.several import Several, several_objects
from onnx_gapmil.metrics.targets import Target, labelled, targets_of
from onnx_gapmil.metrics.temperature import likelihood_ladder

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ImageMeasures:
    """One image's measures; what could not be measured is None, and so is all that needs the objects' places.

    Attributes:
        labels: the true classes.
        prediction: the class of the highest logit.
        right: whether it is a true one; without labels, whether no class is present.
        ranks: of each label, from 0; see `label_ranks`.
        confidence: the probability of the prediction.
        nll: negative log-likelihood of the label; of images with one label.
        brier: Brier score; of images with one label.
        label_probability: the probability of the label; of several, their sum, at most 1.
        label_cells: cells that a label wins, wherever they lie.
        object_share: the share of the photo that the labels' object takes; see `object_share`.
        foreground_cells: flat indices of the cells on the object.
        foreground: what these cells know.
        cause: why the mean failed; of images answered wrongly.
        recoverable: whether a true class wins a cell on the object; as `cause`.
        control: how many of the label's neighbours in the image's ranking do; as `cause`.
        margin: by how much the true class lost, and where; as `cause`.
        background: how much of the evidence lies outside the object.
        edges: how loudly the outermost cells speak.
        pointing: the pointing games.
        localization: at which thresholds the boxes fit; one for each kind of object that the network sees.
        pxap: the pixels of the mask and the others, by score.
        several: how many objects are found; of images with two kinds or more.
        placeless_share: how much of the answer no place brings, of a head that reads a class token.
        nll_ladder: the negative log-likelihood of the label at each of `LADDER`'s temperatures, where it was asked for;
            of images with one label.
    """

    labels: tuple[int, ...]
    prediction: int
    right: bool
    ranks: tuple[int, ...]
    confidence: float
    nll: float | None
    brier: float | None
    label_probability: float | None = None
    label_cells: int | None = None
    object_share: float | None = None
    foreground_cells: tuple[int, ...] | None = None
    foreground: Recovery | None = None
    cause: Cause | None = None
    recoverable: bool | None = None
    control: float | None = None
    margin: Margin | None = None
    background: Background | None = None
    edges: Edges | None = None
    pointing: Pointing | None = None
    localization: tuple[BoxHits, ...] | None = None
    pxap: PixelScores | None = None
    several: Several | None = None
    placeless_share: float | None = None
    nll_ladder: tuple[float, ...] | None = None


@dataclass(frozen=True)
class _Scene:
    """One image with what several parts need."""

    logits: Array
    cells: ImageCells
    winners: npt.NDArray[np.intp]
    labels: tuple[int, ...]
    prediction: int
    geometry: Geometry
    present: frozenset[int]
    targets: tuple[Target, ...]
    named: tuple[Target, ...]
    mask: Flags | None
    multi_label: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.cells.shape


def measure_image(
    logits: npt.ArrayLike,
    grid: npt.ArrayLike | ImageCells,
    *,
    labels: Sequence[int],
    geometry: Geometry,
    boxes: Sequence[ObjectBox] = (),
    mask: Flags | None = None,
    probabilities: npt.ArrayLike | None = None,
    arranged: bool = True,
    localization: bool = True,
    multi_label: bool = False,
    ladder: bool = False,
) -> ImageMeasures:
    """Measure one image.

    Args:
        logits: (K,), finite, K at least 2.
        grid: (K, H, W), finite; or its cells, where they are at hand.
        labels: the true classes, at least one; of a multi-label head there may be none.
        geometry: where the network's input lies in the photo.
        boxes: of objects; those whose classes hold no label count for `several` alone.
        mask: (h, w) of the upright photo, true on the objects of the labels. Where there is one, foreground and
            background follow it and not the boxes.
        probabilities: (K,) of the image, by the model's own activation; the softmax of the logits by default.
        arranged: whether rows and columns of the grid are known; without them no place is measured.
        multi_label: whether each class is present by itself, where its logit is above 0 (its threshold is taken off
            before); a cell in which none is present wins for nobody.
        ladder: whether to keep the label's likelihood at other temperatures, of one label among many.
        localization: whether to compute boxes and PxAP, about 2.5 ms for each kind of object.

    Raises:
        InputError: the mask has not the size of the photo.
    """
    cells = ImageCells.of(grid)
    scores = np.asarray(logits, dtype=np.float64)
    chances = activate(scores, "softmax") if probabilities is None else np.asarray(probabilities, dtype=np.float64)
    winners = np.where(cells.highest > 0.0, cells.winners, -1) if multi_label else cells.winners
    targets = targets_of(boxes, labels)
    scene = _Scene(
        logits=scores,
        cells=cells,
        winners=winners,
        labels=tuple(int(label) for label in labels),
        prediction=int(scores.argmax()),
        geometry=geometry,
        present=frozenset(index for target in targets for index in target.classes),
        targets=targets,
        named=labelled(targets, labels),
        mask=mask,
        multi_label=multi_label,
    )
    # The parts are put together once: to replace fields of so large a record again and again takes its time.
    parts = _image_level(scene, chances)
    if ladder and not multi_label and len(scene.labels) == 1:
        parts["nll_ladder"] = likelihood_ladder(scores, scene.labels[0])
    if arranged:
        parts |= _by_place(scene, localization)
    return ImageMeasures(**parts)


def _image_level(scene: _Scene, chances: Array) -> dict[str, Any]:
    ranks = tuple(label_ranks(scene.logits, scene.labels).tolist())
    alone = scene.labels[0] if len(scene.labels) == 1 else None
    return {
        "labels": scene.labels,
        "prediction": scene.prediction,
        "right": min(ranks) < 1 if ranks else bool(scene.logits.max() <= 0.0),
        "ranks": ranks,
        "confidence": float(min(max(chances[scene.prediction], 0.0), 1.0)),
        "nll": log_loss(chances, alone) if alone is not None else None,
        "brier": brier_score(chances, alone) if alone is not None else None,
        "label_probability": float(min(max(chances[list(scene.labels)].sum(), 0.0), 1.0)),
        "label_cells": sum(int(np.count_nonzero(scene.winners == label)) for label in set(scene.labels)),
        "object_share": object_share(
            scene.geometry.image_size[::-1],
            [box for target in scene.named for box in target.boxes],
            float(scene.mask.mean()) if scene.mask is not None else None,
        ),
    }


def _by_place(scene: _Scene, localization: bool) -> dict[str, Any]:
    centred = scene.cells.values.astype(np.float64)
    means = centred.mean(axis=1)
    # What is added to all logits of a cell changes no softmax; a sigmoid speaks for its class above its threshold.
    level = np.zeros_like(means) if scene.multi_label else means
    own = scene.cells.of_class(scene.prediction)
    speaking = above_mean(own, level)
    won = scene.winners == scene.prediction
    centred -= means[:, None]
    energy = np.einsum("pk,pk->p", centred, centred)
    best = int(own.argmax())
    found = _on_objects(scene, speaking, won)
    found["edges"] = edge_artefacts(speaking, won, energy, best, scene.shape, scene.geometry)
    found["several"] = several_objects(scene.logits, scene.winners, scene.targets, scene.geometry, scene.shape)
    if localization:
        found |= {"localization": _box_hits(scene) or None, "pxap": _pixel_scores(scene)}
    return found


def _on_objects(scene: _Scene, speaking: Array, won: Flags) -> dict[str, Any]:
    """What needs to know where the objects of the labels are; nothing where nobody says so."""
    overlaps = [cell_overlaps(target.boxes, scene.geometry, scene.shape).max(axis=0) for target in scene.named]
    if scene.mask is not None and scene.labels:
        highest = overlap = cell_overlap_of_mask(scene.mask, scene.geometry, scene.shape)
    elif scene.named:
        highest = np.max(overlaps, axis=0)
        overlap = cell_overlap([box for target in scene.named for box in target.boxes], scene.geometry, scene.shape)
    else:
        return {}
    chosen = foreground_cells(highest)
    if chosen is None:
        return {}
    foreground = chosen.ravel()
    truths, allowed = _true_classes(scene, overlaps)
    found = {
        "foreground_cells": shared(tuple(np.flatnonzero(foreground).tolist())),
        "foreground": foreground_recovery(scene.cells.values, truths, foreground, allowed, scene.winners),
        "background": background_reliance(speaking, won, overlap, foreground, scene.geometry),
        "pointing": _pointing(scene, overlaps, overlap),
    }
    if scene.prediction in scene.labels:
        return found
    right = right_cells(scene.winners, truths, foreground, allowed)
    cause = error_cause(scene.winners, scene.prediction, right, foreground)
    label = _best_label(scene)
    present = {*scene.present, *scene.labels, scene.prediction}
    return found | {
        "cause": cause,
        "recoverable": cause != "absent",
        "control": rank_matched_control(scene.logits, label, scene.winners, foreground, present),
        "margin": lost_margin(scene.cells.of_class(label), scene.cells.of_class(scene.prediction), foreground),
    }


def _best_label(scene: _Scene) -> int:
    """Of the true classes the one that scored highest."""
    return Target(tuple(sorted(scene.labels)), ()).representative(scene.logits)


def _true_classes(scene: _Scene, overlaps: Sequence[Array]) -> tuple[tuple[int, ...], Flags | None]:
    """The true classes, and for each in which foreground cells it is true; None where they do not differ by place.

    In a cell that lies at least half in boxes, those boxes' classes are true; in one that none holds by half, those of
    the boxes that touch it; in one that no box touches (of a mask), all.
    """
    truths = tuple(sorted(set(scene.labels).union(*(target.classes for target in scene.named))))
    if len(scene.named) < 2:
        return truths, None
    shares = np.array([overlap.ravel() for overlap in overlaps])
    here = shares >= HALF
    here |= (shares > 0.0) & ~here.any(axis=0)
    here |= ~here.any(axis=0)
    allowed = np.array(
        [
            here[[label in target.classes for target in scene.named]].any(axis=0)
            if any(label in target.classes for target in scene.named)
            else np.zeros(here.shape[1], dtype=np.bool_)
            for label in truths
        ]
    )
    return truths, allowed


def _pointing(scene: _Scene, overlaps: Sequence[Array], mask_overlap: Array) -> Pointing:
    """One game for each kind of object that the network sees; of a mask without boxes, one."""
    games = [
        (touches(best_cells(scene.cells.values, target.representative(scene.logits)), overlap), target)
        for target, overlap in zip(scene.named, overlaps, strict=True)
        if overlap.any()
    ]
    if games:
        hits = sum(hit for hit, _ in games)
        centre = sum(centre_in_boxes(target.boxes, scene.geometry) for _, target in games)
        return Pointing(len(games), hits, centre)
    hit = touches(best_cells(scene.cells.values, _best_label(scene)), mask_overlap)
    return Pointing(1, int(hit), int(scene.mask is not None and centre_in_mask(scene.mask)))


def _box_hits(scene: _Scene) -> tuple[BoxHits, ...]:
    """One for each kind of object that the network sees."""
    found = []
    for target in scene.named:
        boxes = boxes_on_map(target.boxes, scene.geometry)
        if len(boxes):
            own = score_map(scene.cells.grid[target.representative(scene.logits)])
            found.append(box_hits(own, boxes, answered=scene.prediction in target.classes))
    return tuple(found)


def _pixel_scores(scene: _Scene) -> PixelScores | None:
    if scene.mask is None or not scene.labels:
        return None
    return pixel_scores(score_map(scene.cells.grid[_best_label(scene)]), mask_on_map(scene.mask, scene.geometry))
