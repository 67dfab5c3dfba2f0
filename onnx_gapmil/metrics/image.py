"""Everything that is measured on one image, as plain JSON: what an audit writes down and computes its summary from.

The parts share what is expensive (the winners of the cells, their means, the covers), which is why they are put
together here and not by whoever wants one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics.accuracy import label_ranks
from onnx_gapmil.metrics.background import above_mean, background_reliance
from onnx_gapmil.metrics.calibration import brier_score, log_loss
from onnx_gapmil.metrics.causes import error_cause, lost_margin
from onnx_gapmil.metrics.edges import edge_artefacts
from onnx_gapmil.metrics.foreground import cells_first, foreground_recovery, right_cells
from onnx_gapmil.metrics.localization import box_hits
from onnx_gapmil.metrics.overlap import (
    HALF,
    ObjectBox,
    cell_cover,
    cell_cover_of_mask,
    cell_covers,
    foreground_cells,
)
from onnx_gapmil.metrics.pointing import Pointing, best_cell, centre_in_boxes, centre_in_mask, touches
from onnx_gapmil.metrics.pxap import pixel_scores
from onnx_gapmil.metrics.scoremap import boxes_on_map, mask_on_map, score_map
from onnx_gapmil.metrics.several import several_objects
from onnx_gapmil.metrics.targets import Target, labelled, targets_of

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Scene:
    """One image with what several parts need."""

    logits: Array
    grid: Array
    cells: Array
    winners: npt.NDArray[np.intp]
    labels: tuple[int, ...]
    prediction: int
    geometry: Geometry
    targets: tuple[Target, ...]
    named: tuple[Target, ...]
    mask: Flags | None

    @property
    def shape(self) -> tuple[int, int]:
        return self.grid.shape[1], self.grid.shape[2]


def measure_image(
    logits: npt.ArrayLike,
    grid: npt.ArrayLike,
    *,
    labels: Sequence[int],
    geometry: Geometry,
    boxes: Sequence[ObjectBox] = (),
    mask: Flags | None = None,
    probabilities: npt.ArrayLike | None = None,
    arranged: bool = True,
    localization: bool = True,
) -> dict[str, Any]:
    """Measure one image.

    Args:
        logits: (K,), finite, K at least 2.
        grid: (K, H, W), finite.
        labels: the true classes, at least one.
        geometry: where the network's input lies in the photo.
        boxes: of objects; those whose classes hold no label count for `several` alone.
        mask: (h, w) of the upright photo, true on the objects of the labels. Where there is one, foreground and
            background follow it and not the boxes.
        probabilities: (K,) of the image, by the model's own activation; the softmax of the logits by default.
        arranged: whether rows and columns of the grid are known; without them no place is measured.
        localization: whether to compute MaxBoxAccV2 and PxAP, about 2.5 ms for each kind of object.

    Returns:
        Plain JSON types, None for what cannot be measured: ``labels``, ``prediction``, ``right``, ``ranks``,
        ``confidence``, ``nll``, ``brier`` (of images with one label); by place ``foreground_cells`` (flat indices),
        ``foreground``, ``cause``, ``recoverable``, ``margin``, ``background``, ``edges``, ``pointing``,
        ``localization`` (a list, one for each kind of object), ``pxap``, ``several``.

    Raises:
        InputError: the mask has not the size of the photo.
    """
    values = np.asarray(grid, dtype=np.float64)
    scores = np.asarray(logits, dtype=np.float64)
    chances = _softmax(scores) if probabilities is None else np.asarray(probabilities, dtype=np.float64)
    cells = cells_first(values)
    targets = targets_of(boxes, labels)
    scene = _Scene(
        logits=scores,
        grid=values,
        cells=cells,
        winners=cells.argmax(axis=1),
        labels=tuple(int(label) for label in labels),
        prediction=int(scores.argmax()),
        geometry=geometry,
        targets=targets,
        named=labelled(targets, labels),
        mask=mask,
    )
    return {**_image_level(scene, chances), **(_by_place(scene, localization) if arranged else dict(_NOWHERE))}


_NOWHERE: dict[str, Any] = dict.fromkeys(
    (
        "foreground_cells",
        "foreground",
        "cause",
        "recoverable",
        "margin",
        "background",
        "edges",
        "pointing",
        "localization",
        "pxap",
        "several",
    )
)


def _image_level(scene: _Scene, chances: Array) -> dict[str, Any]:
    ranks = label_ranks(scene.logits, scene.labels).tolist()
    alone = scene.labels[0] if len(scene.labels) == 1 else None
    return {
        "labels": list(scene.labels),
        "prediction": scene.prediction,
        "right": min(ranks) < 1,
        "ranks": ranks,
        "confidence": float(min(max(chances[scene.prediction], 0.0), 1.0)),
        "nll": log_loss(chances, alone) if alone is not None else None,
        "brier": brier_score(chances, alone) if alone is not None else None,
    }


def _by_place(scene: _Scene, localization: bool) -> dict[str, Any]:
    means = scene.cells.mean(axis=1)
    speaking = above_mean(scene.cells[:, scene.prediction], means)
    won = scene.winners == scene.prediction
    centred = scene.cells - means[:, None]
    energy = np.einsum("pk,pk->p", centred, centred)
    best = best_cell(scene.cells, scene.prediction)
    edges = edge_artefacts(speaking, won, energy, best, scene.shape, scene.geometry)
    several = several_objects(scene.logits, scene.winners, scene.targets, scene.geometry, scene.shape)
    return {
        **_NOWHERE,
        **_on_objects(scene, speaking, won),
        "edges": edges.to_json() if edges is not None else None,
        "several": several.to_json() if several is not None else None,
        **(_localization(scene) if localization else {}),
    }


def _on_objects(scene: _Scene, speaking: Array, won: Flags) -> dict[str, Any]:
    """What needs to know where the objects of the labels are."""
    covers = [cell_covers(target.boxes, scene.geometry, scene.shape).max(axis=0) for target in scene.named]
    if scene.mask is not None:
        highest = cover = cell_cover_of_mask(scene.mask, scene.geometry, scene.shape)
    elif scene.named:
        highest = np.max(covers, axis=0)
        cover = cell_cover([box for target in scene.named for box in target.boxes], scene.geometry, scene.shape)
    else:
        return {}
    chosen = foreground_cells(highest)
    if chosen is None:
        return {}
    foreground = chosen.ravel()
    truths, allowed = _true_classes(scene, covers)
    recovery = foreground_recovery(scene.cells, truths, foreground, allowed, scene.winners)
    return {
        "foreground_cells": np.flatnonzero(foreground).tolist(),
        "foreground": recovery.to_json(),
        **_error(scene, truths, allowed, foreground),
        "background": background_reliance(speaking, won, cover, foreground, scene.geometry).to_json(),
        "pointing": _pointing(scene, covers, cover),
    }


def _true_classes(scene: _Scene, covers: Sequence[Array]) -> tuple[tuple[int, ...], Flags | None]:
    """The true classes, and for each in which foreground cells it is true; None where they do not differ by place.

    In a cell that lies at least half in boxes, those boxes' classes are true; in one that none holds by half, those of
    the boxes that touch it; in one that no box touches (of a mask), all.
    """
    truths = tuple(sorted(set(scene.labels).union(*(target.classes for target in scene.named))))
    if len(scene.named) < 2:
        return truths, None
    shares = np.array([cover.ravel() for cover in covers])
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


def _error(scene: _Scene, truths: tuple[int, ...], allowed: Flags | None, foreground: Flags) -> dict[str, Any]:
    if scene.prediction in scene.labels:
        return {}
    right = right_cells(scene.winners, truths, foreground, allowed)
    cause = error_cause(scene.winners, scene.prediction, right, foreground)
    best = Target(tuple(sorted(scene.labels)), ()).representative(scene.logits)
    return {
        "cause": cause,
        "recoverable": cause != "absent",
        "margin": lost_margin(scene.cells, best, scene.prediction, foreground).to_json(),
    }


def _pointing(scene: _Scene, covers: Sequence[Array], mask_cover: Array) -> dict[str, Any]:
    """One game for each kind of object that the network sees; of a mask without boxes, one."""
    games = [
        (touches(best_cell(scene.cells, target.representative(scene.logits)), cover), target)
        for target, cover in zip(scene.named, covers, strict=True)
        if cover.any()
    ]
    if games:
        hits = sum(hit for hit, _ in games)
        centre = sum(centre_in_boxes(target.boxes, scene.geometry) for _, target in games)
        return Pointing(len(games), hits, centre).to_json()
    label = Target(tuple(sorted(scene.labels)), ()).representative(scene.logits)
    hit = touches(best_cell(scene.cells, label), mask_cover)
    return Pointing(1, int(hit), int(scene.mask is not None and centre_in_mask(scene.mask))).to_json()


def _localization(scene: _Scene) -> dict[str, Any]:
    found = []
    for target in scene.named:
        boxes = boxes_on_map(target.boxes, scene.geometry)
        if len(boxes):
            own = score_map(scene.grid[target.representative(scene.logits)])
            found.append(box_hits(own, boxes).to_json())
    pixels = None
    if scene.mask is not None:
        label = Target(tuple(sorted(scene.labels)), ()).representative(scene.logits)
        counts = pixel_scores(score_map(scene.grid[label]), mask_on_map(scene.mask, scene.geometry))
        pixels = counts.to_json()
    return {"localization": found or None, "pxap": pixels}


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max())
    shares: Array = raised / raised.sum()
    return shares
