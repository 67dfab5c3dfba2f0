"""Where the elements of a graph's tensors look, and what that says of their axes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.graph.ancestors import ancestors
from onnx_gapmil.lift.coordinates.fields import MIXED, POOLED, is_number
from onnx_gapmil.lift.coordinates.judging import COLOURS, CellPlaces, places_of
from onnx_gapmil.lift.coordinates.looks import unfolded
from onnx_gapmil.lift.coordinates.preparing import plain
from onnx_gapmil.lift.coordinates.tracing import trace_coordinates

if TYPE_CHECKING:
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.lift.coordinates.looks import Key, Looks
    from onnx_gapmil.lift.lifted import Fold


class Looking:
    """What the coordinates of a graph's tensors say of them.

    Attributes:
        graph: the vendor's graph.
        trace: its real shapes.
    """

    def __init__(self, graph: ModelGraph, trace: Trace) -> None:
        self.graph = graph
        self.trace = trace

    @cached_property
    def coordinates(self) -> dict[str, Looks]:
        """Where the elements of every tensor of the vendor's graph look; traced when it is first asked for."""
        return trace_coordinates(*plain(self.graph, self.trace))

    def places(
        self, grid: str, axes: tuple[int, ...], size: tuple[int, ...], fold: Fold | None = None, suffix: int = 0
    ) -> CellPlaces:
        """Where the cells of a map look.

        Args:
            grid: the vendor's tensor.
            axes: its axes that are cells, in the order rows, columns.
            size: lengths of the axes of cells, as the vendor arranges them.
            fold: frames that are cells, and folded into its batch.
            suffix: how many tokens behind the cells are none.
        """
        inputs = {entry.name: entry.traced for entry in self.trace.inputs}
        looks = self.coordinates.get(grid)
        if fold is not None and fold.batched and looks is not None and looks.rank:
            looks = unfolded(looks, fold.frames, outer=fold.outer)
            axes = (1, *(axis + 1 for axis in axes[1:]))
        are_frames = fold is not None and fold.batched
        return places_of(
            looks, axes, size, inputs, lambda key: self._extent(grid, key), are_frames=are_frames, suffix=suffix
        )

    def _extent(self, tensor: str, key: Key) -> tuple[float, float] | None:
        """From where to where what a tensor is made of reaches along an axis of an input, in pixels.

        The nearest tensor before it tells whose elements look at several places.
        """
        for name in ancestors(self.graph, tensor, lambda *_: False):
            for view in self.coordinates[name].views if name in self.coordinates else ():
                values = view[key].values if key in view else np.zeros(0)
                places = values[is_number(values)]
                if len(places) and np.ptp(places) > 0:
                    half = view[key].step / 2
                    return float(places.min()) - half, float(places.max()) + half
        return None

    def holds_places(self, tensor: str, axis: int, beside: tuple[int, ...] = ()) -> bool:
        """Whether what lies along an axis of a vendor's tensor are places of an input, told by its coordinates.

        Args:
            tensor: the tensor.
            axis: of it.
            beside: axes that do not tell these places apart, as those of a map and the channels of its patches do.
        """
        looks = self.coordinates.get(tensor)
        views = looks.views if looks is not None and axis < looks.rank else ()
        sizes = {entry.name: entry.traced for entry in self.trace.inputs}
        return any(
            of > 0
            and sizes[name][of] > COLOURS
            and found.has_numbers
            and found.varies(axis)
            and not any(found.varies(other) for other in beside)
            for view in views
            for (name, of), found in view.items()
        )

    def is_one_place_along(self, tensor: str, axis: int) -> bool:
        """Whether all that lies along an axis looks at the same place, and looks at some."""
        looks = self.coordinates.get(tensor)
        if looks is None or not looks.views or axis >= looks.rank:
            return False
        fields = [found for view in looks.views for (_, of), found in view.items() if of > 0]
        return any(found.has_numbers for found in fields) and not any(found.varies(axis) for found in fields)

    def is_mixed(self, tensor: str) -> bool:
        """Whether all that is known of a tensor's places is that a layer mixed them."""
        looks = self.coordinates.get(tensor)
        fields = (
            [found for view in looks.views for (_, of), found in view.items() if of > 0] if looks is not None else []
        )
        return bool(fields) and all(bool((found.values == MIXED).all()) for found in fields)

    def is_pooled(self, tensor: str) -> bool:
        """Whether all of a tensor is made of all places alike, so that it is no map, whatever its shape."""
        looks = self.coordinates.get(tensor)
        views = looks.views if looks is not None else ()
        sizes = {entry.name: entry.traced for entry in self.trace.inputs}
        states = [
            found.values for view in views for (name, of), found in view.items() if of > 0 and sizes[name][of] > COLOURS
        ]
        return bool(states) and all(bool((values == POOLED).all()) for values in states)

    def placeless_ends(self, tensor: str, axis: int) -> tuple[int, int]:
        """How many elements lead and end an axis that look at no place of their own, where all others look at one."""
        looks = self.coordinates.get(tensor)
        if looks is None or len(looks.views) != 1:
            return 0, 0
        counts = set()
        for (_, of), found in looks.views[0].items():
            if of == 0 or not found.varies(axis):
                continue
            lines = np.moveaxis(is_number(found.values), axis, 0).reshape(found.values.shape[axis], -1)
            placed = np.flatnonzero(lines.all(axis=1))
            if len(placed) and len(placed) == placed[-1] - placed[0] + 1:
                counts.add((int(placed[0]), int(len(lines) - 1 - placed[-1])))
        return counts.pop() if len(counts) == 1 else (0, 0)

    def batch_axis(self, tensor: str) -> int:
        """Which axis of a vendor's tensor tells the images apart; the first where its coordinates do not say."""
        looks = self.coordinates.get(tensor)
        views = looks.views if looks is not None else ()
        # An image of its own, (H, W, 3) with a graph that adds the batch: the first axis of no output is the input's.
        ends = [self.trace.shapes.get(value.name, ()) for value in self.graph.outputs]
        alone = not any(shape[:1] == (self.trace.batch,) for shape in ends)
        batched = {entry.name for entry in self.trace.inputs if entry.traced[:1] == (self.trace.batch,) and not alone}
        found = {
            axis
            for view in views
            for (name, of), field in view.items()
            for axis in range(field.values.ndim)
            if of == 0 and name in batched and field.varies(axis)
        }
        if len(found) == 1:
            return found.pop()
        shape = self.trace.shapes.get(tensor, ())
        # One image: sequences that have their positions first keep a unit axis for it.
        if shape and shape[0] != 1 and self.trace.batch == 1 and 1 in shape and self.holds_places(tensor, 0):
            return shape.index(1)
        return 0

    def tells_images_apart(self, tensor: str, axis: int) -> bool:
        """Whether elements along an axis of a vendor's tensor are known to be of different images."""
        looks = self.coordinates.get(tensor)
        for view in looks.views if looks is not None and axis < looks.rank else ():
            for (_, of), field in view.items():
                if of == 0 and field.varies(axis):
                    values = np.ma.masked_array(field.values, ~is_number(field.values))
                    if bool(np.ma.ptp(values, axis=axis).filled(0).any()):
                        return True
        return False
