"""Windows of one image that are folded into the batch, (N * windows, C, h, w), and pooled like images of their own.

Once a reshape tells the images apart again, each window is so many channels of the lift, zero outside of where it
looks; a mean over windows, a layer over all of them or a maximum are then the rules for channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.coordinates.fields import is_number
from onnx_gapmil.lift.coordinates.judging import CellPlaces, places_of
from onnx_gapmil.lift.coordinates.looks import unfolded
from onnx_gapmil.lift.coordinates.movers import reshape, take
from onnx_gapmil.lift.joining import in_the_image
from onnx_gapmil.lift.lifted import UNARRANGED, Laid
from onnx_gapmil.lift.rules.reductions import reduced_axes
from onnx_gapmil.lift.views import common_lattice, is_in_order, is_within, selection

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import FeatureGrid, Lifted
    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.views import Lattice

#: Numbers in the lift of one image's windows: 64 MB of float32.
_MOST_NUMBERS = 1 << 24


@dataclass(frozen=True)
class _Tiles:
    """How a batch holds windows.

    Attributes:
        count: windows of each image.
        outer: whether the window is the slower of the two in the batch.
        size: rows and columns of the cells of each; of tokens the grid itself does not say.
        lattice: the cells of all of them.
    """

    count: int
    outer: bool
    size: tuple[int, int]
    lattice: Lattice

    def moves(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each window, which of its rows each row of the lattice takes, and the columns: (windows, total, own)."""
        rows, columns = (
            np.stack([selection(own, total, *span[at]) for span in self.lattice.spans])
            for at, (own, total) in enumerate(zip(self.size, self.lattice.size, strict=True))
        )
        return rows, columns


def tiles_apart(node: gs.Node, walk: Lifting, lifted: Lifted, places: np.ndarray) -> tuple[Lifted, np.ndarray] | None:
    """The same lift with the windows of each image as channels, (N, windows * C, H, W), on the cells of all of them.

    Args:
        node: the operator that takes them apart.
        walk: the walk.
        lifted: of a tensor with windows in its batch.
        places: for elements of another tensor, their places in that as `Lifted.index` numbers them.

    Returns:
        That lift, of a tensor (N, windows, ...), and the places in it; None where the batch holds no windows.

    Raises:
        HeadRefused: the windows are views that do not lie side by side, as mirror images do not.
    """
    plain = lifted.batch_axis == 0 and lifted.quantization is None
    if not plain or any(entry.space_is_open for entry in walk.trace.inputs) or walk.readout == "instance":
        return None
    if any(grid.cells or grid.fold or grid.laid or grid.prefix or grid.averaged for grid in lifted.features):
        return None
    found = [_tiles(node, walk, grid) for grid in lifted.features]
    tiles = found[0]
    if tiles is None or any(other != tiles for other in found):
        return None
    count, channels = tiles.count, lifted.channels
    if count * channels * math.prod(tiles.lattice.size) > _MOST_NUMBERS:
        return None
    rows, columns = tiles.moves()
    images = lifted.batch // count
    name = walk.build.reshape(
        _on_lattice(walk, tiles, lifted.name, channels, rows, columns, lifted.dtype),
        [0, count * channels, *tiles.lattice.size],
    )
    whole = replace(
        lifted,
        name=name,
        channels=count * channels,
        batch=images,
        shape=(images, count, *lifted.inner_shape),
        rounding=None if lifted.rounding is None else np.tile(lifted.rounding, count),
    )
    row, channel = places // channels, places % channels
    image, window = (row % images, row // images) if tiles.outer else (row // count, row % count)
    averaged = node.op.startswith("Reduce") or _are_averaged(walk, walk.output, _only_axis(window))
    features = tuple(_features(walk, tiles, grid, rows, columns, averaged=averaged) for grid in lifted.features)
    return replace(whole, features=features), (image * count + window) * channels + channel


def _on_lattice(
    walk: Lifting,
    tiles: _Tiles,
    tensor: str,
    channels: int,
    rows: np.ndarray,
    columns: np.ndarray,
    dtype: np.dtype,
) -> str:
    """(N * windows, C, h, w) as (N, windows, C, H, W), zero where a window does not look."""
    build, size = walk.build, (rows.shape[2], columns.shape[2])
    if tiles.outer:
        apart = build.reshape(tensor, [tiles.count, -1, channels, *size])
        apart = build.node("Transpose", [apart], perm=[1, 0, 2, 3, 4])
    else:
        apart = build.reshape(tensor, [-1, tiles.count, channels, *size])
    down, across = (build.constant(line[:, None].astype(dtype)) for line in (rows, columns.transpose(0, 2, 1)))
    return build.node("MatMul", [down, build.node("MatMul", [apart, across])])


def _only_axis(numbers: np.ndarray) -> int | None:
    """The axis along which numbers differ; None if there are several, or none."""
    found = [axis for axis in range(numbers.ndim) if (numbers != numbers.take([0], axis)).any()]
    return found[0] if len(found) == 1 else None


def _are_averaged(walk: Lifting, tensor: str, axis: int | None) -> bool:
    """Whether all that reads a tensor whose windows lie along an axis is their mean or sum."""
    readers = walk.graph.consumers.get(tensor, [])
    if axis is None or not readers:
        return False
    for reader in readers:
        if reader.op == "Identity":
            done = _are_averaged(walk, reader.outputs[0].name, axis)
        elif reader.op == "Transpose":
            order = list(reader.attrs.get("perm") or range(len(walk.shape(tensor)))[::-1])
            done = _are_averaged(walk, reader.outputs[0].name, order.index(axis))
        else:
            done = reader.op in ("ReduceMean", "ReduceSum") and reduced_axes(reader, walk) == (axis,)
        if not done:
            return False
    return True


def _features(
    walk: Lifting, tiles: _Tiles, grid: FeatureGrid, rows: np.ndarray, columns: np.ndarray, *, averaged: bool
) -> FeatureGrid:
    """The map of all windows: of windows that overlap, that of each beside the others'."""
    held = [(line > 0).astype(np.float64) for line in (rows, columns)]
    name = _on_lattice(walk, tiles, grid.name, grid.channels, held[0], held[1], grid.dtype)
    covered = np.einsum("kh,kw->hw", held[0].sum(axis=2), held[1].sum(axis=2))
    channels = grid.channels
    apart = bool(covered.max() <= 1)
    if apart:
        name = walk.build.reduce("ReduceSum", name, [1], keepdims=False)
    else:
        channels *= tiles.count
        name = walk.build.reshape(name, [0, channels, *tiles.lattice.size])
    note = f"{tiles.count} windows of {'×'.join(map(str, tiles.size))} cells, where they look"
    view = CellPlaces(tiles.lattice.places, tiles.lattice.size)
    return replace(
        grid,
        name=name,
        channels=channels,
        size=tiles.lattice.size,
        note="; ".join(part for part in (grid.note, note) if part and part != UNARRANGED),
        laid=Laid(tiles.lattice.places, view, alike=apart and averaged and bool(covered.min() == 1)),
    )


def _tiles(node: gs.Node, walk: Lifting, grid: FeatureGrid) -> _Tiles | None:
    """How the batch of a map holds windows, read off its coordinates; None where it holds none."""
    looks = walk.coordinates.get(grid.source)
    if looks is None or len(looks.views) != 1 or 0 in grid.axes or not looks.rank:
        return None
    view, batch = looks.views[0], looks.shape[0]
    moving = [key for key, found in view.items() if key[1] > 0 and found.varies(0) and is_number(found.values).all()]
    names = {name for name, _ in moving}
    if len(names) != 1:
        return None
    name = names.pop()
    labels = view.get((name, 0))
    order = np.zeros(batch, np.int64)
    if labels is not None and labels.varies(0):
        if labels.values.size != batch or not is_number(labels.values).all():
            return None
        order = np.unique(labels.values.ravel(), return_inverse=True)[1].ravel()
    images = int(order.max()) + 1
    count = batch // images
    outer = bool(np.array_equal(order, np.tile(np.arange(images), count)) and images > 1)
    if count < 2 or batch % images or not (outer or np.array_equal(order, np.repeat(np.arange(images), count))):
        return None
    apart = unfolded(looks, count, outer=outer)
    inputs = {entry.name: entry.traced for entry in walk.trace.inputs}
    views = []
    for window in range(count):
        own = take(apart, (images, 1, *looks.shape[1:]), {1: np.array([window])})
        alone = reshape(own, (images, *looks.shape[1:]))
        views.append(places_of(alone, grid.axes, grid.size, inputs, lambda _: None))
    size = views[0].size
    if len(size) != 2 or math.prod(size) != math.prod(grid.size):
        return None
    together = all(is_in_order(cells) and not cells.beside and cells.size == size for cells in views)
    lattice = common_lattice(views) if together else None
    if lattice is None or not in_the_image(walk, lattice) or any(is_within(one, two) for one in views for two in views):
        message = (
            f"it takes apart {count} views of each image in one batch, which do not lie side by side in it: mirrored, "
            "or parts whose cells have no common places"
        )
        raise walk.refuse("different-views", node, message)
    return _Tiles(count, outer, (size[0], size[1]), lattice)
