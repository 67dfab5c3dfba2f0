"""Cells of one lattice read at the places of a finer one, linearly, along one axis after the other.

Where cells look is no matter of their number: a coarse cell may look pixels beside the middle of the finer cells that
divide it. So a coarse map is read at the finer cells' own places: finer cell j lies at ``u_j = u_0 + j / r`` coarse
cells, with r the ratio of the steps, and its value is the line between the two coarse cells beside it. Beyond the
outermost cells these go on.

As a node this is a ConvTranspose of stride r whose kernel is a triangle that is u_0 off, channel by channel, divided by
what it makes of ones, which is less than 1 beyond the outermost cells. Every operator set has it, runtimes agree on
it, and places are traced through it: a border that is repeated would look at the border's own place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

from onnx_gapmil.errors import InputError

if TYPE_CHECKING:
    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.images.places import AxisPlaces

Array = npt.NDArray[np.float64]

#: The operator set that makes ones at run time.
_ONES = 9
#: How near to a whole coarse cell beyond the outermost ones a finer cell may lie.
_NEAR = 1e-3


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
    def reaches(self) -> bool:
        """Whether each finer cell has a coarse one less than a cell away."""
        last = self.first + (self.finer - 1) / self.times
        return self.first > -1 + _NEAR and last < self.cells - _NEAR

    @property
    def skipped(self) -> int:
        """How many outputs of the ConvTranspose lie before the first finer cell."""
        return math.floor(self.times * (self.first + 1))

    @property
    def beyond(self) -> int:
        """How many lie behind the last."""
        return (self.cells + 1) * self.times - self.skipped - self.finer

    @property
    def kernel(self) -> Array:
        """(2 r,): what each coarse cell gives to the finer ones."""
        off = self.first - self.skipped / self.times
        return np.asarray(np.maximum(0.0, 1.0 - np.abs(np.arange(2 * self.times) / self.times + off)))

    @property
    def shares(self) -> Array:
        """(finer,): what the kernel makes of ones."""
        at = self.first + np.arange(self.finer) / self.times
        return np.asarray(np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(self.cells))).sum(axis=1))

    def read(self, maps: Array, axis: int) -> Array:
        """The same in NumPy, by its definition: the line between the two cells beside each place."""
        at = np.clip(self.first + np.arange(self.finer) / self.times, 0, self.cells - 1)
        low = np.floor(at).astype(np.intp)
        high = np.minimum(low + 1, self.cells - 1)
        share = (at - low).reshape([-1 if place == axis else 1 for place in range(maps.ndim)])
        return np.asarray(np.take(maps, low, axis=axis) * (1 - share) + np.take(maps, high, axis=axis) * share)


def add_finer(
    build: GraphBuilder, tensor: str, channels: int, rows: Finer, columns: Finer, *, open_size: bool = False
) -> str:
    """The nodes that read a float32 map (N, channels, h, w) at finer places; the map itself where they are its own.

    Args:
        build: collects them.
        tensor: the map.
        channels: of it.
        rows: how its rows are read.
        columns: how its columns are.
        open_size: whether it may have more rows and columns than these. Then what ones become has to be made at run
            time, as it is wherever the operator set allows it.

    Raises:
        InputError: the size is open, and the operator set makes no ones at run time.
    """
    if rows.same and columns.same:
        return tensor
    triangle = rows.kernel[:, None] * columns.kernel

    def spread(source: str, count: int) -> str:
        kernel = np.broadcast_to(triangle, (count, 1, *triangle.shape)).astype(np.float32)
        return build.node(
            "ConvTranspose",
            [source, build.constant(np.ascontiguousarray(kernel))],
            group=count,
            kernel_shape=list(triangle.shape),
            strides=[rows.times, columns.times],
            pads=[rows.skipped, columns.skipped, rows.beyond, columns.beyond],
        )

    read = spread(tensor, channels)
    if build.graph.opset < _ONES:
        if open_size:
            raise InputError(
                f"a finer grid of an input of open size needs operator set {_ONES}, and the model has "
                f"{build.graph.opset}: fix the size, or convert the model."
            )
        shares = rows.shares[:, None] * columns.shares
        return build.node("Mul", [read, build.constant((1.0 / shares).astype(np.float32)[None, None])])
    # Of a fixed size too: a constant of one value a position would keep `--size` from opening the file for another.
    size = build.node("Gather", [build.node("Shape", [tensor]), build.ints([2, 3])], axis=0)
    shape = build.node("Concat", [build.ints([1, 1]), size], axis=0)
    one = onnx.numpy_helper.from_array(np.ones(1, dtype=np.float32))
    ones = build.node("ConstantOfShape", [shape], value=one)
    return build.node("Div", [read, spread(ones, 1)])
