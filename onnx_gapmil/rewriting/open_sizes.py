"""Places of inputs whose height and width are left open: known where they are the same at another size.

Coordinates and stripes are of one size. A map that is cut at its end or about its middle, or resized to a length that
the file fixes, has its cells elsewhere when the image is larger, and a picture of that would show them where they are
at the size of the trace.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from onnx_gapmil.errors import GapmilError, PreprocessError
from onnx_gapmil.graph.inputs import concrete_inputs
from onnx_gapmil.graph.trace import trace as run_trace
from onnx_gapmil.images.input_spec import image_spec
from onnx_gapmil.images.places import Places
from onnx_gapmil.images.stated import read_first_nodes
from onnx_gapmil.lift.coordinates.judging import places_of
from onnx_gapmil.lift.coordinates.preparing import plain
from onnx_gapmil.lift.coordinates.tracing import trace_coordinates
from onnx_gapmil.lift.placing import unarranged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.lift.coordinates.looks import Looks
    from onnx_gapmil.lift.heads import HeadSearch, LiftedHead
    from onnx_gapmil.lift.lifted import FeatureGrid
    from onnx_gapmil.lift.lifting import Lifting

#: How much larger the other sizes are that are tried, in pixels down and to the right: multiples of all usual steps,
#: and then of what is fixed to one shape of image.
_LARGER = ((64, 96), (32, 32), (224, 224))
#: Steps by which places may differ: what padding that depends on the size does (TensorFlow's SAME).
_SAME = 0.5
_SAME_STEP = 0.02


def with_open_sizes(source: LoadedModel, graph: ModelGraph, trace: Trace, search: HeadSearch) -> HeadSearch:
    """The same heads; the places of those whose cells look elsewhere at another size are not known.

    Where the model does not run at another size, or cannot be followed there, they stay as they were traced.

    Args:
        source: the model.
        graph: as it was lifted.
        trace: its real shapes.
        search: its heads.
    """
    if not trace.measured or not any(entry.space_is_open for entry in trace.inputs):
        return search
    doubted = [
        head
        for head in search.heads
        if head.places.known and any(map(_is_followed, head.features)) and not resized_from(source, trace, head.places)
    ]
    if not doubted or (other := _at_another_size(graph, trace)) is None:
        return search
    settled = {id(head): _settled(search.walk, head, *other) for head in doubted}
    return replace(search, heads=tuple(settled.get(id(head), head) for head in search.heads))


def resized_from(source: LoadedModel, trace: Trace, places: Places) -> tuple[int, int] | None:
    """The size of the trace, where the graph resizes an input of any size to one before anything else."""
    entry = next((entry for entry in trace.inputs if entry.name == places.input), None)
    spec = image_spec(source.proto, alone=entry is not None and entry.alone)
    if spec is None or entry is None or spec.name != places.input or not entry.space_is_open:
        return None
    try:
        if not read_first_nodes(source.proto, spec, source.folder).resizes_whole:
            return None
        last = spec.layout() == "NHWC"
    except PreprocessError:  # no picture
        return None
    height, width = entry.traced[-3:-1] if last else entry.traced[-2:]
    return height, width


def _at_another_size(graph: ModelGraph, trace: Trace) -> tuple[Trace, Mapping[str, Looks]] | None:
    """The model traced at another size, and where its tensors look there; None where it runs at no other."""
    entry = next(entry for entry in trace.inputs if entry.space_is_open)
    opened = [dim for dim, said in zip(entry.traced, entry.declared, strict=True) if not isinstance(said, int)]
    height, width = (opened if entry.alone else opened[int(entry.batch_is_open) :])[:1] * 2 or (0, 0)
    if len(opened) > 1 + int(entry.batch_is_open):
        height, width = opened[-2:]
    for down, right in _LARGER:
        shapes = concrete_inputs(graph, trace.batch, (height + down, width + right))
        try:
            found = run_trace(graph, at=[shapes])
            return found, trace_coordinates(*plain(graph, found))
        except GapmilError:
            continue
    return None


def _settled(walk: Lifting, head: LiftedHead, trace: Trace, coordinates: Mapping[str, Looks]) -> LiftedHead:
    """The head, its places not known where one of its grids looks elsewhere in another trace."""
    for grid in head.features:
        found = _places(grid, trace, coordinates)
        if found is not None and (change := _change(head.places, found)):
            reason = f"the size of the input, which the file leaves open, decides where its cells look: {change}"
            return replace(head, lifted=unarranged(walk, head.lifted), places=Places.unknown(reason, settled=True))
    return head


def _is_followed(grid: FeatureGrid) -> bool:
    """Whether a grid's cells are told by its tensor alone: no frames are folded, no views laid side by side."""
    return grid.fold is None and grid.laid is None


def _places(grid: FeatureGrid, trace: Trace, coordinates: Mapping[str, Looks]) -> Places | None:
    """Where a grid's cells look in another trace; None where that is not followed."""
    shape = trace.shapes.get(grid.source, ())
    if not _is_followed(grid) or len(shape) <= max(grid.axes, default=0):
        return None
    size = tuple(shape[axis] for axis in grid.axes)
    if len(size) == 1:  # tokens: how they lie in rows and columns is told by their coordinates
        size = (1, size[0] - grid.prefix)
    inputs = {entry.name: entry.traced for entry in trace.inputs}
    found = places_of(coordinates.get(grid.source), grid.axes, size, inputs).places
    return found if found.known else None


def _change(one: Places, two: Places) -> str:
    """In what places differ, for people; "" where they are the same."""
    for name, first in one.lines.items():
        second = two.lines.get(name)
        if second is None:
            return f"{name} are told at one size alone"
        if not math.isclose(first.step, second.step, rel_tol=_SAME_STEP):
            return f"{name} lie {first.step:.4g} pixels apart at one size, and {second.step:.4g} at a larger one"
        if abs(first.first - second.first) > _SAME * first.step:
            return f"{name} begin at {first.first:.4g} pixels at one size, and at {second.first:.4g} at a larger one"
    return ""
