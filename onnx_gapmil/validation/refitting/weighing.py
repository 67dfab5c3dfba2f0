"""How strongly auxiliary classifiers count in the finer grid: the weight by which boxes of tuning images fit best.

The measure is MaxBoxAccV2 on images of the fitted half that have boxes, each image by classifiers that were fitted to
other folds of that half. The held-out half has no part in it. Without enough boxes it is the usual weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.metrics.boxes import box_hits, thresholds_of
from onnx_gapmil.metrics.localization import held_out_hits
from onnx_gapmil.metrics.scoremap import boxes_on_map, score_map
from onnx_gapmil.metrics.targets import labelled, targets_of
from onnx_gapmil.rewriting.auxiliary.proving import finer_grid

if TYPE_CHECKING:
    from onnx_gapmil.data import Sample
    from onnx_gapmil.images.geometry import Geometry
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.metrics.boxes import BoxHits
    from onnx_gapmil.rewriting.auxiliary.building import AuxiliaryLayer

Array = npt.NDArray[np.float64]

#: What is tried: how strongly each map's cells vary within an image and a class, relative to the vendor's. 0 stands for
#: the vendor's own grid, by which the finer one is judged too.
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
#: Without boxes.
USUAL = 0.3
#: Fewer objects with boxes choose nothing.
LEAST = 20


@dataclass(frozen=True)
class Weight:
    """The weight of the auxiliary classifiers.

    Attributes:
        value: of the finer grid; 0 where the boxes of the vendor's own grid fit best.
        boxes: by each weight that was tried, MaxBoxAccV2 on the tuning images; empty where there are too few boxes.
        objects: kinds of objects in them.
    """

    value: float
    boxes: Mapping[str, float] = field(default_factory=dict)
    objects: int = 0

    @property
    def best_beside_none(self) -> float:
        """The best weight above 0."""
        return max(WEIGHTS[1:], key=lambda weight: self.boxes[f"{weight:g}"]) if self.boxes else self.value

    def to_json(self) -> dict[str, Any]:
        """As the report has it."""
        return {"value": self.value, "maxboxacc_v2": dict(self.boxes) or None, "objects": self.objects}


@dataclass(frozen=True, eq=False)
class TuningImage:
    """An image of the fitted half that has boxes.

    Attributes:
        sample: with its boxes in pixels.
        geometry: of the finer grid's cells in the photo.
        coarse: of the vendor's.
        logits: (K,), the vendor's.
        grid: (K, h, w), the vendor's.
        maps: by tensor, (C, H, W).
        layers: of weight 1, from images of other folds.
    """

    sample: Sample
    geometry: Geometry
    coarse: Geometry
    logits: Array
    grid: Array
    maps: Mapping[str, Array]
    layers: Sequence[AuxiliaryLayer]


def choose_weight(
    head: LiftedHead, images: Iterable[TuningImage], of_classes: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> Weight:
    """The weight whose boxes fit the tuning images best; of equal ones the smallest.

    Args:
        head: the vendor's.
        images: the tuning images.
        of_classes: makes logits or cells of the classes out of the head's, as `Reading.of_classes`.
    """
    hits: dict[float, list[BoxHits]] = {weight: [] for weight in WEIGHTS}
    for image in images:
        none, full = _grids(head, image)
        logits = of_classes(image.logits)
        targets = labelled(targets_of(image.sample.boxes, image.sample.labels), image.sample.labels)
        seen = [
            (target.representative(logits), own, finer)
            for target in targets
            if len(own := boxes_on_map(target.boxes, image.coarse))
            and len(finer := boxes_on_map(target.boxes, image.geometry))
        ]
        for weight in WEIGHTS:  # the finer grid is linear in the weight
            cells = of_classes(none + weight * (full - none) if weight else image.grid)
            hits[weight] += [box_hits(score_map(cells[index]), finer if weight else own) for index, own, finer in seen]
    objects = len(hits[0.0])
    if objects < LEAST:
        return Weight(USUAL, objects=objects)
    found = {
        weight: float(held_out_hits(thresholds_of([hit.grid for hit in own])).mean()) for weight, own in hits.items()
    }
    best = max(WEIGHTS, key=lambda weight: found[weight])
    return Weight(best, {f"{weight:g}": share for weight, share in found.items()}, objects)


def weighed(layers: Iterable[AuxiliaryLayer], weight: float) -> list[AuxiliaryLayer]:
    """The same layers, so strong."""
    return [
        replace(
            layer,
            weight=(weight * layer.weight).astype(np.float32),
            offset=(weight * layer.offset).astype(np.float32),
        )
        for layer in layers
    ]


def _grids(head: LiftedHead, image: TuningImage) -> tuple[Array, Array]:
    """The finer grid (K, H, W) with weight 0 and 1."""
    maps = {tensor: found[None] for tensor, found in image.maps.items()}
    none, full = (
        finer_grid(head, image.grid[None], maps, weighed(image.layers, weight), scores=False)[0]
        for weight in (0.0, 1.0)
    )
    return none, full
