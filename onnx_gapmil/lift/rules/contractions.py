"""Einsum in all of its uses, and other operators that add up pooled channels by fixed numbers."""

from __future__ import annotations

import math
import string
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnx_gapmil.lift.cellwise import as_grid, in_each_cell
from onnx_gapmil.lift.coordinates.contractions import letters
from onnx_gapmil.lift.rules.dense import pointwise
from onnx_gapmil.lift.rules.pools import end_at_pool
from onnx_gapmil.lift.table import rule
from onnx_gapmil.lift.verdict import HeadRefused, Refusal

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


@dataclass(frozen=True)
class _Sum:
    """An Einsum with one operand that depends on the image.

    Attributes:
        data: that operand.
        own: its axes, a letter each.
        others: the fixed operands and their letters.
        output: the letters of the result, which the equation may leave to be understood.
    """

    data: str
    own: str
    others: tuple[tuple[str, str], ...]
    output: str

    @property
    def shared(self) -> set[str]:
        """The letters that fixed operands have."""
        return set("".join(axes for _, axes in self.others))


@rule("Einsum")
def lift_einsum(node: gs.Node, walk: Lifting) -> Lifted:
    """A sum over cells (``bchw->bc``), a layer (``nc,kc->nk``), both in one (``nchw,kc->nk``), or groups of layers."""
    found = _read(node, walk)
    behind = walk.try_lift(found.data)
    if isinstance(behind, Refusal):
        return _pooled(node, walk, found, behind)
    dense = _dense(node, walk, behind, found)
    if dense is not None:
        return dense
    return in_each_cell(node, walk, behind, found.data, f"'{_equation(node)}' in every cell")


@rule("CumSum", "ConvTranspose", "Pad", "Trilu")
def lift_linear(node: gs.Node, walk: Lifting) -> Lifted:
    """Sums of channels by fixed numbers, such as the running sum of an ordinal head: the same in every cell."""
    data = node.inputs[0].name
    lifted = walk.lift(data)
    if not all(walk.is_fixed(read.name) for read in node.inputs[1:] if read.name):
        raise walk.refuse("unknown-operator", node, "its other operands depend on the image")
    return in_each_cell(node, walk, lifted, data, f"{node.op} in every cell")


def _equation(node: gs.Node) -> str:
    equation = node.attrs["equation"]
    text = equation.decode() if isinstance(equation, bytes) else str(equation)
    return text.replace(" ", "")


def _read(node: gs.Node, walk: Lifting) -> _Sum:
    """Which operand depends on the image, and all axes by letters.

    Raises:
        HeadRefused: several do, or one is read along a diagonal.
    """
    equation = _equation(node)
    names = [read.name for read in node.inputs]
    moving = [place for place, name in enumerate(names) if not walk.is_fixed(name)]
    if len(moving) != 1:
        raise walk.refuse(
            "unknown-operator", node, f"{len(moving)} of the operands of '{equation}' depend on the image"
        )
    spelled = letters(equation, [len(walk.shape(name)) for name in names])
    if spelled is None:
        raise walk.refuse("unknown-operator", node, f"'{equation}' takes a diagonal")
    labels, output = spelled
    others = tuple((names[place], labels[place]) for place in range(len(names)) if place != moving[0])
    return _Sum(names[moving[0]], labels[moving[0]], others, output)


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


def _pooled(node: gs.Node, walk: Lifting, found: _Sum, behind: Refusal) -> Lifted:
    """A sum over cells, and what the same Einsum then does to the channels."""
    shape = walk.shape(found.data)
    batch = walk.batch_axis(found.data)
    gone = [place for place, letter in enumerate(found.own) if letter not in found.output and shape[place] != 1]
    cells = tuple(place for place in gone if found.own[place] not in found.shared)
    if not cells or batch in gone:
        raise HeadRefused(behind)
    # Of a plane both axes are summed alike, or else the layer has weights of its own for the rows or the columns.
    weighed = [place for place in gone if place not in cells]
    if len(cells) < 2 and len(shape) > 3 and any(walk.holds_places(found.data, place) for place in weighed):
        raise walk.refuse("unknown-operator", node, f"'{_equation(node)}' weighs the positions that it sums")
    kept = [place for place in range(len(shape)) if place not in (batch, *cells)]
    inner = tuple(shape[place] for place in kept)
    alone = not found.others
    pooled = end_at_pool(
        node,
        walk,
        found.data,
        cells,
        "sum over all positions",
        summed=True,
        shape=None if alone and not _reorders(found, batch, kept) else (shape[batch], *inner),
    )
    if alone and not _reorders(found, batch, kept):
        return pooled
    name, after = _contract(walk, pooled, found, "".join(found.own[place] for place in kept), found.own[batch], inner)
    step = replace(
        pooled.step,
        detail=f"sum over all positions, then channels by '{_equation(node)}'",
        shape=walk.shape(walk.output),
    )
    axis = found.output.index(found.own[batch])
    count = math.prod(after)
    return replace(pooled, name=name, channels=count, shape=walk.shape(walk.output), batch_axis=axis, step=step)


def _reorders(found: _Sum, batch: int, kept: list[int]) -> bool:
    """Whether the result has its axes in another order than the operand."""
    order = [place for place in sorted([batch, *kept]) if found.own[place] in found.output]
    return "".join(found.own[place] for place in order) != found.output


def _contract(
    walk: Lifting, pooled: Lifted, found: _Sum, own: str, batch: str, inner: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """The same Einsum on the grid, with the cells as axes that are kept; the tensor, and its channels' axes."""
    build = walk.build
    rows, columns = [letter for letter in string.ascii_letters if letter not in found.own + "".join(found.shared)][:2]
    result = [letter for letter in found.output if letter != batch]
    sizes = {letter: dim for name, axes in found.others for letter, dim in zip(axes, walk.shape(name), strict=True)}
    sizes |= dict(zip(own, inner, strict=True))
    after = tuple(sizes[letter] for letter in result)
    grid = pooled.name
    flat = len(inner) == 1 and len(after) == 1
    places = rows + columns if flat else rows
    if not flat:
        grid = build.reshape(grid, [0, *inner, -1])
    terms = ",".join([f"{batch}{own}{places}", *(axes for _, axes in found.others)])
    operands = [grid, *(name for name, _ in found.others)]
    made = build.node("Einsum", operands, equation=f"{terms}->{batch}{''.join(result)}{places}")
    return made if flat else as_grid(walk, pooled, made, math.prod(after)), after
