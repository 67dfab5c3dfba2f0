r"""Elementwise activations after the pool: exact for each image, with the slope frozen at the pooled value.

For ``h = phi(z)`` with pooled ``z``::

    lift(h) = phi(a) + (lift(z) - a) * (phi(z) - phi(a)) / (z - a)

The mean over cells of the right side is ``phi(z)``, whatever the anchor ``a``; it is 0, or 1 where phi is not finite
at 0 (logarithm, reciprocal). Where ``z`` is ``a``, the slope is ``phi'(a)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.broadcasting import aligned_batch, widened
from onnx_gapmil.lift.cellwise import pooled_value
from onnx_gapmil.lift.joining import align
from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.rules.holding import holds
from onnx_gapmil.lift.table import rule
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

    Function = Callable[[np.ndarray], np.ndarray]


@rule(
    "Abs",
    "Asinh",
    "Atan",
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
    "Tanh",
    "ThresholdedRelu",
)
def lift_activation(node: gs.Node, walk: Lifting) -> Lifted:
    """Any elementwise function of one pooled tensor, its other operands fixed."""
    moving = {tensor.name for tensor in node.inputs if tensor.name and not walk.is_fixed(tensor.name)}
    if len(moving) != 1:
        raise walk.refuse("unknown-operator", node, f"{len(moving)} of its operands depend on the image")
    data = moving.pop()
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


@rule("Gelu", "FastGelu", "QuickGelu", domain="com.microsoft")
def lift_contrib_activation(node: gs.Node, walk: Lifting) -> Lifted:
    """The activations that ONNX Runtime fuses, without a fused bias."""
    if len(node.inputs) > 1 and node.inputs[1].name:
        raise walk.refuse("unknown-operator", node, "a bias is fused into it")
    return activate(node, walk, walk.lift(node.inputs[0].name), node.inputs[0].name)


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
    name = _frozen(node, walk, lifted, data, walk.output, function)
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
        name = _frozen(node, walk, lifted, dense, walk.output, function)
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


def _frozen(node: gs.Node, walk: Lifting, lifted: Lifted, data: str, result: str, function: Function) -> str:
    """Nodes for ``phi(a) + (lift(z) - a) * slope``; returns the tensor on the grid."""
    dtype = lifted.dtype
    anchor, at_anchor, slope_there = _anchor(node, walk, lifted, dtype, function)
    near_width = _nearness(dtype, at_anchor)
    build = walk.build

    def number(value: float) -> str:
        return walk.scalar(value, dtype)

    def vector(values: np.ndarray) -> str:
        same = bool((values == values.flat[0]).all())
        return number(float(values.flat[0])) if same else build.constant(values.astype(dtype))

    away = data if anchor == 0 else build.node("Sub", [data, number(anchor)])
    # At the anchor the quotient is 0 / 0: a mask of 0 and 1 puts the derivative in its place. Less, since Equal takes
    # no floats before operator set 11.
    near = build.node("Less", [build.node("Abs", [away]), number(near_width)])
    mask = build.node("Cast", [near], to=elem_type(dtype))
    rest = build.node("Sub", [number(1.0), mask])
    rise = result if not at_anchor.any() else build.node("Sub", [result, vector(at_anchor)])
    safe = build.node("Add", [build.node("Mul", [away, rest]), mask])
    steep = build.node("Mul", [build.node("Div", [rise, safe]), rest])
    slope = build.node("Add", [steep, build.node("Mul", [mask, vector(slope_there)])])
    shape, axis = lifted.shape, lifted.batch_axis
    batch = -1 if axis is None else axis
    cells = _pooled_to_cells(walk, slope, shape, batch)
    moved = lifted.name if anchor == 0 else build.node("Sub", [lifted.name, number(anchor)])
    product = build.node("Mul", [moved, cells])
    if not at_anchor.any():
        return product
    constant = vector(at_anchor)
    if at_anchor.size > 1 and not bool((at_anchor == at_anchor.flat[0]).all()):
        constant = build.reshape(constant, [1, lifted.channels, 1, 1])
    return build.node("Add", [product, constant])


def _pooled_to_cells(walk: Lifting, tensor: str, shape: tuple[int, ...], batch_axis: int) -> str:
    """A new tensor of a pooled tensor's shape as (N, C, 1, 1)."""
    count = int(np.prod([dim for axis, dim in enumerate(shape) if axis != batch_axis], dtype=np.int64))
    if batch_axis > 0:
        order = [batch_axis, *(axis for axis in range(len(shape)) if axis != batch_axis)]
        tensor = walk.build.node("Transpose", [tensor], perm=order)
    return walk.build.reshape(tensor, [-1, count, 1, 1])


def _anchor(
    node: gs.Node, walk: Lifting, lifted: Lifted, dtype: np.dtype, function: Function
) -> tuple[float, np.ndarray, np.ndarray]:
    """The anchor a (0, or 1), phi(a) and phi'(a); each of the pooled tensor's shape with a batch of 1.

    The derivative is a central difference: it only matters where z is a, where a kink (Relu at 0) has no slope of
    its own and every choice keeps the mean.
    """
    shape = tuple(1 if axis == lifted.batch_axis else dim for axis, dim in enumerate(lifted.shape))
    step = {2: 1e-2, 4: 1e-3, 8: 1e-5}[dtype.itemsize]
    # Log and Reciprocal are not finite at 0.
    for anchor in (0.0, 1.0):
        try:
            there, above, below = (
                np.asarray(function(np.full(lifted.shape, value, dtype=dtype)), dtype=np.float64)
                for value in (anchor, anchor + step, anchor - step)
            )
        except ModelError as error:
            raise walk.refuse("unknown-operator", node, f"it cannot be evaluated alone: {error}") from error
        if lifted.batch_axis is not None:
            there, above, below = (np.take(array, [0], axis=lifted.batch_axis) for array in (there, above, below))
        if np.isfinite(there).all():
            slope = (above - below) / (2 * step)
            return anchor, there.reshape(shape), np.where(np.isfinite(slope), slope, 0.0).reshape(shape)
    raise walk.refuse("unknown-operator", node, "it is finite neither at 0 nor at 1, so its slope has no anchor")


def _nearness(dtype: np.dtype, at_anchor: np.ndarray) -> float:
    """How near z must be to the anchor for the derivative to be used instead of the quotient.

    Where phi(a) is 0 the quotient has no cancellation and is right down to the smallest numbers. Elsewhere it loses
    digits, and the derivative's error is quadratic in the distance: below half the root of the type's precision it
    is smaller than rounding.
    """
    info = np.finfo(np.float32 if dtype.name == "bfloat16" else dtype)
    return float(info.tiny) if not at_anchor.any() else float(np.sqrt(info.eps)) / 2
