"""Where the rows of a map look, by what stripes of the image moved, against where they are said to look.

Each stripe moves each row of cells by some amount. A row's own sensitivity is divided out, what a stripe moves
everywhere (attention, squeeze-and-excite) is taken off, and the centroid over the stripes of what is left is where that
row looks. A line through where the rows look over where they are said to look has a sign (mirrored?), a slope (cropped,
zoomed, views added up?) and an offset (shifted?); its correlation says whether there is an order at all. The same
stripes must not bring the columns into an order, or the axes are swapped.

What is allowed lies between the right and the wrong of the zoo: ``docs/benchmarks/stimulus.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from onnx_gapmil.files.wording import percent
from onnx_gapmil.rewriting.proof.astray import astray_by
from onnx_gapmil.rewriting.proof.unmoved import masked_cells, repeated_lines, still_lines

if TYPE_CHECKING:
    from onnx_gapmil.images.places import AxisPlaces
    from onnx_gapmil.rewriting.proof.stimulus import Responses

AxisName = Literal["frames", "depth", "rows", "columns"]

#: Least correlation of where the cells look with where they are said to look.
CORRELATION = 0.7
#: Least and largest slope of the first over the second; of trained networks up to 1.4, as their border looks outwards.
SLOPES = (0.85, 1.6)
#: Largest offset in cells; convolutions that pad one side alone give 0.55.
OFFSET = 0.8
#: Largest order of the other axis: the slope of its cells, times how much more they move than those of the axis itself.
SWAPPED = 0.6
#: Least answer in the middle of what moves a cell; of right maps 0.75 and more.
MIDDLE = 0.4
#: How far a cell may look behind the one before it, in cells, or stripes where those are wider: neighbours that are
#: exchanged do by 1.
BACKWARDS = 0.5
#: Largest share of a step that moves no cell; a kernel of 3 pixels every 4 leaves out a quarter, which is no gap.
UNSEEN = 0.3
#: Up to this many cells along an axis have hardly an interior: they tell only where they differ enough; right maps of
#: two or three cells differ by 0.12 and more.
FEW, CONTRAST = 3, 0.05
#: How far from a tile's middle cells may look, and those of either half of the map from all of them, in cells, where
#: nothing but stripes says where they look: a map that is sheared has the same rows and columns on average.
SHOWN = 0.5
#: Share of single cells that may look more than one cell away then, as those at the border do behind wide windows; and
#: how far the farthest may.
ASTRAY, FARTHEST = 0.1, 2.0
#: A contrast that is none: what orders the cells of the other axis alone is held against this much.
_FLAT = 0.01
#: The slopes of two or three cells, all of which lie at the border.
SLOPES_OF_FEW = (0.5, 2.0)


@dataclass(frozen=True)
class AxisLooks:
    """Where the cells of one axis look, against where they are said to look.

    Attributes:
        correlation: of the two; -1 for a mirrored axis.
        slope: of the first over the second.
        offset: their mean difference in cells.
        swapped: how much the stripes order the cells of the other axis; 1 for a map and its transpose added up.
        contrast: how much of what a stripe moves it does not move everywhere; 1 where it moves its own cells alone.
        cells: how many the axis has; those that look into the image are compared, without the first and the last.
        stripes: how many the image was cut into. Fewer than there are cells show no order of those that see the same.
        middle: how far a stripe at the middle of all that move a cell does so too, as a share of the one that moves it
            most; 0 where a cell looks at two places and not between them.
        unseen: the share of each step that moves no cell (`onnx_gapmil.rewriting.proof.gaps`).
        silent: how many of the stripes that cells are said to look at move none.
        still: how many lines of cells that are said to look into the image no stripe moves: zeros around a map that was
            cropped before.
        masked: how many single cells beside these no stripe moves: they hold the same for every image.
        backwards: the farthest that a cell looks behind the one before it, in cells, or in stripes where those are
            wider: neighbours that are exchanged hardly change the line.
        repeated: how many lines of cells hold what another does and do not answer to where they lie: a border that
            repeats a line where the map had been cut.
        uneven: how far the cells of either half of the other axis look from where all do, in cells.
        astray: the share of single cells that look more than a cell away from where their line is said to
            (`onnx_gapmil.rewriting.proof.astray`).
        farthest: how far the farthest looks from there, in cells.
    """

    correlation: float
    slope: float
    offset: float
    swapped: float
    contrast: float
    cells: int
    stripes: int = 0
    middle: float = 1.0
    unseen: float = 0.0
    silent: int = 0
    still: int = 0
    masked: int = 0
    backwards: float = 0.0
    repeated: int = 0
    uneven: float = 0.0
    astray: float = 0.0
    farthest: float = 0.0

    @property
    def shown(self) -> bool:
        """Whether stripes alone show that the cells look where they are said to, where nothing else says so."""
        away, straight = max(abs(self.offset), self.uneven), SLOPES[0] <= self.slope <= SLOPES[1]
        near = away <= SHOWN and self.astray <= ASTRAY and self.farthest <= FARTHEST
        return bool(self.passed) and straight and near and self.contrast >= CONTRAST

    @property
    def elsewhere(self) -> bool:
        """Whether cells look in another order, as one of several maps that are joined may.

        Of a map that was spread from few cells, slope and offset say little, and one that is the same everywhere has no
        order.
        """
        least = 2 * CONTRAST
        turned = self.correlation < CORRELATION or abs(self.offset) > 2 * OFFSET
        swapped = self.swapped > SWAPPED and self.swapped * max(self.contrast, _FLAT) >= least
        return self.cells > FEW and (swapped or (turned and self.contrast >= least))

    @property
    def measure(self) -> float:
        """The worst figure as a share of what is allowed of it."""
        least, most = self._slopes
        below, above = (1 - self.slope) / (1 - least), (self.slope - 1) / (most - 1)
        apart, away = (1 - self.correlation) / (1 - CORRELATION), abs(self.offset) / OFFSET
        others = (
            self.swapped / SWAPPED,
            self.unseen / UNSEEN,
            (1 - self.middle) / (1 - MIDDLE),
            self.backwards / BACKWARDS,
        )
        nothing = self.silent + self.still + self.masked + self.repeated
        return max(apart, below, above, away, *others, 2.0 * (nothing > 0))

    @property
    def _slopes(self) -> tuple[float, float]:
        return SLOPES if self.cells > FEW else SLOPES_OF_FEW

    @property
    def passed(self) -> bool | None:
        """Whether the cells look where they are said to look; None for a few cells that do not say."""
        if self.measure <= 1:
            return True
        tells = self.cells > FEW or self.leaves_out or self.contrast >= CONTRAST
        return False if tells else None

    @property
    def leaves_out(self) -> bool:
        """Whether much of what lies among the cells moves none of them."""
        return self.unseen > UNSEEN or self.silent > 0

    def problem(self, name: AxisName) -> str:
        """What is wrong with it, as a clause; "" where nothing is."""
        if self.passed is not False:
            return ""
        if self.still:
            verb = "answers" if self.still == 1 else "answer"
            return f"{self.still} of {self.cells} {name} {verb} to nothing: the map was padded where it had been cut"
        if self.repeated:
            verb = "repeats" if self.repeated == 1 else "repeat"
            return f"{self.repeated} of {self.cells} {name} {verb} another where the map had been cut"
        if self.masked:
            cells = "cell answers" if self.masked == 1 else "cells answer"
            return f"{self.masked} {cells} to nothing: a mask, or a constant, stands where the {name} look"
        if self.correlation <= -CORRELATION:
            return f"the {name} look at the image in reverse order (correlation {self.correlation:.2f})"
        if self.swapped > SWAPPED and self.correlation < CORRELATION:
            return f"stripes along its {name} move the other axis' cells in order: rows and columns are swapped"
        if self.correlation < CORRELATION:
            return f"the {name} look at the image in no order (correlation {self.correlation:.2f})"
        if self.swapped > SWAPPED:
            return f"stripes along its {name} move the other axis' cells in order too: two views are added up"
        if self.middle < MIDDLE:
            return f"the {name} look at several places, and not between them: views are added up"
        if not self._slopes[0] <= self.slope <= self._slopes[1]:
            return f"the {name} look at places {self.slope:.2f} times as far apart as is said"
        if self.silent:
            return f"{self.silent} of {self.stripes} stripes that the {name} are said to look at move none of them"
        if self.backwards > BACKWARDS:
            return f"the {name} look at the image in another order: one lies {self.backwards:.2f} cells behind the last"
        if self.unseen > UNSEEN:
            return f"the {name} leave out {percent(self.unseen, 0)} of the image: what lies between them moves none"
        return f"the {name} look {self.offset:+.2f} cells away from where is said"

    def to_json(self) -> dict[str, float]:
        """The figures."""
        found: dict[str, float] = {
            "correlation": self.correlation,
            "sign": 1 if self.slope > 0 else -1,
            "slope": self.slope,
            "offset": self.offset,
            "swapped": self.swapped,
            "contrast": self.contrast,
            "cells": self.cells,
            "stripes": self.stripes,
            "middle": self.middle,
            "unseen": self.unseen,
            "silent": self.silent,
            "still": self.still,
            "masked": self.masked,
            "backwards": self.backwards,
            "repeated": self.repeated,
        }
        # Stripes tell no more digits, and each file has them in its record.
        return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in found.items()}


def looks(responses: Sequence[Responses], axis: Literal[0, 1], places: AxisPlaces) -> AxisLooks:
    """Where the cells of an axis look.

    Args:
        responses: to stripes along that axis of the image, of one or more base images, which are averaged.
        axis: of the map: 0 for its rows, 1 for its columns.
        places: where they are said to look.
    """
    edges = responses[0].edges
    own, other = (_local([response.moved for response in responses], which) for which in (axis, 1 - axis))
    said, inside = _said(edges, places, own.shape[1])
    moved = [response.moved for response in responses]
    still = int((inside & still_lines(moved, axis)).sum())
    away = astray_by(moved, axis, edges, inside, said, places.step)
    kept = np.flatnonzero(inside)
    if len(kept) < 2:  # hardly one is said to look into the image: then they are compared where they are said to look
        kept, said = np.arange(own.shape[1]), places.first + places.step * np.arange(own.shape[1])
    if len(kept) > FEW + 1:  # the border's cells see less of the image, and look outwards or inwards
        kept = kept[1:-1]
    said, seen = said[kept] / places.step, _centroids(own, edges)[kept] / places.step
    correlation, slope = _line(said, seen)
    contrast, swapped, middle = float(own.mean()), 0.0, _middle(own[:, kept], edges)
    if other.shape[1] > FEW:
        even = np.linspace(edges[0], edges[-1], 2 * other.shape[1] + 1)[1::2]  # the middles of its cells
        swapped = abs(_line(even, _centroids(other, edges))[1]) * float(other.mean()) / max(contrast, _FLAT)
    return AxisLooks(
        correlation,
        slope,
        float(np.mean(seen - said)),
        swapped,
        contrast,
        own.shape[1],
        len(edges) - 1,
        middle,
        still=still,
        masked=masked_cells(moved, inside, axis, responses[0].held),
        backwards=_backwards(said, seen, (edges[-1] - edges[0]) / (len(edges) - 1) / places.step),
        repeated=repeated_lines(moved, axis, edges, inside, places),
        uneven=_uneven(moved, axis, edges, kept, seen * places.step) / places.step,
        astray=float((away > 1).mean()) if away.size else 0.0,
        farthest=float(away.max(initial=0.0)),
    )


def _uneven(
    moved: Sequence[np.ndarray], axis: Literal[0, 1], edges: np.ndarray, kept: np.ndarray, seen: np.ndarray
) -> float:
    """How far the cells in one half of the other axis look from where all do, in pixels; 0 of an axis of one cell.

    Args:
        moved: (S, H, W) of each base image.
        axis: of the map.
        edges: of the stripes, in pixels.
        kept: which of its cells are compared.
        seen: where those look, (kept,), in pixels.
    """
    length = moved[0].shape[2 - axis]
    if length < 2:
        return 0.0
    halves = np.array_split(np.arange(length), 2)
    local = [_local([change.take(half, 2 - axis) for change in moved], axis) for half in halves]
    return max(abs(float(np.mean(_centroids(own, edges)[kept] - seen))) for own in local)


def _local(moved: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """What each stripe moved of each row of cells and not everywhere, (S, cells), averaged over base images.

    Args:
        moved: (S, H, W) of each base image.
        axis: of the map, 0 or 1.
    """
    found = []
    for change in moved:
        lines = np.sqrt(np.mean(change**2, axis=2 - axis))
        sensitivity = lines.mean(axis=0)
        found.append(np.divide(lines, sensitivity, out=np.ones_like(lines), where=sensitivity > 0))
    mean = np.mean(found, axis=0)
    # Half of two cells is moved by every stripe, so that their median would leave half of what is local.
    everywhere = np.median(mean, axis=1) if mean.shape[1] > 2 else mean.min(axis=1)
    return np.asarray(np.maximum(mean - everywhere[:, None], 0))


def _middle(own: np.ndarray, edges: np.ndarray) -> float:
    """What cells answer to at their centroids, as a share of their largest answers, on average."""
    middles, centroids = (edges[:-1] + edges[1:]) / 2, _centroids(own, edges)
    found = [
        np.interp(centroid, middles, line) / line.max()
        for centroid, line in zip(centroids, own.T, strict=True)
        if line.max() > 0
    ]
    return float(np.mean(found)) if found else 1.0


def _said(edges: np.ndarray, places: AxisPlaces, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Where stripes would see cells that look where they are said to, (cells,), and which look into the image.

    A cell takes up one step; it is seen at the middles of the stripes that it lies in.
    """
    centres = places.first + places.step * np.arange(cells)
    first, last = centres - places.step / 2, centres + places.step / 2
    shared = np.minimum(last, edges[1:, None]) - np.maximum(first, edges[:-1, None])
    return _centroids(np.maximum(shared, 0), edges), np.maximum(shared, 0).sum(axis=0) >= places.step / 2


def _centroids(weights: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Centroids over the stripes' middles, of each column of weights; the middle of the image where all are 0."""
    middles, total = (edges[:-1] + edges[1:]) / 2, weights.sum(axis=0)
    middle = np.full(weights.shape[1], (edges[0] + edges[-1]) / 2)
    return np.asarray(np.divide(middles @ weights, total, out=middle, where=total > 0))


def _backwards(said: np.ndarray, seen: np.ndarray, stripe: float) -> float:
    """The farthest that a cell looks behind the one before it, in cells or in stripes of so many cells."""
    steps = np.diff(seen) * np.sign(np.diff(said))
    return max(0.0, -float(steps.min(initial=0.0))) / max(1.0, stripe)


def _line(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Correlation, and slope of the second over the first by least squares; 0 where either does not vary."""
    a, b = first - first.mean(), second - second.mean()
    squares = float(a @ a), float(b @ b)
    if not min(squares) > 0:
        return 0.0, 0.0
    return float(a @ b) / (squares[0] * squares[1]) ** 0.5, float(a @ b) / squares[0]
