"""What a graph's first nodes make of the input's channels: each is `a * x + b` of one channel of the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

_Numbers = npt.NDArray[np.float64]
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Channels:
    """A tensor that is the input, scaled and shifted channel by channel, moved, cut or resized.

    Attributes:
        axis: where the channels are; None where one was taken out by itself.
        rank: of the tensor.
        source: for each channel, the input's channel that it is of.
        scale: a, for each channel.
        shift: b, for each channel.
        steps: the nodes passed, for people.
        measured: the mean that a BatchNormalization has recorded of its input, in the input's units, for each channel.
        limits: the range of values that a Clip or QuantizeLinear lets through, in the input's units, for each channel.
        resized: (height, width) that the graph itself resizes to.
        quantized: whether its values are a QuantizeLinear's integers, which stand for the same numbers.
        unread: the operator that dequantizes it by numbers that are not followed; "" where there is none.
        weighted: whether a convolution scaled it: its numbers may be a normalisation's, and as well be learned.
    """

    axis: int | None
    rank: int
    source: tuple[int, ...]
    scale: _Numbers
    shift: _Numbers
    steps: tuple[str, ...] = ()
    measured: _Numbers | None = None
    limits: tuple[_Numbers, _Numbers] | None = None
    resized: tuple[int, int] | None = None
    quantized: bool = False
    unread: str = ""
    weighted: bool = False

    def then(self, scale: _Numbers | float, shift: _Numbers | float, step: str) -> Channels:
        """`scale * y + shift` of it."""
        return replace(self, scale=self.scale * scale, shift=self.shift * scale + shift, steps=(*self.steps, step))

    def passed(self, step: str, **changes: Any) -> Channels:
        """The same numbers behind one more node."""
        return replace(self, steps=(*self.steps, step), **changes)

    def chosen(self, places: Sequence[int], step: str, **changes: Any) -> Channels:
        """Some of its channels, in the order that is given."""
        taken = list(places)
        pick: Callable[[_Numbers | None], Any] = lambda numbers: None if numbers is None else numbers[taken]  # noqa: E731
        return replace(
            self,
            source=tuple(self.source[place] for place in taken),
            scale=self.scale[taken],
            shift=self.shift[taken],
            measured=pick(self.measured),
            limits=None if self.limits is None else (pick(self.limits[0]), pick(self.limits[1])),
            steps=(*self.steps, step),
            **changes,
        )

    def in_input(self, numbers: _Numbers) -> _Numbers:
        """Values of this tensor in the input's units."""
        return (numbers - self.shift) / self.scale

    @property
    def means(self) -> _Numbers:
        """What is subtracted, in the input's units."""
        return -self.shift / self.scale

    @property
    def changed(self) -> bool:
        """Whether the numbers are not the input's own."""
        return bool(np.any(self.scale != 1) or np.any(self.shift != 0))


def by_channel(constant: npt.NDArray[Any], found: Channels, first_axis: int | None = None) -> _Numbers | None:
    """A constant that is broadcast against a tensor, as one number for each of its channels.

    A number for each pixel (the mean image of MATLAB) has to be the same for all pixels of a channel: one that varies
    may as well be learned, as the positions of a transformer are.

    Args:
        constant: as the node reads it.
        found: the other operand.
        first_axis: where the constant's first axis lies, as operator sets before 7 say it.

    Returns:
        A number for each channel; None where shapes do not fit, or pixels have numbers of their own.
    """
    count = len(found.source)
    if constant.size == 1:
        return np.full(count, float(constant.ravel()[0]))
    numbers = constant.astype(np.float64)
    offset = found.rank - constant.ndim if first_axis is None else first_axis
    place = None if found.axis is None else found.axis - offset
    if offset < 0 or (place is not None and place >= constant.ndim):
        return None
    if place is None or place < 0 or constant.shape[place] == 1:
        return np.full(count, float(numbers.mean())) if _is_one(numbers) else None
    each = np.moveaxis(numbers, place, 0).reshape(constant.shape[place], -1)
    if len(each) != count or not all(_is_one(own) for own in each):
        return None
    found_each: _Numbers = each.mean(axis=1)
    return found_each


def _is_one(numbers: _Numbers) -> bool:
    """Whether all are the same number, but for rounding."""
    return numbers.size > 0 and bool(np.ptp(numbers) <= _ROUNDING * np.abs(numbers).max())


def joined(parts: Sequence[Channels], axis: int, step: str) -> Channels | None:
    """Tensors put one behind the other along their channels; None where they are joined along another axis."""
    first = parts[0]
    if any(part.axis != axis or part.rank != first.rank or part.resized != first.resized for part in parts):
        return None
    if any(part.quantized != first.quantized for part in parts):
        return None
    both = all(part.measured is not None for part in parts), all(part.limits is not None for part in parts)
    steps = tuple(dict.fromkeys(step for part in parts for step in part.steps))
    return Channels(
        axis,
        first.rank,
        tuple(channel for part in parts for channel in part.source),
        np.concatenate([part.scale for part in parts]),
        np.concatenate([part.shift for part in parts]),
        (*steps, step),
        np.concatenate([part.measured for part in parts if part.measured is not None]) if both[0] else None,
        (
            np.concatenate([part.limits[0] for part in parts if part.limits is not None]),
            np.concatenate([part.limits[1] for part in parts if part.limits is not None]),
        )
        if both[1]
        else None,
        first.resized,
        first.quantized,
        weighted=any(part.weighted for part in parts),
    )


def attribute(node: onnx.NodeProto, name: str) -> Any:
    """The value of a node's attribute; None if it has none of that name."""
    import onnx

    return next((onnx.helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), None)
