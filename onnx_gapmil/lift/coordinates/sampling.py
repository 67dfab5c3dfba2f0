"""Operators that read between or beyond elements: padding, resizing, sampling grids."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.lift.coordinates.fields import (
    SAMPLED,
    UNKNOWN,
    Field,
    compact,
    divided,
    extended,
    is_number,
    straightened,
)
from onnx_gapmil.lift.coordinates.looks import Looks, stated
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.coordinates.scene import Rule, Scene

#: Padding of at most one in so many rows belongs to a convolution.
_NARROW = 4


def _padded(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """Padding looks where the steps of the map lead beyond its edge; wide reflections look at what they repeat."""
    before, after = parts[0].shape, scene.out_shape(node)
    pads = scene.numbers(node, "pads", 1)
    if pads is None:
        pads = scene.numbers(node, "paddings", 1)
    if pads is None:
        return [stated(parts[:1], after, SAMPLED, f"{node.op} '{node.name}' pads by what the image decides")]
    axes = scene.numbers(node, "axes", 3) or list(range(len(before)))
    mode = str(node.attrs.get("mode", "constant"))
    ends = {axis % len(before): (pads[place], pads[place + len(axes)]) for place, axis in enumerate(axes)}

    def move(values: np.ndarray) -> np.ndarray:
        for axis, (head, tail) in ends.items():
            if values.shape[axis] == 1:
                continue
            # Convolutions that reflect, repeat or wrap at the edge look beyond it as those with zeros do. A wide border
            # is no such padding: cells that lie in it look where it was taken from.
            if mode == "constant" or max(head, tail) * _NARROW <= values.shape[axis]:
                values = extended(values, axis, head, tail)
            else:
                line = np.pad(np.arange(values.shape[axis]), (max(head, 0), max(tail, 0)), mode)  # type: ignore[call-overload]
                values = np.take(values, line, axis)
            cut = slice(max(-head, 0), values.shape[axis] - max(-tail, 0))
            values = values[(slice(None),) * axis + (cut,)]
        return values

    return [parts[0].moved(after, move)]


def _center_cropped(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """The middle of a map, or a map with zeros around it, along each axis by itself."""
    before, after = parts[0].shape, scene.out_shape(node)
    if not scene.is_fixed(node.inputs[1].name):
        return [stated(parts[:1], after, SAMPLED, f"{node.op} '{node.name}' crops where the image decides")]
    lines = {}
    for axis, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            shape = [1 if place != axis else old for place in range(len(before))]
            numbers = np.broadcast_to(np.arange(1, old + 1, dtype=np.float32).reshape(shape), before)
            made = scene.run(node, {node.inputs[0].name: np.ascontiguousarray(numbers)})
            lines[axis] = made.max(axis=tuple(place for place in range(len(before)) if place != axis))

    def move(values: np.ndarray) -> np.ndarray:
        for axis, line in lines.items():
            if values.shape[axis] == 1:
                continue
            held = np.flatnonzero(line)
            values = np.take(values, line[held].astype(np.int64) - 1, axis)
            values = extended(values, axis, int(held[0]), len(line) - 1 - int(held[-1]))
        return values

    return [parts[0].moved(after, move)]


def _resized(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """The resizing itself, done to coordinates: by the runtime, whose ``tf_crop_and_resize`` is not the standard's."""
    before, after = parts[0].shape, scene.out_shape(node)
    if not all(scene.is_fixed(tensor.name) for tensor in node.inputs[1:]):
        return [stated(parts[:1], after, SAMPLED, f"{node.op} '{node.name}' crops where the image decides")]
    nearest = str(node.attrs.get("mode", "nearest")) == "nearest"
    resized = [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]

    def resize(found: Field) -> Field:
        touched = [axis for axis in resized if found.varies(axis)]
        if not touched and node.attrs.get("coordinate_transformation_mode") != "tf_crop_and_resize":
            return found
        if not is_number(found.values).all():
            return Field(_nearest(found.values, before, after), found.step)
        # Coordinates above 2**24 would not fit single precision; no photo is so wide.
        full = np.ascontiguousarray(np.broadcast_to(found.values, before), dtype=np.float32)
        values = compact(scene.run(node, {node.inputs[0].name: full}).astype(np.float64))
        ratio = max((before[axis] / after[axis] for axis in touched), default=1.0)
        result = Field(values, found.step * ratio)
        for axis in touched:
            if result.varies(axis):
                result = divided(result, axis) if nearest else Field(straightened(result.values, axis), result.step)
        return replace(result, coarse=max(found.coarse, found.step) if ratio < 1 else found.coarse)

    return [parts[0].mapped(after, resize)]


def _nearest(values: np.ndarray, before: tuple[int, ...], after: tuple[int, ...]) -> np.ndarray:
    for axis, (old, new) in enumerate(zip(before, after, strict=True)):
        if values.shape[axis] > 1:
            values = np.take(values, np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(int), axis)
    return compact(values)


def _grid_sampled(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    after = scene.out_shape(node)
    if not scene.is_fixed(node.inputs[1].name):
        return [stated(parts[:1], after, SAMPLED, f"{node.op} '{node.name}' samples where the image decides")]
    proto = onnx.NodeProto()
    proto.CopyFrom(scene.graph.node_proto(node))
    # Zeros beyond the edge would mix into coordinates; the nearest place there is the edge.
    kept = [attribute for attribute in proto.attribute if attribute.name != "padding_mode"]
    del proto.attribute[:]
    proto.attribute.extend([*kept, onnx.helper.make_attribute("padding_mode", "border")])
    grid = scene.value(node.inputs[1].name)
    if grid is None or not all(is_number(found.values).all() for view in parts[0].views for found in view.values()):
        return [stated(parts[:1], after, UNKNOWN, f"{node.op} '{node.name}' samples what has no places")]
    read: np.ndarray = grid

    def sample(found: Field) -> Field:
        full = np.ascontiguousarray(np.broadcast_to(found.values, parts[0].shape), dtype=np.float32)
        feeds = {node.inputs[0].name: full, node.inputs[1].name: read}
        values = evaluate([proto], feeds, list(proto.output), scene.graph.proto.opset_import)[0]
        return Field(compact(values.astype(np.float64)), found.step)

    return [parts[0].mapped(after, sample)]


def _boxes(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """Crops at boxes, which are an input."""
    fixed = all(scene.is_fixed(tensor.name) for tensor in node.inputs[1:])
    why = f"{node.op} '{node.name}' crops " + ("boxes" if fixed else "where the image decides")
    return [stated(parts[:1], scene.out_shape(node), UNKNOWN if fixed else SAMPLED, why)]


RULES: dict[str, Rule] = {
    "CenterCropPad": _center_cropped,
    "Pad": _padded,
    "Resize": _resized,
    "Upsample": _resized,
    "GridSample": _grid_sampled,
    "RoiAlign": _boxes,
    "MaxRoiPool": _boxes,
    "CropAndResize": _boxes,
}
