"""The earlier, finer maps that an auxiliary classifier can read: named, or found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.errors import InputError
from onnx_gapmil.graph.ancestors import ancestors
from onnx_gapmil.lift.layout import Layout
from onnx_gapmil.rewriting.auxiliary.lattice import Finer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.images.places import AxisPlaces
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.rewriting.analysis import Analysis

#: Maps that are found have at most so many times the head's cells along a side: those before see a few pixels, which
#: tell edges and no classes, and a grid of all classes on them is large.
_FINEST = 4
#: How far a step may be from a whole number of a finer one.
_WHOLE = 1e-3
#: Names of maps that a message lists.
_LISTED = 6


@dataclass(frozen=True)
class AuxiliaryMap:
    """A map of the vendor's before the head.

    Attributes:
        tensor: its name.
        axes: which of its axes are the batch, the channels, rows and columns.
        channels: C.
        size: (H, W) in the trace.
        rows: where its rows look.
        columns: where its columns look.
    """

    tensor: str
    axes: tuple[int, int, int, int]
    channels: int
    size: tuple[int, int]
    rows: AxisPlaces
    columns: AxisPlaces


def auxiliary_maps(analysis: Analysis, head: LiftedHead, names: Sequence[str]) -> tuple[AuxiliaryMap, ...]:
    """The maps of these names; without names the last one of each finer resolution.

    Args:
        analysis: of the vendor's graph.
        head: one of its heads.
        names: tensors of the graph.

    Returns:
        The maps, the finest first.

    Raises:
        InputError: the head has no grid on an image; a name is no tensor of the graph, no map, has no known places, or
            is no finer than the head's own grid; or none is found.
    """
    _require_grid(analysis, head)
    layout = Layout(analysis.graph, analysis.trace)
    if names:
        found = [_named(analysis, head, layout, name) for name in dict.fromkeys(names)]
    else:
        found = _found(analysis, head, layout)
        if not found:
            rows, columns = head.scores.size
            raise InputError(
                f"output '{head.outputs[0]}': no map before its head is finer than its grid of {rows} x {columns} "
                f"cells and has at most {_FINEST} times as many a side; name one by sac:TENSOR."
            )
    return tuple(sorted(found, key=lambda entry: -entry.size[0] * entry.size[1]))


def _require_grid(analysis: Analysis, head: LiftedHead) -> None:
    """Make sure that the head's own grid is one of rows and columns of an image.

    Raises:
        InputError: it is not.
    """
    why = ""
    if head.class_token is not None or any(grid.cells for grid in head.features):
        why = "its cells are more than rows and columns"
    elif not head.places.known or head.places.rows is None or head.places.columns is None:
        why = f"where its cells look is not known: {head.places.reason or 'it is no image'}"
    elif not analysis.trace.measured:
        why = "its weights exceed what a trial run may read"
    if why:
        raise InputError(f"output '{head.outputs[0]}' gets no finer grid: {why}.")


def _named(analysis: Analysis, head: LiftedHead, layout: Layout, name: str) -> AuxiliaryMap:
    shape = analysis.trace.shapes.get(name)
    if shape is None or name in analysis.graph.constants:
        others = ", ".join(
            f"{entry.tensor} ({entry.size[0]} x {entry.size[1]})" for entry in _found(analysis, head, layout)[:_LISTED]
        )
        raise InputError(
            f"the graph has no tensor '{name}' that depends on the image; finer maps are: {others or 'none'}."
        )
    axes = _axes_of_map(analysis, layout, name)
    if axes is None:
        raise InputError(f"tensor '{name}' has the shape {list(shape)}, and is no map of rows, columns and channels.")
    size = (shape[axes[2]], shape[axes[3]])
    if not _is_finer(size, head):
        rows, columns = head.scores.size
        raise InputError(
            f"tensor '{name}' has {size[0]} x {size[1]} cells, and the head's own grid {rows} x {columns}: name an "
            "earlier, finer map."
        )
    entry = _placed(analysis, head, name, axes, size)
    if isinstance(entry, str):
        raise InputError(f"tensor '{name}' cannot refine the head's grid: {entry}.")
    return entry


def _found(analysis: Analysis, head: LiftedHead, layout: Layout) -> list[AuxiliaryMap]:
    """The last map of each finer resolution before the head, the first in the graph first."""
    graph = analysis.graph
    before = {name for grid in head.features for name in ancestors(graph, grid.source, lambda *_: False)}
    last: dict[tuple[int, int], AuxiliaryMap] = {}
    for node in graph.proto.graph.node:
        for name in node.output:
            # What was padded for the next window is no map of its own.
            if name not in before or node.op_type == "Pad":
                continue
            axes = _axes_of_map(analysis, layout, name)
            shape = analysis.trace.shapes.get(name, ())
            size = (shape[axes[2]], shape[axes[3]]) if axes is not None else (0, 0)
            if axes is None or not _is_finer(size, head):
                continue
            if any(own > _FINEST * side for own, side in zip(size, head.scores.size, strict=True)):
                continue
            entry = _placed(analysis, head, name, axes, size)
            if not isinstance(entry, str):
                last[size] = entry
    return list(last.values())


def _axes_of_map(analysis: Analysis, layout: Layout, name: str) -> tuple[int, int, int, int] | None:
    """Batch, channels, rows and columns of a tensor of floats that is a map; None if it is none."""
    trace, walk = analysis.trace, analysis.search.walk
    shape, node = trace.shapes.get(name, ()), analysis.graph.producer(name)
    if len(shape) != 4 or node is None:
        return None
    # Inference knows no types of ONNX Runtime's own operators; those that are called so give integers.
    unknown = np.dtype(np.uint8 if node.op.startswith("QLinear") else np.float32)
    if trace.dtypes.get(name, unknown).kind != "f":
        return None
    batch = walk.batch_axis(name)
    space = [axis for axis in range(4) if axis != batch and walk.holds_places(name, axis)]
    if len(space) != 2:
        space = [axis for axis, role in enumerate(layout.roles(name)) if role == "space"]
    channels = [axis for axis in range(4) if axis not in (batch, *space)]
    if len(space) != 2 or len(channels) != 1 or shape[batch] != trace.batch:
        return None
    return batch, channels[0], space[0], space[1]


def _placed(
    analysis: Analysis, head: LiftedHead, name: str, axes: tuple[int, int, int, int], size: tuple[int, int]
) -> AuxiliaryMap | str:
    """The map with its places, or why these are none that refine the head's."""
    found = analysis.search.walk.places(name, axes[2:], size)
    rows, columns = found.places.rows, found.places.columns
    if not found.places.known or rows is None or columns is None:
        return f"where its cells look is not known ({found.places.reason or 'they are no rows and columns'})"
    if found.order is not None or found.places.input != head.places.input:
        return "its cells are not in the order of the head's"
    for line, own in zip((rows, columns), _lines(head), strict=True):
        times = own.step / line.step
        if abs(times - round(times)) > _WHOLE:
            return (
                f"its cells lie {line.step:g} pixels apart and the head's {own.step:g}, which is no whole number of "
                "times as many"
            )
    for line, own, cells, finer in zip((rows, columns), _lines(head), head.scores.size, size, strict=True):
        if not Finer.of(own, cells, line, finer).reaches:
            return "its outermost cells look a whole cell of the head's beyond the head's"
    return AuxiliaryMap(name, axes, analysis.trace.shapes[name][axes[1]], size, rows, columns)


def _lines(head: LiftedHead) -> tuple[AxisPlaces, AxisPlaces]:
    rows, columns = head.places.rows, head.places.columns
    if rows is None or columns is None:
        raise ValueError("the places of the head were not required")
    return rows, columns


def _is_finer(size: tuple[int, int], head: LiftedHead) -> bool:
    own = head.scores.size
    return all(mine >= side for mine, side in zip(size, own, strict=True)) and size != own
