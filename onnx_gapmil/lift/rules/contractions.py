"""Einsum in all of its uses, and other operators that add up pooled channels by fixed numbers."""

from __future__ import annotations

import math
import string
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.cellwise import as_grid, in_each_cell
from onnx_gapmil.lift.coordinates.contractions import letters
from onnx_gapmil.lift.frozen import require_image
from onnx_gapmil.lift.layout import Layout
from onnx_gapmil.lift.rules.dense import pointwise
from onnx_gapmil.lift.rules.flattened import is_flattened, lift_flattened_dense
from onnx_gapmil.lift.rules.pools import end_at_pool
from onnx_gapmil.lift.rules.weighted import attention_over
from onnx_gapmil.lift.table import rule
from onnx_gapmil.lift.verdict import HeadRefused, Refusal
from onnx_gapmil.lift.weighing import pool_weights

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.verdict import PoolWeights


@dataclass(frozen=True)
class _Sum:
    """An Einsum of one operand with positions or channels, and of numbers that weigh them.

    Attributes:
        data: the one.
        own: its axes, a letter each.
        others: the others and their letters: fixed, or an attention over its positions.
        output: the letters of the result, which the equation may leave to be understood.
    """

    data: str
    own: str
    others: tuple[tuple[str, str], ...]
    output: str

    @property
    def shared(self) -> set[str]:
        """The letters that the other operands have."""
        return set("".join(axes for _, axes in self.others))


@rule("Einsum")
def lift_einsum(node: gs.Node, walk: Lifting) -> Lifted:
    """A sum over cells (``bchw->bc``), a layer (``nc,kc->nk``), both in one (``nchw,kc->nk``), or groups of layers."""
    found = _read(node, walk)
    behind = walk.try_lift(found.data)
    if isinstance(behind, Refusal):
        flat = _flattened(node, walk, found, behind)
        return flat if flat is not None else _pooled(node, walk, found, behind)
    if not all(walk.is_fixed(name) for name, _ in found.others):
        raise walk.refuse("unknown-operator", node, f"several operands of '{_equation(node)}' depend on the image")
    dense = _dense(node, walk, behind, found)
    if dense is not None:
        return dense
    return in_each_cell(node, walk, behind, found.data, f"'{_equation(node)}' in every cell")


@rule("CumSum", "ConvTranspose", "Pad", "Trilu")
def lift_linear(node: gs.Node, walk: Lifting) -> Lifted:
    """Sums of channels by fixed numbers, such as the running sum of an ordinal head: the same in every cell."""
    data = node.inputs[0].name
    found = walk.try_lift(data)
    order = walk.value(node.inputs[1].name) if node.op == "CumSum" else None
    if isinstance(found, Refusal) and found.code == "no-spatial-pool" and order is not None:
        axis = int(order.reshape(-1)[0]) % len(walk.shape(data))
        if walk.holds_places(data, axis):
            what = "it adds up places one after the other, and what is read of it is not their whole sum"
            raise walk.refuse("unknown-operator", node, what)
    lifted = walk.lift(data)
    if not all(walk.is_fixed(read.name) for read in node.inputs[1:] if read.name):
        raise walk.refuse("unknown-operator", node, "its other operands depend on the image")
    return in_each_cell(node, walk, lifted, data, f"{node.op} in every cell")


def _equation(node: gs.Node) -> str:
    equation = node.attrs["equation"]
    text = equation.decode() if isinstance(equation, bytes) else str(equation)
    return text.replace(" ", "")


def _read(node: gs.Node, walk: Lifting) -> _Sum:
    """Which operand is lifted, and all axes by letters.

    Raises:
        HeadRefused: several depend on the image and are no attention, or one is read along a diagonal.
    """
    equation = _equation(node)
    names = [read.name for read in node.inputs]
    moving = [place for place, name in enumerate(names) if not walk.is_fixed(name)]
    # An attention weighs the positions of what it is multiplied with.
    values = [place for place in moving if len(moving) == 1 or not attention_over(walk, names[place])]
    if len(values) != 1:
        message = f"{len(moving)} of the operands of '{equation}' depend on the image"
        raise walk.refuse("unknown-operator", node, message)
    spelled = letters(equation, [len(walk.shape(name)) for name in names])
    if spelled is None:
        raise walk.refuse("unknown-operator", node, f"'{equation}' takes a diagonal")
    labels, output = spelled
    others = tuple((names[place], labels[place]) for place in range(len(names)) if place != values[0])
    return _Sum(names[values[0]], labels[values[0]], others, output)


def _dense(node: gs.Node, walk: Lifting, lifted: Lifted, found: _Sum) -> Lifted | None:
    """One vector of channels by one matrix: a 1x1 convolution by the vendor's own weight. None for all others."""
    if len(found.others) != 1 or lifted.batch_axis is None or lifted.batch_axis < 0 or lifted.quantization is not None:
        return None
    weight, axes = found.others[0]
    batch = found.own[lifted.batch_axis]
    channels = [letter for letter, dim in zip(found.own, lifted.shape, strict=True) if letter != batch and dim != 1]
    classes = [letter for letter in axes if letter not in found.own]
    # torch writes (K, C), jax.numpy and Keras (C, K).
    if len(axes) != 2 or len(channels) != 1 or len(classes) != 1 or set(axes) != {channels[0], classes[0]}:
        return None
    if channels[0] in found.output or batch not in found.output or classes[0] not in found.output:
        return None
    first = axes[0] == classes[0]
    kernel = weight if first else walk.build.node("Transpose", [weight], perm=[1, 0])
    rows = walk.shape(weight)[0 if first else 1]
    name = pointwise(walk, lifted, kernel, rows, "")
    detail = f"dense {lifted.channels} → {rows}: a 1×1 convolution"
    axis = found.output.index(batch)
    return walk.result(node, name, [lifted], "affine", detail, channels=rows, batch_axis=axis)


def _flattened(node: gs.Node, walk: Lifting, found: _Sum, behind: Refusal) -> Lifted | None:
    """A dense layer on a flattened map, ``nf,fk->nk``, its axes in any order; None for all others."""
    if not is_flattened(behind) or len(found.own) != 2 or len(found.others) != 1:
        return None
    weight, axes = found.others[0]
    batch, feature = found.own[0], found.own[1]
    classes = axes.replace(feature, "")
    if len(axes) != 2 or feature not in axes or set(found.output) != {batch, classes} or not walk.is_fixed(weight):
        return None
    lifted = lift_flattened_dense(node, walk, found.data, weight, "", transposed=axes[1] == feature)
    return replace(lifted, batch_axis=found.output.index(batch))


def _pooled(node: gs.Node, walk: Lifting, found: _Sum, behind: Refusal) -> Lifted:
    """A sum over cells, weighed by fixed numbers or by an attention, and what the same Einsum does to the channels."""
    shape, batch = walk.shape(found.data), walk.batch_axis(found.data)
    gone = [place for place, letter in enumerate(found.own) if letter not in found.output and shape[place] != 1]
    cells = _positions(walk, found, gone)
    if not cells or batch in gone:
        raise HeadRefused(behind)
    moving = [name for name, _ in found.others if not walk.is_fixed(name)]
    for name in moving:
        require_image(node, walk, [found.data], name, "what weighs its positions")
    kept = [place for place in range(len(shape)) if place not in (batch, *cells)]
    inner = tuple(shape[place] for place in kept)
    plain = not found.others and not _reorders(found, batch, kept)
    detail = "attention: sum over positions, weights from the image" if moving else "sum over all positions"
    pooled = end_at_pool(
        node,
        walk,
        found.data,
        cells,
        detail,
        summed=True,
        conditional=bool(moving),
        shape=None if plain else (shape[batch], *inner),
    )
    if plain:
        return pooled
    if math.prod(pooled.features[0].size) != math.prod(shape[place] for place in cells):
        raise walk.refuse("partial-pool", node, "it weighs positions of a part, or of windows, of the map")
    weights = _said(walk, found, cells)
    name, after = _contract(node, walk, pooled, found, batch, cells)
    detail = f"{detail}, with channels by '{_equation(node)}'"
    if weights is not None:
        detail = f"{detail}; {weights.describe()}: position-dependent"
    out = walk.shape(walk.output)
    step = replace(pooled.step, detail=detail, shape=out, weights=weights, attends=bool(moving))
    axis = found.output.index(found.own[batch])
    return replace(pooled, name=name, channels=math.prod(after), shape=out, batch_axis=axis, step=step)


def _positions(walk: Lifting, found: _Sum, gone: list[int]) -> tuple[int, ...]:
    """Of the axes that are summed those that are positions; the others are channels of a layer within."""
    alone = tuple(place for place in gone if found.own[place] not in found.shared)
    roles = Layout(walk.graph, walk.trace).roles(found.data)
    placed = tuple(place for place in gone if roles[place] == "space" or walk.holds_places(found.data, place))
    # Weighed, positions are told by what they look at; a map that is the input itself looks so everywhere, and there
    # the axes count that nothing weighs.
    if len(alone) >= 2 or (alone and not set(placed) - set(alone)):
        return alone
    channels = [place for place in gone if place not in placed]
    told = all(roles[place] == "channel" or walk.is_one_place_along(found.data, place) for place in channels)
    return placed if placed and told else alone


def _said(walk: Lifting, found: _Sum, cells: tuple[int, ...]) -> PoolWeights | None:
    """What is said of fixed weights of the positions; None if they are alike, or the image's."""
    letters_of = [found.own[place] for place in cells]
    for name, axes in found.others:
        value = walk.value(name) if walk.is_fixed(name) else None
        if value is None or not set(axes) & set(letters_of):
            continue
        own = [axes.index(letter) for letter in letters_of if letter in axes]
        rows = np.moveaxis(value, own, range(value.ndim - len(own), value.ndim))
        return pool_weights(rows.reshape(-1, math.prod(value.shape[axis] for axis in own)))
    return None


def _reorders(found: _Sum, batch: int, kept: list[int]) -> bool:
    """Whether the result has its axes in another order than the operand."""
    order = [place for place in sorted([batch, *kept]) if found.own[place] in found.output]
    return "".join(found.own[place] for place in order) != found.output


def _contract(
    node: gs.Node, walk: Lifting, pooled: Lifted, found: _Sum, batch: int, cells: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """The same Einsum on the grid, with the cells as axes that are kept; the tensor, and its channels' axes."""
    build, shape = walk.build, walk.shape(found.data)
    kept = [place for place in range(len(shape)) if place not in (batch, *cells)]
    own, letter = "".join(found.own[place] for place in kept), found.own[batch]
    cell = next(entry for entry in string.ascii_letters if entry not in found.own + "".join(found.shared))
    result = [entry for entry in found.output if entry != letter]
    sizes = {entry: dim for name, axes in found.others for entry, dim in zip(axes, walk.shape(name), strict=True)}
    sizes |= {found.own[place]: shape[place] for place in kept}
    after = tuple(sizes[entry] for entry in result)
    grid = build.reshape(pooled.name, [0, *(shape[place] for place in kept), -1])
    terms, operands = [f"{letter}{own}{cell}"], [grid]
    for name, axes in found.others:
        term, operand = _by_cell(node, walk, found, name, axes, cells, cell)
        terms.append(term)
        operands.append(operand)
    made = build.node("Einsum", operands, equation=f"{','.join(terms)}->{letter}{''.join(result)}{cell}")
    return as_grid(walk, pooled, made, math.prod(after)), after


def _by_cell(
    node: gs.Node, walk: Lifting, found: _Sum, name: str, axes: str, cells: tuple[int, ...], cell: str
) -> tuple[str, str]:
    """An operand with its positions as one axis, in the order of the grid's cells; its letters and the tensor."""
    positions = [found.own[place] for place in cells if found.own[place] in axes]
    if not positions:
        return axes, name
    if len(positions) != len(cells) or any(entry.space_is_open for entry in walk.trace.inputs):
        raise walk.refuse("unknown-operator", node, "it weighs rows or columns by themselves, or those of an open size")
    rest = [place for place, entry in enumerate(axes) if entry not in positions]
    order = [*rest, *(axes.index(entry) for entry in positions)]
    build = walk.build
    if order != sorted(order):
        name = build.node("Transpose", [name], perm=order)
    if len(positions) > 1:
        shape = walk.shape(found.others[[entry for _, entry in found.others].index(axes)][0])
        name = build.reshape(name, [*(0 if place == 0 else shape[axis] for place, axis in enumerate(rest)), -1])
    return "".join(axes[place] for place in rest) + cell, name
