"""From the map that a pool reads to the feature grid (N, C, H, W), whatever layout the vendor keeps it in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.ancestry import chooser, places_are_lost, random_maker
from onnx_gapmil.lift.frames import frames_along, frames_apart
from onnx_gapmil.lift.layout import Layout
from onnx_gapmil.lift.lifted import UNARRANGED, FeatureGrid
from onnx_gapmil.lift.planes import SEARCH_LIMIT, Plane, map_of
from onnx_gapmil.lift.single_image import has_no_batch, images_in
from onnx_gapmil.lift.verdict import HeadRefused, Refusal

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.layout import Role
    from onnx_gapmil.lift.lifting import Lifting

_MEANS = frozenset({"ReduceMean", "AveragePool"})
#: A Slice's end behind every token, whatever the image's size.
_TO_THE_END = (1 << 31) - 1


def feature_grid(
    node: gs.Node, walk: Lifting, data: str, axes: tuple[int, ...], *, untransposed: bool = True
) -> FeatureGrid:
    """The grid that a pool averages, as NCHW, with the nodes that bring it there.

    Pools in several steps (first over columns, then over rows) are followed back to the map they start from.

    Args:
        node: the pooling node that the walk met.
        walk: the walk.
        data: the map it reads.
        axes: the axes it pools over.
        untransposed: take the map before the vendor transposed it.

    Raises:
        HeadRefused: the axes are channels, or leave positions over; or the map is random.
    """
    layout = Layout(walk.graph, walk.trace)
    # Two runs of a random trunk differ, so that no proof of it could be more than luck.
    if (random := random_maker(walk, data)) is not None:
        raise walk.refuse("random-head", node, f"the map that it pools is random, made by {walk.describe(random)}")
    source, axes, own = first_map(walk, data, axes)
    if untransposed:
        source, axes, own = _behind_transposes(walk, source, axes, own)
    shape = walk.shape(source)
    axes = _whole_plane(shape, axes)
    averaged = tuple(2 + place for place, axis in enumerate(axes) if axis not in own and shape[axis] != 1)
    if averaged and len(axes) > 2 and node.op not in _MEANS | {"GlobalAveragePool"}:
        raise walk.refuse("partial-pool", node, "it pools what was averaged over some of three position axes or more")
    batch = None if has_no_batch(walk, source, axes) else walk.batch_axis(source)
    kept = [axis for axis in range(len(shape)) if axis not in (batch, *axes)]
    _require_space(node, walk, source, batch, axes, layout.roles(source))
    channels = math.prod(shape[axis] for axis in kept)
    found = _arrangement(node, walk, layout, source, axes)
    cells = tuple(shape[axis] for axis in axes) if len(axes) > 2 else ()
    return FeatureGrid(
        _as_nchw(walk, source, batch, kept, axes, channels, found),
        source,
        channels,
        found.size,
        axes,
        walk.describe(node),
        _layout_name(shape, axes),
        walk.dtype(source, np.dtype(np.float32)),
        found.note,
        averaged,
        cells,
        tuple((source, axis) for axis in axes) if cells else (),
        frames_apart(walk, source, axes),
        prefix=found.prefix,
    )


def first_map(walk: Lifting, data: str, axes: tuple[int, ...]) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """The map that a pool in several steps starts from, all of its axes that are pooled, and those of its last step."""
    wide = tuple(axis for axis in axes if walk.shape(data)[axis] != 1)
    return _first_map(walk, Layout(walk.graph, walk.trace), data, wide)


def _behind_transposes(
    walk: Lifting, source: str, axes: tuple[int, ...], own: tuple[int, ...]
) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """The same map before it was transposed, with the same axes there.

    TensorFlow's and Keras' exporters turn the last map to NHWC for the pool. ONNX Runtime moves such a Transpose
    through the pool, but not where it has another reader.
    """
    while (node := walk.graph.producer(source)) is not None and node.op == "Transpose":
        shape, batch = walk.shape(source), walk.batch_axis(source)
        perm = node.attrs.get("perm", list(range(len(shape)))[::-1])
        channels = [perm[axis] for axis, dim in enumerate(shape) if dim != 1 and axis not in (batch, *axes)]
        if channels != sorted(channels):
            break  # the pooled tensor has them in the order that they have here
        source = str(node.inputs[0].name)
        axes, own = (tuple(int(perm[axis]) for axis in places) for places in (axes, own))
    return source, axes, own


def _require_space(
    node: gs.Node,
    walk: Lifting,
    source: str,
    batch: int | None,
    axes: tuple[int, ...],
    roles: tuple[Role | None, ...],
) -> None:
    """What is pooled must be places of the image; which, and in which order, is judged when the head is lifted.

    Args:
        node: the pooling node.
        walk: the walk.
        source: the map.
        batch: its axis that tells the images apart, if it has one.
        axes: the axes that it is pooled over.
        roles: the role of each axis.
    """
    shape = walk.shape(source)
    wide = [axis for axis in range(len(shape)) if axis not in (batch, *axes) and shape[axis] != 1]
    # First: a stack of vectors (PyTorch's torch.stack(logits).sum(0)) has no batch in front, whatever it was made of.
    if places_are_lost(walk, source):
        raise _no_places(node, walk, source)
    if not axes:
        raise walk.refuse("no-spatial-pool", node, f"what it reduces of a {list(shape)} tensor is one position")
    if batch is not None and batch in axes and shape[batch] != 1:
        raise walk.refuse("spatial-mixing-after-pool", node, "it reduces over the images of the batch, too")
    roles = _told_by_coordinates(node, walk, source, axes, wide, roles)
    if any(roles[axis] == "channel" for axis in axes) or (len(shape) >= 4 and len(axes) == len(shape) - 1):
        raise walk.refuse(
            "no-spatial-pool", node, f"it reduces over the channels of a {list(shape)} tensor, not over space"
        )
    # Frames may stand beside the channels, (N, T, C): their mean comes later, or the head is refused when it is placed.
    wide = [axis for axis in wide if frames_along(walk, source, axis, axes) is None]
    if any(roles[axis] == "space" or (len(wide) >= 2 and roles[axis] != "channel") for axis in wide):
        raise walk.refuse(
            "partial-pool",
            node,
            f"it reduces a {list(shape)} tensor over axes {list(axes)} and leaves other positions",
        )


def _told_by_coordinates(
    node: gs.Node,
    walk: Lifting,
    source: str,
    axes: tuple[int, ...],
    wide: list[int],
    roles: tuple[Role | None, ...],
) -> tuple[Role | None, ...]:
    """The roles of axes where coordinates know better than the operators before: what has places is space.

    Raises:
        HeadRefused: the axes that are pooled have no places, and another one has.
    """
    placed = {axis for axis in range(len(roles)) if walk.holds_places(source, axis)}
    if placed.intersection(axes):
        # A product with a matrix over positions reads like a layer over channels; also along the other axis of the map,
        # which has two axes of channels then.
        channels = [axis for axis in wide if roles[axis] == "channel"]
        space = placed.intersection(axes)
        if len(channels) > 1:
            space = space.union(axis for axis in channels if walk.holds_places(source, axis, beside=axes))
        return tuple("space" if axis in space else role for axis, role in enumerate(roles))
    elsewhere = [axis for axis in wide if axis in placed]
    if elsewhere and any(roles[axis] == "channel" for axis in axes):
        shape = list(walk.shape(source))
        message = f"it reduces a {shape} tensor over axes {list(axes)}, and its places lie along axis {elsewhere[0]}"
        raise walk.refuse("no-spatial-pool", node, message)
    # Positions that a layer mixed have no places of their own, and no other axis of the tensor has any. The rows or
    # columns of mixed cells are space still: of a pool in two steps.
    if not elsewhere and walk.is_mixed(source):
        left: dict[int, Role] = {
            axis: "space" if roles[axis] == "space" and len(wide) > 1 else "channel" for axis in wide
        }
        return tuple("space" if axis in axes else left.get(axis, "batch") for axis in range(len(roles)))
    return roles


def _no_places(node: gs.Node, walk: Lifting, source: str) -> HeadRefused:
    """The refusal of a tensor that was sorted, or made of a vector."""
    choosing = chooser(walk, source)
    if choosing is not None:
        return walk.refuse(
            "no-spatial-pool",
            node,
            f"what it averages was sorted or chosen by {walk.describe(choosing)}, so its cells are no places",
        )
    behind = walk.try_lift(source)
    if isinstance(behind, Refusal) and behind.code != "no-spatial-pool":
        return HeadRefused(behind)
    return walk.refuse(
        "spatial-mixing-after-pool",
        node,
        f"it pools a {list(walk.shape(source))} tensor that was made of a vector without positions, so its cells are "
        "no places",
    )


def _whole_plane(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The other axis of a plane that is one position wide belongs to the grid too, so that it stays a plane."""
    if len(shape) == 4 and len(axes) == 1:
        for plane in ((2, 3), (1, 2)):
            if axes[0] in plane and all(shape[axis] == 1 for axis in plane if axis not in axes):
                return plane
    return axes


def _as_nchw(
    walk: Lifting,
    source: str,
    batch: int | None,
    kept: list[int],
    axes: tuple[int, ...],
    channels: int,
    found: _Arrangement,
) -> str:
    build, name = walk.build, source
    if batch is None:
        name = build.unsqueeze(name)
        batch, kept, axes = 0, [axis + 1 for axis in kept], tuple(axis + 1 for axis in axes)
    order = [batch, *kept, *axes]
    if order != sorted(order):
        name = build.node("Transpose", [name], perm=order)
    if len(order) == 4 and len(kept) == 1 and len(axes) == 2:
        return name
    if found.prefix:
        name = build.slice_last(name, found.prefix, _TO_THE_END)
    # Rows and columns of tokens are those of the trace: where the size is open, those of the map that tells them.
    if any(entry.space_is_open for entry in walk.trace.inputs) and found.plane is not None:
        rows = build.node(
            "Gather", [build.node("Shape", [found.plane.tensor]), build.ints([found.plane.axes[0]])], axis=0
        )
        target = build.node("Concat", [build.ints([0, channels]), rows, build.ints([-1])], axis=0)
        return build.node("Reshape", [name, target])
    return build.reshape(name, [0, channels, found.size[0], -1])


def _layout_name(shape: tuple[int, ...], axes: tuple[int, ...]) -> str:
    if len(shape) == 4:
        known: dict[tuple[int, ...], str] = {(2, 3): "NCHW", (1, 2): "NHWC", (0, 1): "HWNC"}
        return known.get(axes, f"positions in axes {list(axes)}")
    if len(shape) == 3:
        names: dict[tuple[int, ...], str] = {(0,): "tokens (T, N, C)", (1,): "tokens (N, T, C)"}
        return names.get(axes, "flattened map (N, C, T)")
    if len(shape) == 5:
        volumes: dict[tuple[int, ...], str] = {(2, 3, 4): "NCDHW", (1, 2, 3): "NDHWC", (1, 3, 4): "NTCHW"}
        return volumes.get(axes, f"positions in axes {list(axes)} of {list(shape)}")
    return f"positions in axes {list(axes)} of {list(shape)}"


def _first_map(
    walk: Lifting, layout: Layout, data: str, axes: tuple[int, ...]
) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """Follow a pool in several steps back: the map before the first step, all axes that are pooled, and the pool's own.

    A mean of means over whole axes is the mean over both; anything else ends the search where it is.
    """
    own = axes
    while True:
        node = walk.graph.producer(data)
        if node is None or not node.inputs or node.inputs[0].name not in walk.trace.shapes:
            return data, axes, own
        before, after = walk.shape(node.inputs[0].name), walk.shape(data)
        moved = _axis_map(walk, node, before, after)
        if moved is None:
            return data, axes, own
        reduced = tuple(axis for axis, dim in enumerate(before) if dim != 1 and axis not in moved.values())
        if any(axis not in moved for axis in axes) or (reduced and not _is_whole_mean(walk, node, layout, reduced)):
            return data, axes, own
        if not reduced and node.op not in ("Squeeze", "Unsqueeze", "Reshape", "Identity", "Flatten"):
            return data, axes, own
        there = tuple(sorted({moved[axis] for axis in axes} | set(reduced)))
        # One clip: a reshape to (1, frames, C, H, W) and a batch of frames before it have the same axes above 1.
        if images_in(walk, node.inputs[0].name, there) != images_in(walk, data, axes):
            return data, axes, own
        data = node.inputs[0].name
        own = tuple(moved[axis] for axis in own)
        axes = there


def _axis_map(walk: Lifting, node: gs.Node, before: tuple[int, ...], after: tuple[int, ...]) -> dict[int, int] | None:
    """Which axis of the input each wide axis of the output is, where a node only drops axes or sets them to 1."""
    wide_before = [axis for axis, dim in enumerate(before) if dim != 1]
    wide_after = [axis for axis, dim in enumerate(after) if dim != 1]
    if node.op in ("Squeeze", "Unsqueeze", "Reshape", "Identity", "Flatten"):
        if [before[axis] for axis in wide_before] == [after[axis] for axis in wide_after]:
            return dict(zip(wide_after, wide_before, strict=True))
        return None
    if node.op not in _MEANS:
        return None
    if len(before) == len(after):
        if all(before[axis] == after[axis] for axis in wide_after):
            return {axis: axis for axis in wide_after}
        return None
    given = node.attrs.get("axes", ())
    if len(node.inputs) > 1 and node.inputs[1].name:
        value = walk.value(node.inputs[1].name)
        given = () if value is None else value.reshape(-1).tolist()
    axes = [axis % len(before) for axis in given]
    left = [axis for axis in range(len(before)) if axis not in axes]
    if len(left) == len(after):
        return {place: axis for place, axis in enumerate(left) if before[axis] != 1}
    return None


def _is_whole_mean(walk: Lifting, node: gs.Node, layout: Layout, reduced: tuple[int, ...]) -> bool:
    """Whether a step averages whole spatial axes with equal weights."""
    source = node.inputs[0].name
    channels = [axis for axis, role in enumerate(layout.roles(source)) if role == "channel"]
    misread = len(channels) > 1  # of two, one is of a product with a matrix over positions
    if any(axis in channels and not (misread and walk.holds_places(source, axis)) for axis in reduced):
        return False
    if node.op == "ReduceMean":
        return True
    kernel = list(node.attrs.get("kernel_shape", ()))
    size = walk.shape(source)[2:]
    covers = [
        k == dim or (dim_axis + 2 not in reduced and k == 1)
        for dim_axis, (k, dim) in enumerate(zip(kernel, size, strict=True))
    ]
    return all(covers) and not any(node.attrs.get("pads", ()))


@dataclass(frozen=True)
class _Arrangement:
    """How the positions of a map lie.

    Attributes:
        size: height and width of the cells.
        note: where they are not what the vendor's tensor says.
        plane: the map that tells the rows and columns of tokens, where one does.
        prefix: leading tokens that are no places, such as a class token.
    """

    size: tuple[int, int]
    note: str = ""
    plane: Plane | None = None
    prefix: int = 0


def _arrangement(node: gs.Node, walk: Lifting, layout: Layout, source: str, axes: tuple[int, ...]) -> _Arrangement:
    """Height and width of the cells, and what a reader must know of them."""
    shape = walk.shape(source)
    if len(axes) == 2:
        return _Arrangement((shape[axes[0]], shape[axes[1]]))
    if len(axes) > 2:
        return _Arrangement((1, math.prod(shape[axis] for axis in axes)))
    count = shape[axes[0]]
    if len(shape) >= 4:
        return _Arrangement((1, count) if axes[0] == len(shape) - 1 else (count, 1))
    found, has_maps = map_of(walk, layout, source, count)
    if found is not None:
        return _Arrangement(found.size, "", found)
    # A class token or registers before the patches, which look at no place of their own.
    prefix, suffix = walk.placeless_ends(source, axes[0])
    if prefix and not suffix:
        found, _ = map_of(walk, layout, source, count - prefix)
        if found is not None:
            return _Arrangement(found.size, "", found, prefix)
    if has_maps and not walk.holds_places(source, axes[0]) and not _merged_locally(walk, source, count):
        raise walk.refuse(
            "learned-tokens",
            node,
            f"it averages {count} tokens, and no map before them has as many positions: they are learned tokens or "
            "contain some, and no places of the image",
        )
    return _Arrangement((1, count), UNARRANGED)


def _merged_locally(walk: Lifting, source: str, count: int) -> bool:
    """Whether so many positions came about by pooling neighbours among tokens, as Hiera does, and not by mixing."""
    name = source
    for _ in range(SEARCH_LIMIT):
        node = walk.graph.producer(name)
        if node is None:
            return False
        moving = [read.name for read in node.inputs if read.name and not walk.is_fixed(read.name)]
        same = [read for read in moving if count in walk.trace.shapes.get(read, ())[1:]]
        if not same:
            return node.op in ("Reshape", "ReduceMax", "ReduceMean", "MaxPool", "AveragePool")
        name = same[0]
    return False
