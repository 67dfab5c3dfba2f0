"""Which channels of what a head pools came from maps of their own, that were laid one behind the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.rewriting.emission.rows import ELEMENTWISE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.rewriting.record import FeatureGridRecord

#: Operators between a Concat and the map that leave each channel's places as they are.
_POINTWISE = ELEMENTWISE | {"BatchNormalization"}
#: Maps with more parts (a DenseNet's last has one for each layer) are looked at in as many groups.
_MOST = 16
_STEPS = 16


def joined_channels(proto: onnx.ModelProto, grids: Sequence[FeatureGridRecord], trace: Trace) -> tuple[int, ...]:
    """How many channels each map has that a head's features are joined of; empty where they are one map.

    Args:
        proto: the model.
        grids: the head's maps; its features have them one behind the other.
        trace: the real shapes.
    """
    makers = {name: node for node in proto.graph.node for name in node.output if name}
    counts = [count for grid in grids for count in _parts(makers, grid, trace)]
    if len(counts) < 2:
        return ()
    while len(counts) > _MOST:
        at = min(range(len(counts) - 1), key=lambda place: counts[place] + counts[place + 1])
        counts[at : at + 2] = [counts[at] + counts[at + 1]]
    return tuple(counts)


def _parts(makers: Mapping[str, onnx.NodeProto], grid: FeatureGridRecord, trace: Trace) -> list[int]:
    """The channels of each tensor that a grid's source was concatenated of; all of them where it was not."""
    shape = trace.shapes.get(grid.source, ())
    channels = [axis for axis in range(1, len(shape)) if axis not in grid.axes]
    node = makers.get(grid.source)
    for _ in range(_STEPS):
        if node is None or node.op_type == "Concat" or node.op_type not in _POINTWISE:
            break
        # Of a sum or a product the operand that is a map; a bias and a scale are of fewer axes, or of length 1.
        wide = [name for name in node.input if trace.shapes.get(name) == shape]
        node = makers.get(wide[0]) if len(wide) == 1 else None
    if node is None or node.op_type != "Concat" or len(channels) != 1:
        return [grid.channels]
    axis = next(entry.i for entry in node.attribute if entry.name == "axis") % len(shape)
    counts = [trace.shapes.get(name, ())[axis : axis + 1] for name in node.input]
    found = [count[0] for count in counts if count]
    return found if axis == channels[0] and sum(found) == grid.channels else [grid.channels]
