"""Operators with windows: convolutions and pools look at the middle of their window, weighed by the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.coordinates.fields import (
    MIXED,
    NONE,
    POOLED,
    Field,
    compact,
    contract,
    divided,
    extended,
    is_number,
)
from onnx_gapmil.lift.coordinates.looks import Looks

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.coordinates.scene import Rule, Scene

#: Operators of ONNX Runtime that keep channels last.
_CHANNELS_LAST = frozenset({"NhwcConv", "NhwcFusedConv", "NhwcMaxPool"})
#: Where the weights of each convolution stand among its inputs, and their zero point.
_WEIGHTS = {"QLinearConv": (3, 5), "ConvInteger": (1, 3)}


@dataclass(frozen=True)
class _Window:
    """A window along one axis.

    Attributes:
        axis: the axis.
        taps: positions that each output reads, (outputs, kernel); before the first and behind the last is padding.
        shares: how much each of the kernel's taps counts; they sum to 1.
        stride: positions from one output to the next.
    """

    axis: int
    taps: np.ndarray
    shares: np.ndarray
    stride: int

    def look(self, found: Field, lost: float) -> Field:
        """Where the outputs look; one window over the whole map, however it is padded, looks at all of it."""
        if not found.varies(self.axis):
            return found
        if self.taps.shape[0] == 1 and self.taps.shape[1] > 1:
            return contract(found, (self.axis,), lost)
        inputs = found.values.shape[self.axis]
        head = max(0, -int(self.taps.min()))
        wide = extended(found.values, self.axis, head, max(0, int(self.taps.max()) - inputs + 1))
        seen = np.moveaxis(np.take(wide, self.taps + head, self.axis), self.axis + 1, -1)
        numbers = is_number(seen)
        weight = np.where(numbers, self.shares, 0)
        total = weight.sum(-1)
        mean = (np.where(numbers, seen, 0) * weight).sum(-1) / np.where(total > 0, total, 1)
        reach = np.where(numbers, seen, -np.inf).max(-1) - np.where(numbers, seen, np.inf).min(-1)
        # Neighbours in the map are neighbours in the image, or else the window mixes places that are far apart: across
        # the seam of a rolled image, or between the frames of a montage.
        width = int(np.ptp(self.taps[0])) + 1
        apart = reach > max(1.5 * width * found.step, found.step)
        states = np.where(numbers, 0, seen).max(-1)
        values = np.where(states > MIXED, states, np.where(apart, MIXED, np.where(numbers.any(-1), mean, states)))
        return Field(compact(values), found.step * self.stride, found.coarse)


def _convolved(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    place, zero_place = _WEIGHTS.get(node.op, (1, -1))
    source, after = parts[0], scene.out_shape(node)
    last = node.op in _CHANNELS_LAST or bool(node.attrs.get("channels_last", 0))
    weights = scene.weights(node.inputs[place].name)
    shape = scene.shape(node.inputs[place].name) or ()
    kernel = list(shape[2:]) or [int(size) for size in node.attrs.get("kernel_shape", ())]
    zero = scene.input_value(node, zero_place) if zero_place > 0 else None
    windows = _windows(
        node, source.shape, after, kernel, _energy(weights, zero) if max(kernel) > 1 else None, last=last
    )
    groups = int(node.attrs.get("group", 1))
    channel = len(after) - 1 if last else 1
    # A pixel shuffle that is spelled out leaves stairs. So do rows in a sequence of tokens, but there the columns run
    # along the same axis: a convolution over attention's scores (talking heads) is no window over a map.
    stairs = {window.axis for window in windows if len(windows) > 1 and not _is_sequence(source, window.axis)}

    def look(found: Field) -> Field:
        for window in windows:
            found = window.look(divided(found, window.axis) if window.axis in stairs else found, MIXED)
        return _across_channels(found, channel, source.shape[channel], after[channel], groups)

    return [source.mapped(after, look)]


def _is_sequence(source: Looks, axis: int) -> bool:
    """Whether more than one coordinate of an input runs along an axis, as rows and columns do along tokens."""
    return any(
        sum(found.varies(axis) for (name, _), found in view.items() if name == one) > 1
        for view in source.views
        for one in {name for name, _ in view}
    )


def _across_channels(found: Field, axis: int, inputs: int, outputs: int, groups: int) -> Field:
    """A sum over the channels of each group."""
    if not found.varies(axis):
        return found
    if groups == 1:
        return contract(found, (axis,), MIXED)
    shape = found.values.shape
    apart = found.values.reshape(*shape[:axis], groups, inputs // groups, *shape[axis + 1 :])
    mean = contract(Field(apart, found.step), (axis + 1,), MIXED)
    values = np.broadcast_to(mean.values, (*mean.values.shape[:axis], groups, *mean.values.shape[axis + 1 :]))
    values = np.repeat(values.squeeze(axis + 1), outputs // groups, axis)
    return Field(compact(values), mean.step)


def _energy(weights: np.ndarray | None, zero: np.ndarray | None) -> np.ndarray | None:
    """How much each tap of a kernel counts: its sum of squared weights. Trained networks do not look at the middle."""
    if weights is None or weights.dtype.kind not in "fiu":
        return None
    exact = weights.astype(np.float64)
    if zero is not None:
        exact -= zero.astype(np.float64).reshape(-1, *[1] * (exact.ndim - 1))
    energy: np.ndarray = np.square(exact).sum(axis=(0, 1))
    return energy if np.isfinite(energy).all() and energy.sum() > 0 else None


def _windows(
    node: gs.Node,
    before: tuple[int, ...],
    after: tuple[int, ...],
    kernel: list[int],
    energy: np.ndarray | None = None,
    *,
    last: bool = False,
) -> list[_Window]:
    first = 1 if last else 2
    count = len(kernel)
    strides = list(node.attrs.get("strides") or [1] * count)
    dilations = list(node.attrs.get("dilations") or [1] * count)
    pads = list(node.attrs.get("pads") or [0] * 2 * count)
    auto = str(node.attrs.get("auto_pad", "NOTSET"))
    found = []
    for place, size in enumerate(kernel):
        axis = first + place
        stride, dilation, outputs = int(strides[place]), int(dilations[place]), after[axis]
        head = int(pads[place])
        if auto.startswith("SAME"):
            total = max(0, (outputs - 1) * stride + (size - 1) * dilation + 1 - before[axis])
            head = total // 2 if auto == "SAME_UPPER" else (total + 1) // 2
        elif auto == "VALID":
            head = 0
        taps = np.arange(outputs)[:, None] * stride - head + np.arange(size) * dilation
        shares = np.full(size, 1 / size)
        if energy is not None and energy.shape == tuple(kernel):
            along = energy.sum(axis=tuple(other for other in range(count) if other != place))
            shares = along / along.sum()
        found.append(_Window(axis, taps, shares, stride))
    return found


def _pooled(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    kernel = [int(size) for size in node.attrs["kernel_shape"]]
    last = node.op in _CHANNELS_LAST or bool(node.attrs.get("channels_last", 0))
    results = []
    for place in range(len(node.outputs)):
        after = scene.out_shape(node, place)
        windows = _windows(node, parts[0].shape, after, kernel, last=last)

        def look(found: Field, windows: list[_Window] = windows) -> Field:
            for window in windows:
                found = window.look(found, POOLED)
            return found

        results.append(parts[0].mapped(after, look))
    return results


def _pooled_whole(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    after = scene.out_shape(node)
    axes = tuple(range(1, len(after) - 1)) if node.attrs.get("channels_last", 0) else tuple(range(2, len(after)))
    return [parts[0].mapped(after, lambda found: contract(found, axes, POOLED))]


def _transposed(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """A transposed convolution: each output lies between the inputs that its kernel spreads over it."""
    source, after = parts[0], scene.out_shape(node)
    shape = scene.shape(node.inputs[1].name) or ()
    kernel, count = shape[2:], len(shape) - 2
    strides = list(node.attrs.get("strides") or [1] * count)
    dilations = list(node.attrs.get("dilations") or [1] * count)
    pads = list(node.attrs.get("pads") or [0] * 2 * count)
    auto = str(node.attrs.get("auto_pad", "NOTSET"))
    groups = int(node.attrs.get("group", 1))
    weights = scene.weights(node.inputs[1].name)

    def look(found: Field) -> Field:
        for place in range(count):
            axis, stride, size = place + 2, int(strides[place]), int(kernel[place])
            if not found.varies(axis):
                continue
            reach = (size - 1) * int(dilations[place])
            head = int(pads[place])
            if auto.startswith("SAME"):
                total = max(0, (source.shape[axis] - 1) * stride + reach + 1 - after[axis])
                head = total // 2 if auto == "SAME_UPPER" else (total + 1) // 2
            middle = _spread_middle(weights, axis, stride, int(dilations[place]), reach / 2)
            found = _between(found, axis, (np.arange(after[axis]) + head - middle) / stride, stride)
        return _across_channels(found, 1, source.shape[1], after[1], groups)

    return [source.mapped(after, look)]


def _spread_middle(weights: np.ndarray | None, axis: int, stride: int, dilation: int, unknown: float) -> float:
    """Where the middle of what a transposed kernel spreads lies behind its first tap, in outputs.

    Outputs a stride apart share their taps, and only among these do weights tell a place: that the outputs between are
    made of more than their neighbours is a gain. By amount, not energy: the weights of an interpolation then give
    exactly the place that it reads.
    """
    if weights is None or weights.dtype.kind != "f":
        return unknown
    amounts = np.abs(weights.astype(np.float64)).sum(
        axis=tuple(other for other in range(weights.ndim) if other != axis)
    )
    taps = np.arange(len(amounts)) * dilation
    alike = taps % stride
    middles = [
        float(np.average(taps[alike == phase], weights=amounts[alike == phase]))
        for phase in np.unique(alike)
        if amounts[alike == phase].sum() > 0
    ]
    return float(np.mean(middles)) if middles and np.isfinite(middles).all() else unknown


def _between(found: Field, axis: int, places: np.ndarray, stride: int) -> Field:
    """Coordinates at places between the elements, or beyond them."""
    inputs = found.values.shape[axis]
    head = max(0, -int(np.floor(places.min())))
    wide = extended(found.values, axis, head, max(0, int(np.floor(places.max())) + 2 - inputs))
    lower = np.floor(places).astype(int)
    share = (places - lower).reshape([-1 if other == axis else 1 for other in range(found.values.ndim)])
    one, two = np.take(wide, lower + head, axis), np.take(wide, lower + head + 1, axis)
    numbers = is_number(one) & is_number(two)
    values = np.where(numbers, np.where(numbers, one, 0) * (1 - share) + np.where(numbers, two, 0) * share, NONE)
    values = np.where(numbers, values, np.maximum(one, two))
    return Field(compact(values), found.step / stride)


def _folded(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """Col2Im: windows that overlap are added up, so that of each place no more is known than that it is a mixture."""
    after = scene.out_shape(node)

    def look(found: Field) -> Field:
        mean = contract(found, (1, 2), MIXED)
        return Field(mean.values.reshape(*mean.values.shape, *[1] * (len(after) - 3)), mean.step)

    return [parts[0].mapped(after, look)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ("Conv", "FusedConv", "ConvInteger", "QLinearConv", "NhwcConv", "NhwcFusedConv", "DeformConv"), _convolved
    ),
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool", "NhwcMaxPool", "QLinearAveragePool"), _pooled),
    **dict.fromkeys(("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "QLinearGlobalAveragePool"), _pooled_whole),
    "Col2Im": _folded,
    "ConvTranspose": _transposed,
}
