"""The pools of a head that do not weigh all positions alike: their weights, as a reader of the cells needs them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from onnx_gapmil.files.wording import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.lift.lifted import FeatureGrid
    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.placing import PlacedHead
    from onnx_gapmil.lift.verdict import LiftStep

#: What the weights differ by: ``position``, the same for all channels; ``position and channel``; ``position and sum``,
#: of a pool that makes several sums of the positions; ``image``: an attention, whose weights no file holds.
WeightedBy = Literal["position", "position and channel", "position and sum", "image"]


@dataclass(frozen=True)
class WeightedPool:
    """Weights of one pool. All but the sums are in units of a plain mean's weight, which is 1 / (H * W).

    Attributes:
        pool: the pooling node, as ``name (operator)``.
        by: what the weights differ by.
        sets: how many sets of H * W weights there are: 1, or one for each channel or sum; 0 where images make them.
        least: the smallest weight of all; None where images make them.
        largest: the largest.
        below_zero: share of the weights that are below 0.
        sums: the smallest and the largest sum of a set, 1 for a mean.
        map: rows of the weights in reading order, as the cells of the grid lie; of several sets their mean at each
            position. None where images make them, or the cells are not known to lie in rows and columns alone.
        in_cells: whether the prediction grid's cells have these weights in them, as those of a vendor's pool have; a
            pool that was fitted to images weighs cells that are the vendor's.
    """

    pool: str
    by: WeightedBy
    sets: int = 0
    least: float | None = None
    largest: float | None = None
    below_zero: float | None = None
    sums: tuple[float, float] | None = None
    map: tuple[tuple[float, ...], ...] | None = None
    in_cells: bool = True

    @property
    def map_is(self) -> str:
        """What each number of the map is, for people."""
        kind = {"position and channel": "channels", "position and sum": "sums"}.get(self.by)
        return "weight of each cell" if kind is None else f"mean over {self.sets:,} {kind} of the weight of each cell"

    @property
    def figures(self) -> str:
        """Least, largest, share below 0 and sum, for people; "" where images make the weights."""
        if self.least is None or self.largest is None or self.below_zero is None or self.sums is None:
            return ""
        low, high = (f"{value:.3g}" for value in self.sums)
        return (
            f"least {self.least:.3g} and largest {self.largest:.3g} of a plain mean's weight, "
            f"{percent(self.below_zero, 0)} below 0, sum {low if low == high else f'{low} to {high}'} (of a mean 1)"
        )

    def describe(self) -> str:
        """One sentence for people, without the map."""
        if not self.figures:
            return "made anew by each image: there is no fixed map of them."
        several = "" if self.sets == 1 else f" ({self.sets:,} {'channels' if 'channel' in self.by else 'sums'})"
        return f"by {self.by}{several}: {self.figures}."

    def to_json(self) -> dict[str, Any]:
        """The pool as JSON types."""
        return {
            **asdict(self),
            "sums": None if self.sums is None else list(self.sums),
            "map": None if self.map is None else [list(row) for row in self.map],
        }


def weighted_pools(
    walk: Lifting, chain: Sequence[LiftStep], features: Sequence[FeatureGrid], placed: PlacedHead
) -> tuple[WeightedPool, ...]:
    """The pools among a head's steps whose weights are not all alike; a plain mean is none of them.

    Args:
        walk: the walk.
        chain: the head's steps.
        features: the grids that it pools.
        placed: where their cells look.
    """
    found = []
    for step in chain:
        where = walk.describe(walk.graph.producer(step.output))
        if step.attends:
            found.append(WeightedPool(where, "image"))
        weights = step.weights
        # A window's maximum reads some positions alone, but which of these counts is up to the image.
        if weights is None or step.conditional or weights.largest is None:
            continue
        sets = len(weights.sums)
        channels = next((grid.channels for grid in features if grid.pool == where), None)
        found.append(
            WeightedPool(
                pool=where,
                by="position" if sets == 1 else "position and channel" if sets == channels else "position and sum",
                sets=sets,
                least=weights.least,
                largest=weights.largest,
                below_zero=weights.below_zero,
                sums=(min(weights.sums), max(weights.sums)),
                map=_in_rows(weights.cells, features, placed),
            )
        )
    return tuple(found)


def _in_rows(
    cells: tuple[float, ...], features: Sequence[FeatureGrid], placed: PlacedHead
) -> tuple[tuple[float, ...], ...] | None:
    """Weights in the reading order of the head's cells; None where they are of other positions than these."""
    if placed.cells is None or any(grid.laid is not None for grid in features):
        return None
    size, order = placed.cells.size, placed.cells.order
    if len(size) != 2 or len(cells) != math.prod(size):
        return None
    values = np.asarray(cells, dtype=np.float64)
    rows = (values if order is None else values[order]).reshape(size)
    return tuple(tuple(row) for row in rows.tolist())
