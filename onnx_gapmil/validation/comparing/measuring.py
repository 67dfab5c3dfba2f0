"""One image's record: what both models answered, and how far their evidence moved.

Evidence of a class in a cell is its logit above the mean of the cell's logits over classes, as in
`onnx_gapmil.metrics.background`: softmax does not know more than that. Of a model whose classes are independent
(sigmoids) it is the logit itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import activate
from onnx_gapmil.aggregate.aggregator import OF_PROBABILITIES
from onnx_gapmil.aggregate.two_classes import with_two_classes
from onnx_gapmil.data import check_sample, read_mask
from onnx_gapmil.errors import DataError
from onnx_gapmil.metrics.accuracy import label_ranks
from onnx_gapmil.metrics.overlap import cell_overlap, cell_overlap_of_mask
from onnx_gapmil.validation.comparing.lattice import common_lattice
from onnx_gapmil.validation.comparing.records import Answer, Drift, GridDrift, PairRecord
from onnx_gapmil.validation.comparing.slices import columns_of_shot

if TYPE_CHECKING:
    from onnx_gapmil.images.geometry import Geometry
    from onnx_gapmil.validation.comparing.lattice import Lattice
    from onnx_gapmil.validation.comparing.sides import OpenedSide, Shot, Sides

TOP = 5
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What one model says of an image.

    Attributes:
        scores: (K,), its logits, or another aggregator's scores.
        probabilities: (K,).
        margins: (K,), of a multi-label head how far each class is above its threshold; the scores of others.
        grid: (K, H, W).
        geometry: of its cells in the photo.
    """

    scores: Array
    probabilities: Array
    margins: Array
    grid: Array
    geometry: Geometry


def seen_by(side: OpenedSide, logits: npt.NDArray[Any], grid: npt.NDArray[Any], geometry: Geometry, name: str) -> Seen:
    """What a model's numbers say.

    Args:
        side: the model.
        logits: (K,).
        grid: (K, H, W).
        geometry: where the network's input lies in the photo.
        name: of the image, for messages.

    Raises:
        DataError: the numbers are not finite.
    """
    cells = with_two_classes(grid)
    if not (np.isfinite(logits).all() and np.isfinite(cells).all()):
        raise DataError(f"{name}: the answer of {side.classifier.name} is not finite (overflow or NaN).")
    own = side.aggregator.name == "mean"
    reading = side.classifier.reading
    scores = with_two_classes(logits) if own else reading.pooled(side.aggregator, cells)
    if side.aggregator.name in OF_PROBABILITIES:
        probabilities = -np.expm1(-scores) if side.aggregator.name == "noisy_or" else scores
        levels = activate(reading.levels(len(scores)), "sigmoid")
        margins = probabilities - levels if reading.multi_label else scores
    else:
        probabilities = activate(scores, "sigmoid" if side.classifier.independent else "softmax")
        margins = reading.above(scores)
    places = geometry.of_cells(side.classifier.head.places, (grid.shape[1], grid.shape[2]))
    return Seen(scores, probabilities, margins, cells, places)


def measure_pair(sides: Sides, shot: Shot, size: tuple[int, int], old: Seen, new: Seen) -> PairRecord:
    """Compare what two models say of an image.

    Args:
        sides: the models, and which class is which.
        shot: the image, with its labels in either's classes.
        size: (H, W) of the upright photo.
        old: what the old model says.
        new: what the new one says.

    Raises:
        DataError: a box or the mask does not fit the image.
    """
    height, width = size
    mask = read_mask(shot.old.mask, size) if shot.old is not None and shot.old.mask is not None else None
    before, after = sides.alignment.old, sides.alignment.new
    first = _answer(old, shot.old.labels if shot.old is not None else ())
    second = _answer(new, shot.new.labels if shot.new is not None else ())
    joint = sides.alignment.of_new()
    mine, theirs = [index for index, _ in first.top], [int(joint[index]) for index, _ in second.top]
    wide = min(TOP, len(old.scores), len(new.scores))
    return PairRecord(
        image=shot.name,
        size=(width, height),
        old=first,
        new=second,
        agree=mine[0] == theirs[0],
        shared=len(set(mine[:wide]) & set(theirs[:wide])) / wide,
        unaligned=theirs[0] >= sides.alignment.old_count or bool(mine[0] not in before),
        logits=_drift(old.scores[before], new.scores[after]),
        probabilities=_drift(old.probabilities[before], new.probabilities[after]),
        grids=_grids(sides, shot, size, mask, old, new),
        columns=columns_of_shot(shot, (width, height), mask),
        same_present=_same_present(sides, old, new),
    )


def _same_present(sides: Sides, old: Seen, new: Seen) -> bool | None:
    """Whether both say that the same aligned classes are present; None unless both are multi-label."""
    if not (sides.old.classifier.independent and sides.new.classifier.independent):
        return None
    first = old.margins[sides.alignment.old] > 0
    return bool(np.array_equal(first, new.margins[sides.alignment.new] > 0))


def _answer(seen: Seen, labels: tuple[int, ...]) -> Answer:
    order = np.argsort(-seen.margins, kind="stable")[:TOP]
    top = tuple((int(index), float(seen.probabilities[index])) for index in order)
    rank = int(label_ranks(seen.margins, labels).min()) if labels else None
    return Answer(top, labels, rank)


def _drift(old: Array, new: Array) -> Drift:
    gaps = np.abs(new - old)
    return Drift(float(gaps.mean()), float(gaps.max()))


def lattice_of(sides: Sides, old: Seen, new: Seen) -> Lattice | None:
    """The common places of two grids; None where either's are not known."""
    if sides.unplaced:
        return None
    return common_lattice(
        old.geometry,
        (old.grid.shape[1], old.grid.shape[2]),
        new.geometry,
        (new.grid.shape[1], new.grid.shape[2]),
    )


def _grids(
    sides: Sides, shot: Shot, size: tuple[int, int], mask: npt.NDArray[np.bool_] | None, old: Seen, new: Seen
) -> GridDrift | None:
    lattice = lattice_of(sides, old, new)
    if lattice is None:
        return None
    before, after = sides.alignment.old, sides.alignment.new
    first, second = lattice.of_old(old.grid), lattice.of_new(new.grid)
    joint = np.append(sides.alignment.of_new(), -1)  # the last stands for nobody
    readings = sides.old.classifier.reading, sides.new.classifier.reading
    won, rewon = readings[0].winners(first), joint[readings[1].winners(second)]
    softmax = not (sides.old.classifier.independent or sides.new.classifier.independent)
    leading = int(old.margins.argmax()), int(new.margins.argmax())
    speaking = (
        _evidence(readings[0].above(first), leading[0], softmax),
        _evidence(readings[1].above(second), leading[1], softmax),
    )
    inside = _on_object(shot, size, mask, lattice)
    return GridDrift(
        cells=won.size,
        averaged=not lattice.same,
        correlation=_correlation(first[before], second[after], softmax),
        winners_changed=float((won != rewon).mean()),
        moved=_moved(*speaking),
        on_object=_gained(*speaking, inside),
    )


def _evidence(grid: Array, index: int, softmax: bool) -> Array | None:
    """(H, W), the share of the evidence for a class in each cell; None where no cell speaks for it."""
    level = grid.mean(axis=0) if softmax else 0.0
    positive = np.maximum(grid[index] - level, 0.0)
    total = float(positive.sum())
    return positive / total if total > 0.0 else None


def _moved(old: Array | None, new: Array | None) -> float | None:
    """Half of the sum of absolute differences: the least share that must be carried elsewhere."""
    return None if old is None or new is None else float(np.abs(new - old).sum() / 2)


def _gained(old: Array | None, new: Array | None, inside: Array | None) -> float | None:
    if old is None or new is None or inside is None:
        return None
    return float(((new - old) * inside).sum())


def _on_object(shot: Shot, size: tuple[int, int], mask: npt.NDArray[np.bool_] | None, lattice: Lattice) -> Array | None:
    """(H, W), the share of each common cell that lies in the object; None where that is not known, or not seen."""
    sample = shot.old
    if sample is None:
        return None
    if mask is not None:
        overlap = cell_overlap_of_mask(mask, lattice.geometry, lattice.shape)
    else:
        checked = check_sample(sample, size)
        named = [box.box for box in checked.boxes if set(box.classes) & set(checked.labels)]
        overlap = cell_overlap(named, lattice.geometry, lattice.shape)
    return overlap if overlap.any() else None


def _correlation(old: Array, new: Array, softmax: bool) -> float | None:
    """Pearson's, of each class's evidence about its own mean over cells; None where a grid has the same everywhere."""
    first, second = _centred(old, softmax), _centred(new, softmax)
    squares = _dot(first, first), _dot(second, second)
    if not (_varies(squares[0], old) and _varies(squares[1], new)):
        return None
    return float(np.clip(_dot(first, second) / np.sqrt(squares[0] * squares[1]), -1.0, 1.0))


def _centred(grid: Array, softmax: bool) -> Array:
    flat = grid.reshape(len(grid), -1)
    centred: Array = flat - flat.mean(axis=1, keepdims=True)
    return centred - centred.mean(axis=0) if softmax else centred


def _varies(squares: float, grid: Array) -> bool:
    """Whether more than rounding is left."""
    flat = grid.reshape(len(grid), -1)
    return squares > 1e-24 * max(_dot(flat, flat), 1e-300)


def _dot(one: Array, other: Array) -> float:
    """The sum of products. Not by BLAS, whose threads wait for each other where other work wants the cores."""
    return float(np.einsum("kp,kp->", one, other))
