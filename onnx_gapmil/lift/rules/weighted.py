"""Weighted pools: a sum over positions whose weights are learned constants, or come from the image (attention).

A product of matrices that contracts the positions is such a pool: ``t = sum_p w[p] * A[:, p]``. Its lift is
``T * w[p] * A[:, p]`` over T positions. With constant weights that is affine. Attention weights depend on the whole
image, so that a cell's value does too: ``conditional``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.ancestry import places_are_lost
from onnx_gapmil.lift.frozen import require_image, require_own_image
from onnx_gapmil.lift.layout import Layout
from onnx_gapmil.lift.lifted import UNARRANGED, FeatureGrid, Lifted
from onnx_gapmil.lift.planes import map_of
from onnx_gapmil.lift.verdict import LiftStep, PoolWeights, Refusal
from onnx_gapmil.lift.weighing import pool_weights

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting

#: What an attention is called in a refusal.
_WEIGHTS = "what weighs its positions"
#: Weighted sums at a time; more are no pool (every token attends to every other) but another layer of the trunk.
_MOST_SUMS = 8
_PASSING = frozenset(
    {
        "Cast",
        "Div",
        "Dropout",
        "Expand",
        "Flatten",
        "Identity",
        "Mul",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
#: Operators that work on every token by itself, where their other operands are fixed.
_PER_TOKEN = _PASSING | {"Add", "Gather", "Gemm", "LayerNormalization", "MatMul", "Split", "Sub"}


@dataclass(frozen=True)
class _Product:
    """``weights (N, G, M, T) x values (N, G, T, D)``, both with those axes by name.

    Attributes:
        values: the tensor with positions T and channels D.
        weights: the tensor with one weight for each position.
        transposed: whether it is spelled ``values (.., D, T) @ weights (.., T, M)``.
        groups: G, the heads of an attention; 1 where there is no such axis.
        sums: M.
        positions: T.
        channels: D.
    """

    values: str
    weights: str
    transposed: bool
    groups: int
    sums: int
    positions: int
    channels: int


def lift_weighted_sum(node: gs.Node, walk: Lifting) -> Lifted:
    """A MatMul that contracts positions.

    Raises:
        HeadRefused: it contracts something else, or makes as many sums as a layer of the trunk does.
    """
    product = _read(node, walk)
    fixed = any(walk.is_fixed(read.name) for read in node.inputs)
    if not fixed and not _holds_attention(node, walk) and walk.is_pooled(walk.output):
        message = "it adds up products of two maps over all places (bilinear pooling), and neither is an attention"
        raise walk.refuse("unknown-operator", node, message)
    if product is None or product.sums > _MOST_SUMS or product.positions < 2 or places_are_lost(walk, product.values):
        raise walk.no_rule(node)
    fixed = walk.is_fixed(product.weights)
    # Learned weights are the same for every image; all others must be an attention.
    if not fixed:
        _require_attention(node, walk, product)
    if any(entry.space_is_open for entry in walk.trace.inputs):
        raise walk.refuse("unknown-operator", node, "its weights are for one size of the input, which is left open")
    size, prefix, note = _places(walk, product)
    if prefix and not _is_apart(walk, product.values, prefix):
        raise walk.refuse(
            "class-token",
            node,
            f"it weighs {product.positions} tokens, of which {prefix} had gathered from the others before",
        )
    if not fixed:
        require_own_image(node, walk, product.weights, _WEIGHTS)
    grid = _grid(node, walk, product, size, prefix, note)
    name = _spread(walk, product, size, prefix)
    detail = (
        "sum over positions by learned weights" if fixed else "attention: sum over positions, weights from the image"
    )
    shape = walk.shape(walk.output)
    weights = _learned(walk, product) if fixed else None
    if weights is not None:
        note = f"{note}; {weights.describe()}: position-dependent"
    own = (node.name or "", walk.output, shape)
    step = LiftStep(walk.operator(node), *own, "pool", not fixed, detail + note, weights, attends=not fixed)
    channels = product.groups * product.sums * product.channels
    batch = walk.shape(product.values)[0]
    return Lifted(name, channels, shape, 0, batch, (grid,), grid.dtype, not fixed, step)


def _holds_attention(node: gs.Node, walk: Lifting) -> bool:
    return any(attention_over(walk, read.name) for read in node.inputs)


def _learned(walk: Lifting, product: _Product) -> PoolWeights | None:
    """What is said of weights that are the same for every image; None if they are alike."""
    value = walk.value(product.weights)
    if value is None:
        return None
    matrix = np.swapaxes(value, -1, -2) if product.transposed and value.ndim > 1 else value
    return pool_weights(matrix.reshape(-1, product.positions))


def _require_attention(node: gs.Node, walk: Lifting, product: _Product) -> None:
    """Weights that are not fixed must be an attention, made of the same image."""
    if not attention_over(walk, product.weights):
        raise walk.refuse(
            "unknown-operator", node, "both of its factors depend on the image, and neither is an attention"
        )
    require_image(node, walk, [product.values], product.weights, _WEIGHTS)


def _is_apart(walk: Lifting, values: str, prefix: int) -> bool:
    """Whether the leading tokens are a mean token or learned ones, joined to the map and not mixed with it since."""
    for _ in range(40):
        node = walk.graph.producer(values)
        if node is None:
            return False
        if node.op == "Concat":
            first = node.inputs[0].name
            extent = walk.shape(first)[int(node.attrs["axis"])]
            apart = walk.is_fixed(first) or not isinstance(walk.try_lift(first), Refusal)
            return extent == prefix and len(node.inputs) == 2 and apart
        moving = [read.name for read in node.inputs if read.name and not walk.is_fixed(read.name)]
        if node.op not in _PER_TOKEN or len(moving) != 1 or moving[0] != node.inputs[0].name:
            return False
        values = moving[0]
    return False


def contracts_positions(node: gs.Node, walk: Lifting) -> bool:
    """Whether a MatMul sums over positions, as far as the layout of its factors is known."""
    return _read(node, walk) is not None


def _read(node: gs.Node, walk: Lifting) -> _Product | None:
    """Which factor holds the values and which the weights; None if neither reading makes a pool."""
    layout = Layout(walk.graph, walk.trace)
    left, right = node.inputs[0].name, node.inputs[1].name
    first, second = walk.shape(left), walk.shape(right)
    moving = not walk.is_fixed(left) and not walk.is_fixed(right)
    for values, weights, transposed in ((right, left, False), (left, right, True)):
        if walk.is_fixed(values):
            continue
        shape = walk.shape(values)
        if len(shape) not in (3, 4) or len(walk.shape(weights)) > len(shape) or shape[0] != walk.trace.batch:
            continue
        # attn @ V and V^T @ attn^T read alike; the softmax tells which factor is which.
        if moving and attention_over(walk, values) and not attention_over(walk, weights):
            continue
        positions, channels = (shape[-1], shape[-2]) if transposed else (shape[-2], shape[-1])
        roles = layout.roles(values)
        role = roles[-1 if transposed else -2]
        others = (*roles[1:-2], roles[-2 if transposed else -1])
        sums = 1 if len(walk.shape(weights)) == 1 else second[-1] if transposed else first[-2]
        if "space" in others or sums >= positions or _lead(walk.shape(weights), shape) is None:
            continue
        if role == "space" or (role is None and not walk.is_fixed(weights) and attention_over(walk, weights)):
            groups = shape[1] if len(shape) == 4 else 1
            return _Product(values, weights, transposed, groups, sums, positions, channels)
    return None


def _places(walk: Lifting, product: _Product) -> tuple[tuple[int, int], int, str]:
    """Height and width of the cells, and how many leading tokens are no cells (a mean or class token)."""
    layout = Layout(walk.graph, walk.trace)
    # A class or mean token before the patches, a distillation token beside it, four registers without and with one.
    for prefix in (0, 1, 2, 4, 5):
        found, _ = map_of(walk, layout, product.values, product.positions - prefix)
        if found is not None:
            note = f"; {prefix} leading token{'s' if prefix > 1 else ''} spread evenly" if prefix else ""
            return found.size, prefix, note
    return (1, product.positions), 0, f"; {UNARRANGED}"


def _grid(
    node: gs.Node, walk: Lifting, product: _Product, size: tuple[int, int], prefix: int, note: str
) -> FeatureGrid:
    """The values as (N, G * D, H, W)."""
    build, shape = walk.build, walk.shape(product.values)
    name = product.values
    if not product.transposed:
        order = list(range(len(shape)))
        order[-2:] = order[:-3:-1]
        name = build.node("Transpose", [name], perm=order)
    if prefix:
        name = build.slice_last(name, prefix, product.positions)
    channels = product.groups * product.channels
    name = build.reshape(name, [0, channels, *size])
    dtype = walk.dtype(product.values, np.dtype(np.float32))
    axes = (len(shape) - 1,) if product.transposed else (len(shape) - 2,)
    layout = "tokens" if not product.transposed else "flattened map"
    text = note.lstrip("; ")
    return FeatureGrid(name, product.values, channels, size, axes, walk.describe(node), layout, dtype, text)


def _spread(walk: Lifting, product: _Product, size: tuple[int, int], prefix: int) -> str:
    """``T * w * A`` as (N, G * M * D, H, W), what belongs to leading tokens spread evenly over the cells."""
    build = walk.build
    groups, sums, channels, positions = product.groups, product.sums, product.channels, product.positions
    own = walk.shape(product.weights)
    lead = _lead(own, walk.shape(product.values))
    batch, shared = lead if lead is not None else (1, 1)
    batch = 1 if batch == 1 and walk.is_fixed(product.weights) else -1
    if product.transposed:
        weights = build.reshape(_swap(walk, product.weights, len(own)), [batch, shared, 1, sums, positions])
        values = build.reshape(product.values, [-1, groups, channels, 1, positions])
    else:
        weights = build.reshape(product.weights, [batch, shared, sums, 1, positions])
        values = _swap(walk, product.values, len(walk.shape(product.values)))
        values = build.reshape(values, [-1, groups, 1, channels, positions])
    count = groups * sums * channels
    flat = build.reshape(build.node("Mul", [weights, values]), [-1, count, positions])
    dtype = walk.dtype(product.values, np.dtype(np.float32))
    body = build.slice_last(flat, prefix, positions) if prefix else flat
    lifted = build.node("Mul", [body, walk.scalar(math.prod(size), dtype)])
    if prefix:
        lifted = build.node("Add", [lifted, build.reduce("ReduceSum", build.slice_last(flat, 0, prefix), [2])])
    return build.reshape(lifted, [0, count, *size])


def _lead(weights: tuple[int, ...], values: tuple[int, ...]) -> tuple[int, int] | None:
    """Batch and groups of the weights (1 where they are shared); None if they repeat the values' batch or groups."""
    shape = (1,) * (len(values) - len(weights)) + weights
    batch, groups = shape[0], shape[1] if len(shape) == 4 else 1
    fits = batch in (1, values[0]) and groups in (1, values[1] if len(values) == 4 else 1)
    return (batch, groups) if fits else None


def attention_over(walk: Lifting, tensor: str) -> bool:
    """Whether a tensor is an attention: a softmax, moved or scaled but not mixed since."""
    for _ in range(12):
        node = walk.graph.producer(tensor)
        if node is None:
            return False
        if node.op == "Softmax" or (node.op == "Div" and shares(walk, node)):
            return True
        moving = [read.name for read in node.inputs if read.name and not walk.is_fixed(read.name)]
        if node.op not in _PASSING or len(moving) != 1:
            return False
        tensor = moving[0]
    return False


def shares(walk: Lifting, node: gs.Node) -> bool:
    """``e / sum(e)``: a softmax spelled out, Identities perhaps between its operators."""
    behind = walk.graph.behind
    total = walk.graph.producer(behind(node.inputs[1].name))
    # An epsilon in the divisor.
    if total is not None and total.op == "Add":
        total = walk.graph.producer(behind(total.inputs[0].name))
    return total is not None and total.op == "ReduceSum" and behind(total.inputs[0].name) == behind(node.inputs[0].name)


def weighted_by_image(node: gs.Node, walk: Lifting, data: str) -> bool:
    """Whether a map that is summed was multiplied by an attention: its weights come from the whole image.

    Raises:
        HeadRefused: the attention is random, or comes from another input or image than the map.
    """
    for _ in range(6):
        maker = walk.graph.producer(data)
        if maker is None or not maker.inputs:
            return False
        if maker.op == "Mul":
            factors = [factor.name for factor in maker.inputs]
            weights = next((name for name in factors if attention_over(walk, name)), None)
            if weights is None:
                return False
            values = [name for name in factors if name != weights] or [weights]
            require_image(node, walk, values, weights, _WEIGHTS)
            require_own_image(node, walk, weights, _WEIGHTS)
            return True
        if maker.op not in _PASSING:
            return False
        data = maker.inputs[0].name
    return False


def _swap(walk: Lifting, tensor: str, rank: int) -> str:
    """The last two axes exchanged."""
    if rank < 2:
        return tensor
    order = list(range(rank))
    order[-1], order[-2] = order[-2], order[-1]
    return walk.build.node("Transpose", [tensor], perm=order)
