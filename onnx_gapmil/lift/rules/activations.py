"""Elementwise activations after the pool: exact for each image, with the slope frozen at the pooled value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.lift.broadcasting import aligned_batch, widened
from onnx_gapmil.lift.cellwise import pooled_value
from onnx_gapmil.lift.elementwise import function_of_logits
from onnx_gapmil.lift.joining import align
from onnx_gapmil.lift.log_odds import log_odds
from onnx_gapmil.lift.rules.holding import holds
from onnx_gapmil.lift.rules.reductions import softmax_axes
from onnx_gapmil.lift.rules.slopes import freeze
from onnx_gapmil.lift.table import rule
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


@rule(
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Log",
    "Mish",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
)
def lift_activation(node: gs.Node, walk: Lifting) -> Lifted:
    """Any elementwise function of one pooled tensor, its other operands fixed."""
    moving = {tensor.name for tensor in node.inputs if tensor.name and not walk.is_fixed(tensor.name)}
    if len(moving) != 1:
        raise walk.refuse("unknown-operator", node, f"{len(moving)} of its operands depend on the image")
    data = moving.pop()
    if node.op in ("Log", "Sigmoid") and (written := written_back(node, walk)) is not None:
        return written
    return activate(node, walk, walk.lift(data), data)


@rule("Max", "Min")
def lift_extreme(node: gs.Node, walk: Lifting) -> Lifted:
    """The larger of two pooled tensors, element by element (maxout, arXiv 1302.4389), or of one and fixed numbers.

    Each element is that of the operand which holds the extreme at the pooled value; ties are shared.
    """
    moving = {tensor.name for tensor in node.inputs if not walk.is_fixed(tensor.name)}
    if len(moving) == 1:
        return lift_activation(node, walk)
    out = walk.shape(walk.output)
    lifts = align(node, walk, [walk.lift(tensor.name) for tensor in node.inputs if not walk.is_fixed(tensor.name)])
    if len({aligned_batch(part, out) for part in lifts}) > 1 and lifts[0].batch > 1:
        raise walk.refuse("spatial-mixing-after-pool", node, "its operands have their batch in axes that differ")
    lifts = [widened(node, walk, part, out) for part in lifts]
    axis, dtype, build = aligned_batch(lifts[0], out), lifts[0].dtype, walk.build
    fixed = [walk.per_cell(tensor.name, out, axis) for tensor in node.inputs if walk.is_fixed(tensor.name)]
    cells = [*(part.name for part in lifts), *fixed]
    if walk.readout == "instance":
        name = build.node(node.op, cells)
    else:
        values = [*(pooled_value(walk, part) for part in lifts), *fixed]
        best = build.node(node.op, values)
        held = [holds(walk, value, best, dtype, largest=node.op == "Max") for value in values]
        parts = [build.node("Mul", [own, cell]) for own, cell in zip(held, cells, strict=True)]
        name = build.node("Div", [build.node("Sum", parts), build.node("Sum", held)])
    detail = "each element of the operand that is " + ("largest" if node.op == "Max" else "smallest") + " when pooled"
    return walk.result(node, name, lifts, "activation", detail, conditional=True, batch_axis=axis)


def written_back(node: gs.Node, walk: Lifting) -> Lifted | None:
    """The lift of probabilities that are written back as logits, from that of the logits; None for anything else.

    Args:
        node: a Log, a difference of two, or a sigmoid.
        walk: the walk.
    """
    found = function_of_logits(walk, node)
    if found is None or walk.readout == "instance" or walk.shape(found.source) != walk.shape(walk.output):
        return None
    if node.op == "Sigmoid" and not found.takes_logs:
        return None
    if found.softmax is None:
        data, lifted = found.source, walk.lift(found.source)
    else:
        odds = _odds(walk, found.softmax)
        if odds is None:
            return None
        data, lifted = odds
    # No straight line, though in real numbers it may be one: 1 - p loses the digits of a p that is nearly 1.
    name = freeze(node, walk, lifted, data, walk.output, found.of)
    detail = "the logits of its probabilities written back, slope frozen at the pooled value"
    return walk.result(node, name, [lifted], "activation", detail, conditional=True, batch_axis=lifted.batch_axis)


def _odds(walk: Lifting, softmax: gs.Node) -> tuple[str, Lifted] | None:
    """The log-odds of a softmax's classes, (N, C), and their lift; None where its scores have other axes."""
    scores = softmax.inputs[0].name
    lifted = walk.lift(scores)
    axes = softmax_axes(softmax, walk, lifted.shape)
    if lifted.batch_axis != 0 or len(lifted.shape) != 2 or axes != (1,) or lifted.quantization is not None:
        return None
    return log_odds(walk, scores, lifted, lifted.index(), axes)


def activate(node: gs.Node, walk: Lifting, lifted: Lifted, data: str) -> Lifted:
    """The lift of ``node(data)``, by the module's formula.

    Args:
        node: an elementwise operator whose operands other than ``data`` are fixed.
        walk: the walk.
        lifted: lift of ``data``.
        data: the pooled tensor it works on.
    """

    def function(values: np.ndarray) -> np.ndarray:
        return walk.run_node(node, {data: values})[0]

    out = walk.shape(walk.output)
    # A fixed operand of higher rank (the slopes of a PRelu) puts axes before those of the pooled tensor.
    axis = None if lifted.batch_axis is None else lifted.batch_axis + len(out) - len(lifted.shape)
    if walk.readout == "instance":
        operands = [
            lifted.name if tensor.name == data else _fixed_operand(walk, tensor.name, out, axis)
            for tensor in node.inputs
        ]
        return walk.result(
            node,
            _instance(node, walk, operands),
            [lifted],
            "activation",
            "in each cell",
            conditional=True,
            batch_axis=axis,
            channels=lifted.channels,
        )
    name = freeze(node, walk, lifted, data, walk.output, function)
    return walk.result(
        node,
        name,
        [lifted],
        "activation",
        "slope frozen at the pooled value",
        conditional=True,
        batch_axis=axis,
        channels=lifted.channels,
    )


def _fixed_operand(walk: Lifting, tensor: str, out: tuple[int, ...], axis: int | None) -> str:
    """A fixed operand for the instance readout; scalars (the bounds of Clip) and absent ones stay as they are."""
    return tensor if not tensor or not walk.shape(tensor) else walk.per_cell(tensor, out, axis)


def _instance(node: gs.Node, walk: Lifting, operands: list[str]) -> str:
    if node.domain and node.domain != "ai.onnx":
        raise walk.refuse("unknown-operator", node, "the instance readout is made of standard operators only")
    return walk.clone(node, operands)


def fused_activation(node: gs.Node, walk: Lifting, lifted: Lifted) -> Lifted:
    """An activation that is an attribute of a Gemm or Conv: the layer is repeated on the pooled tensor to get ``z``."""
    kind = node.attrs.get("activation", "")
    operator = kind.decode() if isinstance(kind, bytes) else str(kind)
    if not operator:
        return lifted
    extras, limits = _parameters(node, walk, operator)
    attrs = {key: value for key, value in node.attrs.items() if not key.startswith("activation")}
    names = [f"limit{place}" for place in range(len(limits))]
    alone = onnx.helper.make_node(operator, ["x", *names], ["y"], **extras)

    def function(values: np.ndarray) -> np.ndarray:
        feeds = {name: np.asarray(limit, values.dtype) for name, limit in zip(names, limits, strict=True)}
        return evaluate([alone], {"x": values, **feeds}, ["y"], walk.graph.proto.opset_import)[0]

    if walk.readout == "instance":
        bounds = [walk.scalar(limit, lifted.dtype) for limit in limits]
        name = walk.build.node(operator, [lifted.name, *bounds], **extras)
    else:
        # The pooled z exists nowhere in the file: the fusion left only phi(z).
        layer = str(node.op).removeprefix("Fused")
        dense = walk.build.node(layer, [tensor.name for tensor in node.inputs], **attrs)
        name = freeze(node, walk, lifted, dense, walk.output, function)
    detail = f"{lifted.step.detail}, then {operator}, its slope frozen at the pooled value"
    parents = [walk.lift(node.inputs[0].name)]
    return walk.result(node, name, parents, "activation", detail, conditional=True, channels=lifted.channels)


def _parameters(node: gs.Node, walk: Lifting, operator: str) -> tuple[dict[str, Any], list[float]]:
    """The attributes of an activation that was fused into a layer, and the limits that are inputs of a Clip.

    ONNX Runtime prefixes them where it fuses into a Gemm, and leaves the Gemm's own as they were; a Conv has them as
    one list, in the order of the activation's own.
    """
    named = {key: node.attrs[f"activation_{key}"] for key in ("alpha", "beta", "gamma", "min", "max")
             if f"activation_{key}" in node.attrs}  # fmt: skip
    given = [float(value) for value in node.attrs.get("activation_params", ())]
    titles = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Clip": ("min", "max")}.get(operator, ())
    extras = {key: float(value) for key, value in {**dict(zip(titles, given, strict=False)), **named}.items()}
    if operator != "Clip" or walk.graph.opset < 11:
        return extras, []
    return {}, [extras["min"], extras["max"]]
