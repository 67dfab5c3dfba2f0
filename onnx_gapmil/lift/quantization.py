"""What tensors of integers stand for: scales, ranges, and what rounding and clipping do to a lift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.lifted import Quantization, elem_type
from onnx_gapmil.lift.verdict import HeadRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

FLOAT = np.dtype(np.float32)
#: Operators that round.
QUANTIZING = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "QGemm",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearConv",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMatMul",
        "QLinearMul",
        "QLinearReduceMean",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QuantizeLinear",
    }
)
#: Operators that keep the range of their input.
_KEEP_RANGE = frozenset(
    {
        "AveragePool",
        "Cast",
        "Dropout",
        "Flatten",
        "Gather",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Identity",
        "MaxPool",
        "ReduceMax",
        "ReduceMean",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
_KNOWN_RANGES = {"Relu": (0.0, math.inf), "Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0)}


@dataclass(frozen=True)
class QuantParams:
    """Quantization parameters of one operand, by the names of their tensors; "" for an absent zero point."""

    scale: str
    zero_point: str


def quantized_result(
    node: gs.Node,
    walk: Lifting,
    name: str,
    parents: list[Lifted],
    quantization: Quantization,
    clips: bool,
    *,
    batch_axis: int | None,
    detail: str = "",
    channels: int | None = None,
) -> Lifted:
    """The result of an operator that makes integers, with what they stand for."""
    count = math.prod(walk.shape(walk.output)) // parents[0].batch
    return walk.result(
        node,
        name,
        parents,
        "gate" if clips else "affine",
        f"{detail}; {rounding_phrase(quantization, clips)}" if detail else rounding_phrase(quantization, clips),
        conditional=clips,
        batch_axis=batch_axis,
        channels=channels,
        dtype=parents[0].dtype,
        quantization=quantization,
        rounding=_rounded(parents, quantization, count),
    )


def _rounded(parents: list[Lifted], quantization: Quantization, count: int) -> np.ndarray:
    """What was rounded before, and half a step more; of a range found at run time no bound is known."""
    before = [parent.rounding for parent in parents if parent.rounding is not None]
    half = np.full(count, quantization.step / 2 if not quantization.dynamic else np.inf)
    return half + sum(part if len(part) == count else np.inf for part in before)


def rounding_phrase(quantization: Quantization, clips: bool) -> str:
    """What quantization does to a tensor, for people."""
    if quantization.dynamic:
        return "rounds within its own range"
    text = f"rounds to steps of {quantization.step:.3g}"
    if not clips:
        return text
    if 0.0 in (quantization.low, quantization.high):
        return f"{text}, and its range cuts at 0 as a Relu does"
    return f"{text}, saturates outside {quantization.low:.3g} to {quantization.high:.3g}"


def saturate(
    walk: Lifting,
    grid: str,
    pooled: str,
    quantization: Quantization,
    dtype: np.dtype,
    lay: Callable[[str], str] | None = None,
) -> str:
    """``lift(z) * clip(z) / z``: what the range cuts off is cut off every cell in proportion.

    Args:
        walk: the walk.
        grid: lift of z.
        pooled: z itself, before it is clipped.
        quantization: the range.
        dtype: element type of both.
        lay: brings what has the shape of z to (N, C, 1, 1); None where z has it. The share is found before: where a
            reshape stands behind a normalization, OpenVINO moves the operators through it and divides by zero.
    """
    build = walk.build
    if walk.readout == "instance":
        return clipped(walk, grid, quantization, dtype)
    inside = clipped(walk, pooled, quantization, dtype)
    tiny = walk.scalar(float(_limits(dtype).tiny), dtype)
    # At z = 0 the quotient is 0 / 0; 1 is put in its place. Less, since Equal takes no floats before operator set 11.
    zero = build.node("Cast", [build.node("Less", [build.node("Abs", [pooled]), tiny])], to=elem_type(dtype))
    share = build.node("Add", [build.node("Div", [inside, build.node("Add", [pooled, zero])]), zero])
    return build.node("Mul", [grid, lay(share) if lay is not None else share])


def clipped(walk: Lifting, tensor: str, quantization: Quantization, dtype: np.dtype) -> str:
    """A tensor of real numbers cut to a range."""
    # The calibrated range may lie beyond the largest float16.
    limits = _limits(dtype)
    low, high = (
        walk.scalar(float(np.clip(end, limits.min, limits.max)), dtype) for end in (quantization.low, quantization.high)
    )
    return walk.build.node("Min", [walk.build.node("Max", [tensor, low]), high])


def _limits(dtype: np.dtype) -> np.finfo[np.floating]:
    return np.finfo(dtype if dtype.kind == "f" else np.float32)


def quantization_of(
    node: gs.Node, walk: Lifting, params: QuantParams, *, tensor: str = "", default: np.dtype | None = None
) -> Quantization:
    """What a quantized tensor's integers stand for.

    Args:
        node: the operator that makes or reads them.
        walk: the walk.
        params: its scale and zero point.
        tensor: the integers, if they are not what the node makes.
        default: their type where no zero point tells it, if it is not to be looked up.
    """
    step = walk.value(params.scale)
    zero = walk.value(params.zero_point) if params.zero_point else None
    if step is None or step.size != 1 or (zero is not None and zero.size != 1):
        raise walk.refuse("quantized-nonuniform", node, "the scale of the pooled tensor is not one fixed number")
    looked_up = walk.trace.dtypes.get(tensor or walk.output, np.dtype(np.uint8))
    kind = zero.dtype if zero is not None else default or looked_up
    if kind.kind not in "iu":
        raise walk.refuse("quantized-nonuniform", node, f"it quantizes to {kind}, which is not uniform")
    limits = np.iinfo(kind)
    one, offset = float(step.reshape(-1)[0]), float(zero.reshape(-1)[0]) if zero is not None else 0.0
    return Quantization(one, offset, one * (limits.min - offset), one * (limits.max - offset))


def provably_inside(walk: Lifting, tensor: str, quantization: Quantization) -> bool:
    """Whether the graph itself guarantees that a range clips none of a tensor's values."""
    low, high = value_range(walk, tensor)
    # A calibrated range ends at the largest value that was seen, so only the end at zero can be proved.
    slack = quantization.step / 2
    return quantization.low - slack <= low and high <= quantization.high + slack


def value_range(walk: Lifting, tensor: str, depth: int = 0) -> tuple[float, float]:
    """Bounds that the graph itself guarantees for a tensor's values; infinite where it guarantees none."""
    node = walk.graph.producer(tensor)
    unknown = (-math.inf, math.inf)
    if node is None or depth > 20:
        return unknown
    # A Relu that is still there; ONNX Runtime's static quantizer deletes it where the range does its work.
    if node.op in _KNOWN_RANGES:
        return _KNOWN_RANGES[node.op]
    if node.op == "DequantizeLinear" and node.inputs[0].name not in walk.graph.constants:
        try:
            quantization = quantization_of(
                node, walk, QuantParams(node.inputs[1].name, input_name(node, 2)), tensor=node.inputs[0].name
            )
        except HeadRefused:  # a scale for each channel: its bounds are not one pair of numbers
            return unknown
        return quantization.low, quantization.high
    if node.op == "Clip":
        return _clip_range(node, walk)
    if node.op == "Concat":
        parts = [value_range(walk, part.name, depth + 1) for part in node.inputs]
        return min(low for low, _ in parts), max(high for _, high in parts)
    return value_range(walk, node.inputs[0].name, depth + 1) if node.op in _KEEP_RANGE and node.inputs else unknown


def _clip_range(node: gs.Node, walk: Lifting) -> tuple[float, float]:
    # Attributes to operator set 10, inputs from 11.
    bounds = [float(node.attrs.get("min", -math.inf)), float(node.attrs.get("max", math.inf))]
    for place in (1, 2):
        value = walk.value(input_name(node, place)) if input_name(node, place) else None
        if value is not None and value.size == 1:
            bounds[place - 1] = float(value.reshape(-1)[0])
    return bounds[0], bounds[1]


def dequantized(walk: Lifting, tensor: str, params: QuantParams, *, axis: int = 0) -> str:
    """``(q - z) * s`` as nodes: integer weights stay the vendor's own, and are shared."""
    factor = _broadcast(walk, params.scale, tensor, axis)
    return walk.build.node("Mul", [without_zero_point(walk, tensor, params.zero_point, axis=axis), factor])


def dequantized_values(walk: Lifting, tensor: str, params: QuantParams, *, axis: int) -> np.ndarray | None:
    """``(q - z) * s`` as numbers, for the bound on rounding; None where a part is not known."""
    weight, factor = walk.value(tensor), walk.value(params.scale)
    zero = walk.value(params.zero_point) if params.zero_point else np.zeros((), dtype=np.int8)
    if weight is None or factor is None or zero is None:
        return None
    shape = [1] * weight.ndim
    shape[axis] = -1
    centred = weight.astype(np.float64) - zero.astype(np.float64).reshape(shape)
    return centred * factor.astype(np.float64).reshape(shape)


def without_zero_point(walk: Lifting, tensor: str, zero_point: str, *, axis: int) -> str:
    """``q - z`` as float nodes."""
    name = walk.build.node("Cast", [tensor], to=elem_type(FLOAT))
    if not zero_point:
        return name
    zero = walk.build.node("Cast", [_broadcast(walk, zero_point, tensor, axis)], to=elem_type(FLOAT))
    return walk.build.node("Sub", [name, zero])


def _broadcast(walk: Lifting, scale: str, tensor: str, axis: int) -> str:
    """A scale for each channel, shaped to lie along an axis of the tensor."""
    count = math.prod(walk.shape(scale)) if scale in walk.trace.shapes else 1
    # One scale for the tensor; quantized per channel it has one for each output channel.
    if count == 1:
        return scale if len(walk.trace.shapes.get(scale, ())) == 0 else walk.build.reshape(scale, [1])
    shape = [1] * len(walk.shape(tensor))
    shape[axis] = count
    return walk.build.reshape(scale, shape)


def dequantized_bias(walk: Lifting, bias: str, data_scale: str, weight_scale: str) -> str:
    """An int32 bias in units of both scales, as a float vector (K,)."""
    if not bias:
        return ""
    scale = walk.build.node("Mul", [data_scale, weight_scale])
    value = walk.build.node("Mul", [walk.build.node("Cast", [bias], to=elem_type(FLOAT)), scale])
    return walk.build.reshape(value, [-1])


def input_name(node: gs.Node, place: int) -> str:
    """Name of one of a node's inputs; "" for an absent optional one."""
    return str(node.inputs[place].name) if len(node.inputs) > place else ""
