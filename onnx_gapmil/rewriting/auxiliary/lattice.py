"""Cells of one lattice read at the places of a finer one, linearly, along one axis after the other.

Where cells look is no matter of their number: a coarse cell may look pixels beside the middle of the finer cells that
divide it. So a coarse map is read at the finer cells' own places: finer cell j lies at ``u_j = u_0 + j / r`` coarse
cells, with r the ratio of the steps, and its value is the line between the two coarse cells beside it. Beyond the
outermost cells these go on.

As a node this is a ConvTranspose of stride r whose kernel is a triangle that is u_0 off, channel by channel, on a map
whose border is repeated: every operator set has it, runtimes agree on it, and places are traced through it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.images.places import AxisPlaces

Array = npt.NDArray[np.float64]

#: The operator set from which Pad takes its widths as an input.
_PADS_AS_INPUT = 11


@dataclass(frozen=True)
class Finer:
    """One axis of a coarse map at the places of a finer one.

    Attributes:
        times: r.
        first: u_0, where the first finer cell lies, in coarse cells.
        cells: how many coarse cells there are.
        finer: how many finer ones.
    """

    times: int
    first: float
    cells: int
    finer: int

    @classmethod
    def of(cls, coarse: AxisPlaces, cells: int, fine: AxisPlaces, finer: int) -> Finer:
        """The axis, from where the cells of both look; the ratio of their steps is a whole number."""
        return cls(round(coarse.step / fine.step), (fine.first - coarse.first) / coarse.step, cells, finer)

    @property
    def same(self) -> bool:
        """Whether the two are one lattice."""
        return self.times == 1 and self.cells == self.finer and abs(self.first) < 1e-6

    @property
    def border(self) -> int:
        """How many cells the border is repeated by on either side."""
        last = self.first + (self.finer - 1) / self.times
        return math.ceil(max(-self.first, last - (self.cells - 1), 0.0)) + 1

    @property
    def skipped(self) -> int:
        """How many outputs of the ConvTranspose lie before the first finer cell."""
        return math.floor(self.times * (self.first + self.border + 1))

    @property
    def beyond(self) -> int:
        """How many lie behind the last."""
        whole = (self.cells + 2 * self.border - 1) * self.times + 2 * self.times
        return whole - self.skipped - self.finer

    @property
    def kernel(self) -> Array:
        """(2 r,): what each coarse cell gives to the finer ones."""
        off = self.first + self.border - self.skipped / self.times
        return np.maximum(0.0, 1.0 - np.abs(np.arange(2 * self.times) / self.times + off))

    def read(self, maps: Array, axis: int) -> Array:
        """The same in NumPy, by its definition: the line between the two cells beside each place."""
        at = np.clip(self.first + np.arange(self.finer) / self.times, 0, self.cells - 1)
        low = np.floor(at).astype(np.intp)
        high = np.minimum(low + 1, self.cells - 1)
        share = (at - low).reshape([-1 if place == axis else 1 for place in range(maps.ndim)])
        return np.asarray(np.take(maps, low, axis=axis) * (1 - share) + np.take(maps, high, axis=axis) * share)


def add_finer(build: GraphBuilder, tensor: str, channels: int, rows: Finer, columns: Finer) -> str:
    """The nodes that read a float32 map (N, channels, h, w) at finer places; the map itself where they are its own."""
    if rows.same and columns.same:
        return tensor
    widths = [0, 0, rows.border, columns.border]
    if build.graph.opset >= _PADS_AS_INPUT:
        padded = build.node("Pad", [tensor, build.ints([*widths, *widths])], mode="edge")
    else:
        padded = build.node("Pad", [tensor], mode="edge", pads=[*widths, *widths])
    kernel = np.broadcast_to(rows.kernel[:, None] * columns.kernel, (channels, 1, 2 * rows.times, 2 * columns.times))
    return build.node(
        "ConvTranspose",
        [padded, build.constant(np.ascontiguousarray(kernel, dtype=np.float32))],
        group=channels,
        kernel_shape=[2 * rows.times, 2 * columns.times],
        strides=[rows.times, columns.times],
        pads=[rows.skipped, columns.skipped, rows.beyond, columns.beyond],
    )
