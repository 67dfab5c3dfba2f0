"""What a lift is: values that a walk hands from rule to rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

if TYPE_CHECKING:
    from onnx_gapmil.images.places import Places
    from onnx_gapmil.lift.coordinates.judging import CellPlaces
    from onnx_gapmil.lift.verdict import LiftStep

#: ``Lifted.batch_axis`` of a tensor whose batch and channels are one axis for a moment, as channels-last exports
#: leave it around a Gather.
MERGED = -1


#: Note of a grid whose cells are numbered but have no known rows and columns.
UNARRANGED = "the positions have no known two-dimensional arrangement"


@dataclass(frozen=True)
class Fold:
    """Frames that a vendor keeps apart from the other cells, until a mean over them makes them cells too.

    Attributes:
        frames: how many there are, in the trace.
        seen: the input that they are of, and which of its axes they are.
        batched: whether they are folded into the batch, (N * frames, C, H, W), and not an axis of their own.
        outer: whether the frame is the slower of the two in such a batch.
        extent: a vendor's tensor and its axis that are as long as there are frames, where their number is open.
        averaged: whether the mean over them was met: they are the first of the grid's axes then.
    """

    frames: int
    seen: tuple[str, int]
    batched: bool
    outer: bool = False
    extent: tuple[str, int] | None = None
    averaged: bool = False


@dataclass(frozen=True)
class Laid:
    """A view of the image among others, on the lattice of all of them.

    Attributes:
        places: where the lattice's cells look.
        view: where the view's own do.
        alike: whether all views count alike and each of the lattice's cells is of one, so that weights are shared.
    """

    places: Places
    view: CellPlaces
    alike: bool = False


@dataclass(frozen=True)
class FeatureGrid:
    """A pre-pool feature map: where a walk ended.

    Attributes:
        name: tensor (N, channels, height, width) in the rewritten graph.
        source: the vendor's tensor that it is, or is a transpose of.
        channels: C.
        size: (height, width) in the trace.
        axes: the source's axes that are cells, in the order rows, columns.
        pool: the pooling node, as ``name (operator)``.
        dtype: element type of the grid.
        layout: how the vendor lays it out: ``NCHW``, ``NHWC``, ``tokens``, ...
        note: anything a reader must know, e.g. that tokens have no known two-dimensional arrangement.
        averaged: its axes (2 rows, 3 columns) that the vendor averages before the pool, which then pools the others.
        cells: lengths of the axes of a volume or a clip, whose cells lie in one row while the head is lifted,
            (N, channels, 1, cells), and get their own shape when they are emitted; empty for rows and columns.
        extents: for each of these axes a vendor's tensor and its axis of the same length, for inputs of open size.
        fold: frames that the vendor keeps apart; None without any.
        laid: the lattice that it was laid onto beside other views; None if it is by itself.
        prefix: leading tokens of the source that are no cells, such as a class token; the pool reads them, too.
        suffix: tokens of the source behind its cells, such as registers; an attention reads them, too.
    """

    name: str
    source: str
    channels: int
    size: tuple[int, int]
    axes: tuple[int, ...]
    pool: str
    layout: str
    dtype: np.dtype
    note: str = ""
    averaged: tuple[int, ...] = ()
    cells: tuple[int, ...] = ()
    extents: tuple[tuple[str, int], ...] = ()
    fold: Fold | None = None
    laid: Laid | None = None
    prefix: int = 0
    suffix: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of its cells, in the trace: rows and columns, or depth or frames before them."""
        return self.cells or self.size


@dataclass(frozen=True)
class Quantization:
    """What a tensor of integers stands for: ``(q - zero) * step``.

    Attributes:
        step: the scale; 0 where it is found at run time.
        zero: the zero point.
        low: smallest real number that the integers can hold.
        high: largest.
        scale: the tensor that holds a scale found at run time.
    """

    step: float
    zero: float
    low: float
    high: float
    scale: str = ""

    @property
    def dynamic(self) -> bool:
        """Whether the scale is found at run time, from the tensor itself."""
        return bool(self.scale)


@dataclass(frozen=True)
class Lifted:
    """The lift of a pooled tensor ``t``.

    Attributes:
        name: tensor (N, channels, H, W) whose mean over cells is ``t``; its channels are the axes of ``t`` but the
            batch, in row-major order.
        channels: product of those axes.
        shape: traced shape of ``t``.
        batch_axis: which axis of ``t`` is the batch; None if a squeeze at batch 1 dropped it, `MERGED` if the batch
            and the channels are one axis.
        batch: traced size of the batch.
        features: the grids it comes from.
        dtype: element type.
        conditional: whether any step so far depends on the pooled tensor.
        step: what made it.
        parents: the pooled tensors whose lifts it was made of.
        quantization: for a tensor of integers, the real numbers that it stands for and that the lift is of.
        rounding: how far rounding to integers may have moved each channel of ``t`` from the mean of the lift,
            (channels,) float64, infinite where no bound is known; None where nothing was rounded.
    """

    name: str
    channels: int
    shape: tuple[int, ...]
    batch_axis: int | None
    batch: int
    features: tuple[FeatureGrid, ...]
    dtype: np.dtype
    conditional: bool
    step: LiftStep
    parents: tuple[str, ...] = ()
    quantization: Quantization | None = None
    rounding: np.ndarray | None = None

    @property
    def inner_shape(self) -> tuple[int, ...]:
        """Shape of ``t`` without its batch axis."""
        return tuple(dim for axis, dim in enumerate(self.shape) if axis != self.batch_axis)

    @property
    def size(self) -> tuple[int, int]:
        """Grid (height, width) in the trace."""
        return self.features[0].size

    def index(self) -> np.ndarray:
        """For each element of ``t`` its place ``n * channels + c`` in the lift; int64, shape of ``t``."""
        places = np.arange(self.batch * self.channels, dtype=np.int64)
        if self.batch_axis is None or self.batch_axis == MERGED:
            return places.reshape(self.shape)
        return np.moveaxis(places.reshape(self.batch, *self.inner_shape), 0, self.batch_axis)


def elem_type(dtype: np.dtype) -> int:
    """ONNX's number for a NumPy element type."""
    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype))
