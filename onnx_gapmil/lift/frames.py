"""Frames of a clip that are pooled each by itself: a mean over them makes them cells, beside rows and columns.

A trunk for images sees them folded into the batch, (N * frames, C, H, W), or as an axis of their own beside the
channels. Up to the mean they are channels of the lift, so that each layer's rule holds; a head in which another layer
mixes them is refused when it is placed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.graph.ancestors import ancestors
from onnx_gapmil.lift.coordinates.fields import is_number
from onnx_gapmil.lift.lifted import Fold

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import FeatureGrid, Lifted
    from onnx_gapmil.lift.lifting import Lifting

#: Inputs of fewer axes are photos or signals, whose axes are no frames.
_CLIP_RANK = 5
#: Four corners and the middle of a photo, and their mirror images: the customary test-time crops.
_CROPS = (5, 10)
#: What may give each frame numbers of its own.
_BY_ELEMENT = frozenset(
    {"Add", "BatchNormalization", "Div", "MatMul", "Max", "Min", "Mul", "PRelu", "Pow", "Sub", "Where"}
)


def frames_along(walk: Lifting, tensor: str, axis: int, cells: tuple[int, ...] = ()) -> tuple[str, int] | None:
    """Which axis of which input lies along an axis of a vendor's tensor, if that is one of frames or slices.

    Args:
        walk: the walk.
        tensor: the tensor.
        axis: the axis.
        cells: axes along which they must not differ.
    """
    looks = walk.coordinates.get(tensor)
    views = looks.views if looks is not None and axis < looks.rank else ()
    shapes = {entry.name: entry.traced for entry in walk.trace.inputs}
    found = {
        (name, of)
        for view in views
        for (name, of), field in view.items()
        if _may_be_frames(shapes[name], of) and field.varies(axis) and is_number(field.values).all()
        if not any(field.varies(other) for other in cells)
    }
    return found.pop() if len(found) == 1 else None


def _may_be_frames(shape: tuple[int, ...], axis: int) -> bool:
    """Whether an axis of an input may hold frames: the one before rows and columns that does not hold colours.

    Colours that no layer has mixed yet lie along channels like frames do.
    """
    if axis not in (1, 2) or len(shape) < _CLIP_RANK:
        return False
    colours = next((place for count in (3, 1, 4) for place in (2, 1, len(shape) - 1) if shape[place] == count), None)
    return axis != colours


def frames_apart(walk: Lifting, source: str, axes: tuple[int, ...]) -> Fold | None:
    """Frames along an axis of a map that is not pooled, beside its channels."""
    batch = walk.batch_axis(source)
    for axis, dim in enumerate(walk.shape(source)):
        seen = frames_along(walk, source, axis, axes) if axis not in (batch, *axes) and dim > 1 else None
        if seen is not None:
            return Fold(dim, seen, batched=False, extent=(source, axis))
    return None


def folded(walk: Lifting, grid: FeatureGrid) -> Fold | None:
    """How frames are folded into the batch of a map, read off its coordinates; None where none are.

    Views in a batch (crops, mirrored copies) differ in other coordinates than frames do.
    """
    looks = walk.coordinates.get(grid.source)
    if looks is None or len(looks.views) != 1 or walk.batch_axis(grid.source) != 0 or 0 in grid.axes:
        return None
    ranks = {entry.name: len(entry.traced) for entry in walk.trace.inputs}
    moving = {key: found for key, found in looks.views[0].items() if looks.rank and found.varies(0)}
    frames = [key for key in moving if key[1] > 0]
    if len(frames) != 1 or ranks[frames[0][0]] < _CLIP_RANK or frames[0][1] not in (1, 2):
        return None
    values = moving[frames[0]].values
    if values.size != looks.shape[0] or not is_number(values).all():
        return None
    labels = np.unique(values.ravel(), return_inverse=True)[1].ravel()
    count = int(labels.max()) + 1
    if count < 2 or looks.shape[0] % count:
        return None
    images = looks.shape[0] // count
    for outer, order in (
        (False, np.tile(np.arange(count), images)),
        (True, np.repeat(np.arange(count), images)),
    ):
        if np.array_equal(labels, order) and _images_fit(moving.get((frames[0][0], 0)), images, count, outer=outer):
            return Fold(count, frames[0], batched=True, outer=outer)
    return None


def _images_fit(found: object, images: int, count: int, *, outer: bool) -> bool:
    """Whether the images of the batch come in the order that is left for them."""
    if images == 1:
        return True
    values = getattr(found, "values", None)
    if values is None or values.size != images * count:
        return False
    order = np.tile(np.arange(images), count) if outer else np.repeat(np.arange(images), count)
    return bool(np.array_equal(np.unique(values.ravel(), return_inverse=True)[1].ravel(), order))


def split_frames(walk: Lifting, lifted: Lifted, places: np.ndarray) -> tuple[Lifted, np.ndarray] | None:
    """A reshape of pooled frames (N * frames, C) that tells the clips apart: the frames become channels of the lift.

    Args:
        walk: the walk.
        lifted: of the tensor with the frames in its batch.
        places: for each element of the reshaped tensor, its place in the other as `Lifted.index` numbers them.

    Returns:
        The same lift as one of N images with frames * C channels, and the places in that; None where the batch holds
        no frames.
    """
    if lifted.batch_axis != 0 or any(grid.fold is not None for grid in lifted.features):
        return None
    folds = {folded(walk, grid) for grid in lifted.features}
    fold = folds.pop() if len(folds) == 1 else None
    if fold is None or lifted.batch % fold.frames or lifted.quantization is not None or lifted.rounding is not None:
        return None
    images, channels = lifted.batch // fold.frames, lifted.channels
    axis = next((axis for axis in range(1, places.ndim) if places.shape[axis] == fold.frames), None)
    name = lifted.name
    if fold.outer:  # a frame's images lie together: numbered anew, image by image
        if _space_is_open(walk):
            return None
        apart = walk.build.reshape(name, [fold.frames, -1, channels, math.prod(lifted.size)])
        name = walk.build.node("Transpose", [apart], perm=[1, 0, 2, 3])
        name = walk.build.reshape(name, [-1, fold.frames * channels, *lifted.size])
    else:
        name = walk.build.reshape(name, [-1, fold.frames * channels, 0, 0])
    # The input tells how many frames there are, where all are taken: no pooled tensor is read for it.
    traced = next(entry.traced for entry in walk.trace.inputs if entry.name == fold.seen[0])
    if traced[fold.seen[1]] == fold.frames:
        fold = replace(fold, extent=fold.seen)
    elif axis is not None:
        fold = replace(fold, extent=(walk.output, axis))
    whole = replace(
        lifted,
        name=name,
        channels=fold.frames * channels,
        batch=images,
        shape=(images, fold.frames, *lifted.inner_shape),
        features=tuple(replace(grid, fold=fold) for grid in lifted.features),
    )
    walk.frames_folded[name] = lifted
    row, channel = places // channels, places % channels
    image, frame = (row % images, row // images) if fold.outer else (row // fold.frames, row % fold.frames)
    return whole, (image * fold.frames + frame) * channels + channel


def ends_in_frames(walk: Lifting, lifted: Lifted, tensor: str, axes: tuple[int, ...]) -> bool:
    """Whether a reduction of a pooled tensor over some axes is over all of the frames that its lift keeps apart.

    Layers between keep the frames' coordinates; where one was not followed, nothing is claimed.
    """
    kept = [grid.fold for grid in lifted.features if grid.fold is not None and not grid.fold.averaged]
    if not kept or len(kept) != len(lifted.features) or len(axes) != 1 or lifted.batch_axis in (None, *axes):
        return False
    if lifted.shape[axes[0]] != kept[0].frames or frames_along(walk, tensor, axes[0]) is None:
        return False
    return all(_are_in_order(walk, fold, tensor, axes[0]) for fold in kept)


def _are_in_order(walk: Lifting, fold: Fold, tensor: str, axis: int) -> bool:
    """Whether a pooled tensor has each frame once, and where the map has it."""
    line = _line(walk, tensor, axis, fold.seen)
    if line is None or len(np.unique(line)) != fold.frames:
        return False
    of_map = np.sort(line) if fold.batched or fold.extent is None else _line(walk, *fold.extent, fold.seen)
    return of_map is not None and np.array_equal(line, of_map)


def _line(walk: Lifting, tensor: str, axis: int, seen: tuple[str, int]) -> np.ndarray | None:
    """Which frame is seen along an axis of a tensor; None where that is not known, or differs across other axes."""
    looks = walk.coordinates.get(tensor)
    lines = [
        np.moveaxis(view[seen].values, axis, 0).reshape(view[seen].values.shape[axis], -1)
        for view in (looks.views if looks is not None else ())
        if seen in view and view[seen].varies(axis)
    ]
    known = lines and lines[0].shape[1] == 1 and is_number(lines[0]).all()
    return lines[0][:, 0] if known else None


def _require_alike(node: gs.Node, walk: Lifting, lifted: Lifted, tensor: str, fold: Fold) -> None:
    """Refuse fixed numbers, other ones for each frame, between the frames' pools and their mean: cells differ by them.

    Raises:
        HeadRefused: there are some.
    """
    sources = {grid.source for grid in lifted.features}
    for name in ancestors(walk.graph, tensor, lambda _, read: read in sources):
        maker = walk.graph.producer(name)
        shape = walk.trace.shapes.get(name, ())
        if maker is None or maker.op not in _BY_ELEMENT:
            continue
        axes = [axis for axis in range(len(shape)) if frames_along(walk, name, axis) == fold.seen]
        for read in maker.inputs:
            value = walk.value(read.name) if read.name and walk.is_fixed(read.name) else None
            if value is not None and any(_differs_along(value, axis, shape, str(maker.op)) for axis in axes):
                raise walk.refuse(
                    "unknown-operator",
                    maker,
                    "it has other numbers for each frame, so that no one head answers for the cells of all",
                )


def _differs_along(value: np.ndarray, axis: int, shape: tuple[int, ...], op: str) -> bool:
    if op == "BatchNormalization":  # a number for each channel
        own = 0 if axis == 1 and value.ndim == 1 else -1
    else:
        own = axis - (len(shape) - value.ndim)
        if op == "MatMul" and own >= value.ndim - 2:
            return False  # its rows and columns
    if own < 0 or value.shape[own] != shape[axis]:
        return False
    return not np.array_equal(value, np.broadcast_to(np.take(value, [0], axis=own), value.shape))


def gather_frames(node: gs.Node, walk: Lifting, lifted: Lifted, axis: int) -> Lifted:
    """The lift of a mean over frames: the cells of all of them side by side, which were channels so far.

    Args:
        node: the mean, or sum.
        walk: the walk.
        lifted: of the pooled tensor that it reduces.
        axis: of that tensor: the frames.

    Returns:
        A lift (N, channels, 1, frames * cells), of the same tensor with a frames' axis of 1.

    Raises:
        HeadRefused: the number of frames is open, and a layer stands before the mean; they may be crops; or a layer has
            other numbers for each.
    """
    inner = [dim for place, dim in enumerate(lifted.shape) if place != lifted.batch_axis]
    place = axis - (1 if lifted.batch_axis is not None and axis > lifted.batch_axis else 0)
    fold = next(grid.fold for grid in lifted.features if grid.fold is not None)
    if fold.batched and fold.frames in _CROPS and not _are_open(walk, fold):
        raise walk.refuse(
            "different-views",
            node,
            f"it averages {fold.frames} images of one input, as tests on {fold.frames} crops of a photo do: nothing in "
            "the file tells those from frames",
        )
    _require_alike(node, walk, lifted, node.inputs[0].name, fold)
    before = walk.frames_folded.get(lifted.name)
    if not _are_open(walk, fold):
        name = _side_by_side(walk, lifted.name, inner, place)
    elif before is not None and fold.extent is not None and all(_has_extents(grid) for grid in lifted.features):
        name = _unfolded(walk, before.name, before.channels, math.prod(lifted.size), fold)
    else:
        raise walk.refuse(
            "spatial-mixing-after-pool",
            node,
            "the number of frames is left open, and a layer stands between their pools and their mean: export the "
            "model with a fixed number of frames",
        )
    return replace(
        lifted,
        name=name,
        channels=lifted.channels // fold.frames,
        shape=tuple(1 if at == axis else dim for at, dim in enumerate(lifted.shape)),
        features=tuple(_with_frames(walk, grid) for grid in lifted.features),
    )


def frames_are_open(walk: Lifting, lifted: Lifted) -> bool:
    """Whether the number of a lift's frames is only known at run time."""
    return any(_are_open(walk, grid.fold) for grid in lifted.features if grid.fold is not None)


def _are_open(walk: Lifting, fold: Fold) -> bool:
    name, axis = fold.seen
    return any(entry.name == name and not isinstance(entry.declared[axis], int) for entry in walk.trace.inputs)


def _space_is_open(walk: Lifting) -> bool:
    return any(entry.space_is_open for entry in walk.trace.inputs)


def _has_extents(grid: FeatureGrid) -> bool:
    """Whether the lengths of a grid's axes are those of axes of its source: not where tokens are rows and columns."""
    return len(grid.axes) == len(grid.shape)


def _with_frames(walk: Lifting, grid: FeatureGrid) -> FeatureGrid:
    """A map with its frames as cells."""
    fold = grid.fold
    if fold is None:
        return grid
    if fold.batched:
        at = 0
        name = _unfolded(walk, grid.name, grid.channels, math.prod(grid.size), fold)
        channels = grid.channels
    else:
        at = fold.extent[1] if fold.extent is not None else 0
        shape = walk.shape(grid.source)
        kept = [axis for axis in range(len(shape)) if axis not in (walk.batch_axis(grid.source), *grid.axes)]
        name = _side_by_side(walk, grid.name, [shape[axis] for axis in kept], kept.index(at))
        channels = grid.channels // fold.frames
    extents: tuple[tuple[str, int], ...] = ()
    if fold.extent is not None and _has_extents(grid):
        extents = (fold.extent, *((grid.source, axis) for axis in grid.axes))
    cells = (fold.frames, *grid.shape)
    return replace(
        grid,
        name=name,
        channels=channels,
        size=(1, math.prod(cells)),
        cells=cells,
        axes=(at, *grid.axes),
        extents=extents,
        fold=replace(fold, averaged=True),
    )


def _side_by_side(walk: Lifting, tensor: str, inner: list[int], place: int) -> str:
    """(N, a * frames * b, H, W) to (N, a * b, 1, frames * H * W)."""
    build, before, after = walk.build, math.prod(inner[:place]), math.prod(inner[place + 1 :])
    if after != 1:
        flat = build.reshape(tensor, [0, math.prod(inner), -1])
        apart = build.reshape(flat, [0, before, inner[place], after, -1])
        tensor = build.node("Transpose", [apart], perm=[0, 1, 3, 2, 4])
    return build.reshape(tensor, [0, before * after, 1, -1])


def _unfolded(walk: Lifting, tensor: str, channels: int, cells: int, fold: Fold) -> str:
    """(N * frames, C, H, W) to (N, C, 1, frames * H * W)."""
    build = walk.build
    if fold.outer:
        apart = build.reshape(tensor, [fold.frames, -1, channels, cells])
        return build.reshape(build.node("Transpose", [apart], perm=[1, 2, 0, 3]), [0, channels, 1, -1])
    if _space_is_open(walk):
        flat = build.reshape(tensor, [0, channels, -1])
        size = build.node("Gather", [build.node("Shape", [flat]), build.ints([2])], axis=0)
        frames = build.ints([fold.frames])
        if _are_open(walk, fold) and fold.extent is not None:
            name, axis = fold.extent
            frames = build.node("Gather", [build.node("Shape", [name]), build.ints([axis])], axis=0)
        target = build.node("Concat", [build.ints([-1]), frames, build.ints([channels]), size], axis=0)
        apart = build.node("Reshape", [flat, target])
    else:
        apart = build.reshape(tensor, [-1, fold.frames, channels, cells])
    return build.reshape(build.node("Transpose", [apart], perm=[0, 2, 1, 3]), [0, channels, 1, -1])
