"""What each operator that a graph may begin with makes of the input's channels; see `Channels`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.stated.channels import Channels, attribute, by_channel, joined

if TYPE_CHECKING:
    import onnx


class Constant(Protocol):
    """The constants of a graph."""

    def __call__(self, name: str, /) -> npt.NDArray[Any] | None:
        """The value of a tensor; None where it is no constant."""

    def tail(self, name: str, /) -> npt.NDArray[Any] | None:
        """The value of a tensor, or of the last of the parts that a Concat makes it of."""


Passed = Mapping[int, Channels] | None
"""What a node makes of them, by output; None where it does not only move, scale or shift them."""

#: Operators that change neither values nor where they are.
_SAME = frozenset({"Cast", "CastLike", "Identity", "Dropout"})
#: Operators that change where pixels are, and how many there are, and nothing else of them.
_SPATIAL = frozenset({"Pad", "Resize", "Upsample", "Crop"})
#: A weight of a 1x1 convolution of more elements is no normalisation.
_LARGEST_WEIGHT = 64


def pass_node(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    """What a node makes of the input's channels.

    Args:
        node: any.
        read: the node's inputs that are such channels, by position.
        constant: the value of a tensor, None where it is no constant.
    """
    rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if rule is None or (0 not in read and node.op_type not in _BOTH_WAYS):
        return None
    try:
        return rule(node, read, constant)
    except (IndexError, ValueError, TypeError, ArithmeticError):  # inputs or attributes that its operator has not
        return None


def unread(node: onnx.NodeProto, found: Channels, constant: Constant) -> Channels:
    """Channels where a node ends the walk: integers that it dequantizes by numbers not followed are no plain pixels."""
    if found.quantized or not node.op_type.startswith(("DequantizeLinear", "QLinear")):
        return found
    # Its first three inputs are those of DequantizeLinear: what the integers stand for is followed alike.
    made = _dequantize(node, {0: found}, constant) if node.op_type == "QLinearConv" else None
    return replace(found, unread=node.op_type) if made is None else made[0]


def _same(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    return {0: read[0].passed(node.op_type)}


def _transpose(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    found = read[0]
    order = list(attribute(node, "perm") or range(found.rank)[::-1])
    if found.axis is None or len(order) != found.rank:
        return None
    return {0: found.passed("Transpose", axis=order.index(found.axis))}


def _axes(node: onnx.NodeProto, rank: int, constant: Constant) -> list[int] | None:
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = constant(node.input[1])
    return None if axes is None else sorted(int(axis) % rank for axis in np.ravel(axes))


def _unsqueeze(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    found = read[0]
    given = attribute(node, "axes")
    if given is None and len(node.input) > 1:
        given = constant(node.input[1])
    if given is None:
        return None
    rank = found.rank + np.size(given)
    axes = {int(axis) % rank for axis in np.ravel(given)}
    if found.axis is None:  # one channel by itself gets its axis back
        return {0: found.passed("Unsqueeze", axis=min(axes), rank=rank)}
    kept = [axis for axis in range(rank) if axis not in axes]
    return {0: found.passed("Unsqueeze", axis=kept[found.axis], rank=rank)}


def _squeeze(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    found = read[0]
    axes = _axes(node, found.rank, constant)
    if axes is None or found.axis is None:
        return None
    if found.axis in axes:
        return {0: found.passed("Squeeze", axis=None, rank=found.rank - len(axes))} if len(found.source) == 1 else None
    kept = [axis for axis in range(found.rank) if axis not in axes]
    return {0: found.passed("Squeeze", axis=kept.index(found.axis), rank=len(kept))}


def _reshape(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    """A batch put before a single image, or one channel moved to where convolutions want it (tf2onnx)."""
    found = read[0]
    target = constant(node.input[1]) if len(node.input) > 1 else np.array(attribute(node, "shape") or [])
    if target is None or found.axis is None:
        return None
    sides = [int(side) for side in target.ravel()]
    if len(sides) == found.rank + 1 and sides[0] in (1, -1):
        return {0: found.passed("Reshape", axis=found.axis + 1, rank=len(sides))}
    if len(sides) != found.rank:
        return None
    if len(found.source) == 1:
        ones = [axis for axis, side in enumerate(sides) if side == 1 and axis > 0]
        return {0: found.passed("Reshape", axis=ones[0])} if ones else None
    return {0: found.passed("Reshape")} if sides[found.axis] == len(found.source) else None


def _arithmetic(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    place, found = next(iter(read.items()))
    if len(read) != 1 or len(node.input) != 2:
        return None
    array = constant(node.input[1 - place])
    numbers = None if array is None else by_channel(array, found, attribute(node, "axis"))
    if numbers is None or not np.all(np.isfinite(numbers)):
        return None
    op, ones = node.op_type, np.ones(len(found.source))
    step = f"{op} {_shown(numbers)}"
    if op == "Add":
        return {0: found.then(1.0, numbers, step)}
    if op == "Sub":
        return {0: found.then(1.0, -numbers, step) if place == 0 else found.then(-ones, numbers, f"{step} minus it")}
    if op == "Mul":
        return {0: found.then(numbers, 0.0, step)} if np.all(numbers != 0) else None
    return {0: found.then(1 / numbers, 0.0, step)} if place == 0 and np.all(numbers != 0) else None


def _negative(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    return {0: read[0].then(-1.0, 0.0, "Neg")}


def _batch_normalization(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    """As the first node it is a normalisation: its running mean is that of the images it was trained on."""
    found = read[0]
    given = [constant(name) for name in node.input[1:5]]
    if found.axis != 1 or any(array is None or array.size != len(found.source) for array in given) or len(given) != 4:
        return None
    gamma, beta, mean, variance = (np.asarray(array, dtype=np.float64).ravel() for array in given)
    epsilon = attribute(node, "epsilon")
    scale = gamma / np.sqrt(variance + (1e-5 if epsilon is None else epsilon))
    if not np.all(np.isfinite(scale)) or np.any(scale == 0):
        return None
    made = found.then(scale, beta - mean * scale, f"BatchNormalization of mean {_shown(mean)}")
    return {0: replace(made, measured=found.in_input(mean))} if np.all(np.isfinite(mean)) else None


def _image_scaler(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    found = read[0]
    scale, bias = attribute(node, "scale"), attribute(node, "bias")
    numbers = np.array(bias if bias is not None else [0.0], dtype=np.float64)
    if numbers.size not in (1, len(found.source)):
        return None
    factor = 1.0 if scale is None else float(scale)
    return {0: found.then(factor, numbers, f"ImageScaler {factor:.6g}")} if factor else None


def _clip(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    found = read[0]
    ends = [attribute(node, "min"), attribute(node, "max")]
    for place, name in enumerate(node.input[1:3]):
        array = constant(name) if name else None
        ends[place] = None if array is None else float(array.ravel()[0])
    if None in ends or not np.all(np.isfinite(np.array(ends, dtype=np.float64))):
        return {0: found.passed("Clip")}
    limits = tuple(found.in_input(np.full(len(found.source), float(end))) for end in ends)
    return {0: found.passed(f"Clip {ends[0]:.6g} to {ends[1]:.6g}", limits=limits)}


def _quantize(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    """It states the range of values that was met in calibration: (0 - zero) * scale to (255 - zero) * scale."""
    found = read[0]
    scale, zero = constant(node.input[1]), constant(node.input[2]) if len(node.input) > 2 else np.uint8(0)
    if scale is None or zero is None or scale.size != 1 or np.size(zero) != 1:
        return None
    point = np.asarray(zero)
    if point.dtype not in (np.uint8, np.int8):
        return {0: found.passed("QuantizeLinear", quantized=True)}
    kind = np.iinfo(point.dtype)
    ends = [(end - float(point.ravel()[0])) * float(scale.ravel()[0]) for end in (kind.min, kind.max)]
    limits = tuple(found.in_input(np.full(len(found.source), end)) for end in ends)
    # Symmetric signed integers reach as far down as up, whatever the images do.
    said = point.dtype == np.uint8 or point.ravel()[0] != 0
    step = f"QuantizeLinear of {ends[0]:.4g} to {ends[1]:.4g}"
    return {0: found.passed(step, quantized=True, **({"limits": limits} if said else {}))}


def _dequantize(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    found = read[0]
    if found.quantized:
        return {0: found.passed("DequantizeLinear", quantized=False)}
    scale, zero = constant(node.input[1]), constant(node.input[2]) if len(node.input) > 2 else np.uint8(0)
    if scale is None or zero is None or scale.size != 1 or np.size(zero) != 1:
        return None
    factor, point = float(scale.ravel()[0]), float(np.ravel(zero)[0])
    return {0: found.then(factor, -point * factor, f"DequantizeLinear by {factor:.6g} from {point:.6g}")}


def _split(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    found = read[0]
    if found.axis is None or (attribute(node, "axis") or 0) % found.rank != found.axis:
        return None
    sizes = attribute(node, "split")
    if sizes is None and len(node.input) > 1 and node.input[1]:
        sizes = constant(node.input[1])
    count = len(found.source)
    each = [count // len(node.output)] * len(node.output) if sizes is None else [int(size) for size in np.ravel(sizes)]
    if sum(each) != count or len(each) != len(node.output):
        return None
    ends = np.cumsum(each)
    return {
        place: found.chosen(range(end - size, end), "Split")
        for place, (size, end) in enumerate(zip(each, ends.tolist(), strict=True))
    }


def _slice(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    """A part of the channels, or all of them backwards; of the pixels any part, mirrored ones too."""
    found = read[0]
    given: list[Any] = [attribute(node, name) for name in ("starts", "ends", "axes", "steps")]
    for place, name in enumerate(node.input[1:5]):
        given[place] = constant(name) if name else None
        if name and given[place] is None:
            return None
    starts, ends, axes, steps = (None if part is None else [int(one) for one in np.ravel(part)] for part in given)
    if starts is None or ends is None:
        return None
    axes = axes if axes is not None else list(range(len(starts)))
    steps = steps if steps is not None else [1] * len(starts)
    taken = list(range(len(found.source)))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=False):
        if found.axis is not None and axis % found.rank == found.axis:
            last = None if step < 0 and end < -len(taken) else end  # ONNX's way to say: down to the first
            taken = taken[slice(start, last, step)]
    return {0: found.chosen(taken, "Slice")} if taken else None


def _gather(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    found = read[0]
    array = constant(node.input[1])
    if array is None or found.axis is None or (attribute(node, "axis") or 0) % found.rank != found.axis:
        return None
    places = [int(place) for place in array.ravel()]
    if array.ndim > 1 or not all(-len(found.source) <= place < len(found.source) for place in places):
        return None
    alone = {} if array.ndim else {"axis": None, "rank": found.rank - 1}
    return {0: found.chosen(places, "Gather", **alone)}


def _concat(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    if len(read) != len(node.input):
        return None
    parts = [read[place] for place in range(len(node.input))]
    axis = int(attribute(node, "axis") or 0) % parts[0].rank
    found = joined(parts, axis, "Concat")
    return None if found is None else {0: found}


def _spatial(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    found = read[0]
    if node.op_type != "Resize" or found.axis is None or len(node.input) < 4 or not node.input[3]:
        return {0: found.passed(node.op_type)}
    sizes = constant.tail(node.input[3])
    kept = (attribute(node, "keep_aspect_ratio_policy") or b"stretch") == b"stretch"
    whole = attribute(node, "coordinate_transformation_mode") != b"tf_crop_and_resize" and not attribute(node, "axes")
    if sizes is None or sizes.size not in (2, found.rank) or found.rank < 3 or not (kept and whole):
        return {0: found.passed("Resize")}
    last = found.axis == found.rank - 1
    if sizes.size == 2 and last:
        return {0: found.passed("Resize")}
    sides = [int(side) for axis, side in enumerate(sizes.ravel()) if sizes.size == 2 or axis != found.axis][-2:]
    return {0: found.passed(f"Resize to {sides[1]}x{sides[0]}", resized=(sides[0], sides[1]))}


def _convolution(node: onnx.NodeProto, read: Mapping[int, Channels], constant: Constant) -> Passed:
    """A 1x1 convolution that makes each of its channels of one of the image's: a normalisation, or a new order."""
    found, count = read[0], len(read[0].source)
    weight = constant(node.input[1])
    if found.axis != 1 or weight is None or weight.size > _LARGEST_WEIGHT or set(weight.shape[2:]) != {1}:
        return None
    bias = constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(weight.shape[0])
    group = attribute(node, "group") or 1
    if bias is None or weight.shape[0] != count or any(step != 1 for step in attribute(node, "strides") or []):
        return None
    table = np.diag(weight.ravel()) if group == count else weight.reshape(weight.shape[:2])
    if table.shape != (count, count) or any(np.count_nonzero(row) != 1 for row in table):
        return None
    places = [int(np.flatnonzero(row)[0]) for row in table]
    factors = table[range(count), places].astype(np.float64)
    made = found.chosen(places, "").then(factors, bias.astype(np.float64), f"Conv 1x1 by {_shown(factors)}")
    return {0: replace(made, weighted=found.weighted or made.changed)}


def _shown(numbers: npt.NDArray[np.float64]) -> str:
    distinct = numbers if len(set(numbers.tolist())) > 1 else numbers[:1]
    text = ", ".join(f"{number:.6g}" for number in distinct[:4].tolist())
    return f"({text})" if len(distinct) > 1 else text


_RULES: dict[str, Callable[[Any, Mapping[int, Channels], Constant], Passed]] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_SPATIAL, _spatial),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _convolution,
    "DequantizeLinear": _dequantize,
    "Gather": _gather,
    "ImageScaler": _image_scaler,
    "Neg": _negative,
    "QuantizeLinear": _quantize,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
_BOTH_WAYS = frozenset({"Add", "Sub", "Mul", "Div", "Concat"})
