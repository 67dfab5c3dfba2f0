"""Norms after the pool: each cell's channels are centred by themselves and divided by the *pooled* vector's size.

PyTorch writes LayerNormalization from operator set 17, and ONNX Runtime's ORT_ENABLE_EXTENDED fuses what others spell
out (ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div) to it; spelled out, the rules for Sub and Div do the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.cellwise import as_grid, pooled_value
from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.table import rule
from onnx_gapmil.lift.verdict import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


@rule("LayerNormalization")
def lift_layer_normalization(node: gs.Node, walk: Lifting) -> Lifted:
    """``(t - mean_c t) / sqrt(var_c t + eps) * scale + bias``, the deviation the pooled one (arXiv 1607.06450)."""
    return _norm(node, walk, "LayerNormalization", centred=True)


@rule("RMSNormalization")
def lift_rms_normalization(node: gs.Node, walk: Lifting) -> Lifted:
    """``t / sqrt(mean_c t^2 + eps) * scale`` with the root mean square of the pooled vector (arXiv 1910.07467)."""
    return _norm(node, walk, "RMSNormalization", centred=False)


@rule("SimplifiedLayerNormalization")
def lift_simplified_layer_normalization(node: gs.Node, walk: Lifting) -> Lifted:
    """ONNX Runtime's name for RMSNormalization."""
    return _norm(node, walk, "RMSNormalization", centred=False)


@rule("LpNormalization")
def lift_lp_normalization(node: gs.Node, walk: Lifting) -> Lifted:
    """``t / ||t||_p`` over the channels, with the norm of the pooled vector."""
    lifted = walk.lift(node.inputs[0].name)
    axis = int(node.attrs.get("axis", -1)) % len(lifted.shape)
    if lifted.shape[axis] != lifted.channels:
        raise walk.refuse("unknown-operator", node, "it normalizes a part of the channels")
    operator = "ReduceL1" if int(node.attrs.get("p", 2)) == 1 else "ReduceL2"
    vector = lifted.name if walk.readout == "instance" else _pooled(walk, node.inputs[0].name, lifted)
    name = walk.build.node("Div", [lifted.name, walk.build.reduce(operator, vector, [1])])
    return _result(node, walk, name, lifted)


@rule("InstanceNormalization")
def lift_instance_normalization(node: gs.Node, walk: Lifting) -> Lifted:
    """Of pooled channels in groups, (N, groups, each): as PyTorch's legacy exporter spells GroupNorm."""
    return _group_norm(node, walk, int(walk.shape(node.inputs[0].name)[1]))


@rule("GroupNormalization")
def lift_group_normalization(node: gs.Node, walk: Lifting) -> Lifted:
    """Each group of pooled channels by the deviation of the pooled group (arXiv 1803.08494)."""
    return _group_norm(node, walk, int(node.attrs["num_groups"]))


def _group_norm(node: gs.Node, walk: Lifting, groups: int) -> Lifted:
    data = node.inputs[0].name
    found = walk.try_lift(data)
    if isinstance(found, Refusal):  # on a map it belongs to the trunk
        raise walk.no_rule(node)
    lifted = walk.lift(data)
    if lifted.batch_axis != 0 or lifted.channels % groups or lifted.quantization is not None:
        raise walk.refuse("unknown-operator", node, f"its groups are no parts of the channels {list(lifted.shape)}")
    if not all(walk.is_fixed(tensor.name) for tensor in node.inputs[1:]):
        raise walk.refuse("unknown-operator", node, "its scale or bias is not fixed")
    build, each = walk.build, lifted.channels // groups
    cells = build.reshape(lifted.name, [0, groups, each, -1])
    vector = cells
    if walk.readout != "instance":
        vector = build.reshape(pooled_value(walk, lifted), [0, groups, each, 1])
    centred = build.node("Sub", [cells, build.reduce("ReduceMean", cells, [2])])
    wide = _as_float(walk, build.node("Sub", [vector, build.reduce("ReduceMean", vector, [2])]), lifted.dtype)
    name = build.node("Div", [centred, _deviation(node, walk, wide, lifted.dtype, 2)])
    for operator, tensor in zip(("Mul", "Add"), node.inputs[1:3], strict=True):
        # A number for each channel; InstanceNormalization, and GroupNormalization before operator set 21, have one for
        # each group.
        name = build.node(operator, [name, build.reshape(tensor.name, [1, groups, -1, 1])])
    return _result(node, walk, as_grid(walk, lifted, name, lifted.channels), lifted)


def _deviation(node: gs.Node, walk: Lifting, centred: str, dtype: np.dtype, axis: int) -> str:
    """``sqrt(mean t^2 + eps)`` along an axis.

    The operator computes in float32 whatever its type; a small epsilon would vanish in float16.
    """
    build = walk.build
    square = build.reduce("ReduceMean", build.node("Mul", [centred, centred]), [axis])
    precise = np.dtype(np.float32) if dtype.itemsize < 4 else dtype
    epsilon = walk.scalar(float(np.float32(node.attrs.get("epsilon", 1e-5))), precise)
    deviation = build.node("Sqrt", [build.node("Add", [square, epsilon])])
    return deviation if precise == dtype else build.node("Cast", [deviation], to=elem_type(dtype))


def _norm(node: gs.Node, walk: Lifting, title: str, *, centred: bool) -> Lifted:
    lifted = walk.lift(node.inputs[0].name)
    axis = int(node.attrs.get("axis", -1)) % len(lifted.shape)
    if math.prod(lifted.shape[axis:]) != lifted.channels or lifted.batch_axis not in (0, None):
        raise walk.refuse(
            "unknown-operator", node, f"{title} covers a part of the pooled channels {list(lifted.shape)}"
        )
    parameters = [tensor.name for tensor in node.inputs[1:3]]
    return norm_of(node, walk, lifted, _pooled(walk, node.inputs[0].name, lifted), parameters, centred=centred)


def norm_of(
    node: gs.Node,
    walk: Lifting,
    lifted: Lifted,
    vector: str,
    parameters: Sequence[str],
    *,
    centred: bool,
    parents: Sequence[Lifted] = (),
) -> Lifted:
    """A norm over all channels of a lift.

    Args:
        node: the operator, with its ``epsilon``.
        walk: the walk.
        lifted: what it normalizes.
        vector: the same pooled, (N, C, 1, 1).
        parameters: its scale and its bias, as far as there are; "" for none.
        centred: whether each cell's mean over channels is subtracted.
        parents: the lifts of what the operator reads, where ``lifted`` is made of them; itself if empty.
    """
    if not all(walk.is_fixed(name) for name in parameters if name):
        raise walk.refuse("unknown-operator", node, "its scale or bias is not fixed")
    build = walk.build
    # Centring is affine and done in each cell; the deviation is that of the pooled vector.
    grid, wide = lifted.name, _as_float(walk, lifted.name if walk.readout == "instance" else vector, lifted.dtype)
    if centred:
        grid = build.node("Sub", [grid, build.reduce("ReduceMean", grid, [1])])
        wide = build.node("Sub", [wide, build.reduce("ReduceMean", wide, [1])])
    name = build.node("Div", [grid, _deviation(node, walk, wide, lifted.dtype, 1)])
    for operator, parameter in zip(("Mul", "Add"), parameters, strict=False):
        if parameter:
            name = build.node(operator, [name, walk.per_cell(parameter, lifted.shape, lifted.batch_axis)])
    return _result(node, walk, name, lifted, parents)


def _result(node: gs.Node, walk: Lifting, name: str, lifted: Lifted, parents: Sequence[Lifted] = ()) -> Lifted:
    detail = "each cell by its own size" if walk.readout == "instance" else "divided by the size of the pooled vector"
    return walk.result(
        node,
        name,
        parents or [lifted],
        "norm",
        detail,
        conditional=True,
        batch_axis=lifted.batch_axis,
        channels=lifted.channels,
    )


def _pooled(walk: Lifting, tensor: str, lifted: Lifted) -> str:
    """The pooled vector itself as (N, C, 1, 1)."""
    return walk.per_cell(tensor, lifted.shape, lifted.batch_axis)


def _as_float(walk: Lifting, tensor: str, dtype: np.dtype) -> str:
    """Half types are widened before they are squared, as the operator itself does."""
    return tensor if dtype.itemsize >= 4 else walk.build.node("Cast", [tensor], to=elem_type(np.dtype(np.float32)))
