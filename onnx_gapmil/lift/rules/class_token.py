"""Where a class token's lift begins and ends: what an attention brings from places, and the token as the head takes it.

``sum_p w_p V_p`` over T tokens, of which P look at places and the others (the class token itself, registers) at none:
cell p gets ``P w_p V_p``, and each cell what the others bring. The mean over cells is the sum.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.coordinates.judging import look_alike
from onnx_gapmil.lift.layout import Layout
from onnx_gapmil.lift.lifted import FeatureGrid, Lifted, Quantization
from onnx_gapmil.lift.placing import cells_of, difference_of
from onnx_gapmil.lift.planes import map_of
from onnx_gapmil.lift.quantization import clipped, quantization_of, rounding_phrase, saturate
from onnx_gapmil.lift.table import rule
from onnx_gapmil.lift.tokens.program import DOMAIN
from onnx_gapmil.lift.tokens.walk import TokenWalk
from onnx_gapmil.lift.verdict import LiftStep

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.coordinates.judging import CellPlaces
    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.tokens.program import Attended
    from onnx_gapmil.lift.verdict import HeadRefused

_MODES = {
    "direct": "as it reaches the head by linear layers",
    "through": "as it reaches the head, through the MLPs by their slopes",
}


@rule("Attend", domain=DOMAIN)
def lift_attended(node: gs.Node, walk: Lifting) -> Lifted:
    """What an attention brings to the class token, place by place."""
    own = _token_walk(walk)
    found = own.program.attended[walk.output]
    size, prefix, suffix = _arranged(own, found)
    build, groups, tokens = walk.build, found.groups, found.tokens
    dtype = walk.dtype(found.values, np.dtype(np.float32))
    cells = math.prod(size)
    # Each cell stands for all of them; what has no place is added up.
    scale = np.full((1, 1, 1, tokens), cells, dtype)
    scale[..., :prefix] = scale[..., tokens - suffix :] = 1
    channels = groups * found.channels
    weights = build.node("Mul", [build.reshape(found.weights, [-1, groups, 1, tokens]), build.constant(scale)])
    values = build.node("Transpose", [found.values], perm=[0, 2, 1])  # the larger of the two, but once
    values = build.reshape(values, [0, groups, found.channels, tokens])
    flat = build.reshape(build.node("Mul", [values, weights]), [0, channels, tokens])
    body = build.slice_last(flat, prefix, tokens - suffix) if prefix or suffix else flat
    name = build.reshape(body, [0, channels, *size])
    own.placed[name] = channels
    for start, end in ((0, prefix), (tokens - suffix, tokens)):
        if start < end:
            rest = build.reduce("ReduceSum", build.slice_last(flat, start, end), [2])
            name = build.node("Add", [name, build.reshape(rest, [0, channels, 1, 1])])
    axes, where = (found.axis,), found.where
    grid = FeatureGrid(name, found.tensor, channels, size, axes, where, "tokens", dtype, prefix=prefix, suffix=suffix)
    detail = f"attention: what {cells} of {tokens} tokens bring to the class token; the rest spread evenly"
    shape = walk.shape(walk.output)
    step = LiftStep("Attend", node.name or "", walk.output, shape, "pool", True, detail)
    return Lifted(name, channels, shape, 0, walk.trace.batch, (grid,), dtype, True, step)


def _arranged(walk: TokenWalk, found: Attended) -> tuple[tuple[int, int], int, int]:
    """Rows and columns of the tokens that look at places, and how many before and behind them look at none."""
    layout = Layout(walk.graph, walk.trace)
    told = walk.placeless_ends(found.tensor, found.axis)
    # Where coordinates tell how many look at no place, so many they are; else as many as leave a map's positions.
    for prefix, suffix in (told,) if any(told) else [(count, 0) for count in (0, 1, 2, 4, 5)]:
        plane, _ = map_of(walk, layout, found.tensor, found.tokens - prefix - suffix)
        if plane is not None:
            return plane.size, prefix, suffix
    raise walk.refuse_at(
        "class-token",
        found.where,
        f"{found.where}: it attends to {found.tokens} tokens, and no map before them has as many positions, with or "
        "without a class token and registers: they are no rows and columns of patches",
    )


@rule("Round", domain=DOMAIN)
def lift_rounded(node: gs.Node, walk: Lifting) -> Lifted:
    """A row that is rounded to integers: a range cuts every cell in proportion, and what rounding adds has no place.

    A trunk rounds some ten times a block, and each norm divides what was rounded before it by a deviation: no bound
    follows from the scales. So rounding is no error here but a part of the answer, and the mean is the rounded row.
    """
    found = _token_walk(walk).program.rounded[walk.output]
    lifted = walk.lift(found.row)
    name, inside, axis = lifted.name, found.row, lifted.batch_axis
    detail = "rounds within the range of all tokens"
    if found.fixed is not None:
        step, zero = found.fixed
        low, high = (step * (end - zero) for end in found.limits)
        range_ = Quantization(step, zero, low, high)

        def lay(share: str) -> str:
            return walk.per_cell(share, lifted.shape, axis, shape=lifted.shape)

        name = saturate(walk, name, found.row, range_, lifted.dtype, lay)
        inside = clipped(walk, found.row, range_, lifted.dtype)
        detail = rounding_phrase(range_, clips=True)
    rest = walk.build.node("Sub", [walk.output, inside])
    name = walk.build.node("Add", [name, walk.per_cell(rest, lifted.shape, axis, shape=lifted.shape)])
    detail = f"{detail}; what rounding adds has no place"
    return walk.result(
        node, name, [lifted], "gate", detail, conditional=True, batch_axis=axis, channels=lifted.channels
    )


@rule("Take", domain=DOMAIN)
def lift_token(node: gs.Node, walk: Lifting) -> Lifted:
    """The class token where the head takes it: one map, of which its own way through the trunk is made."""
    own = _token_walk(walk)
    row = node.inputs[0].name
    if own.is_fixed(row):
        stopped = own.mode == "direct" and own.program.skipped
        message = (
            "all that attentions bring it meets nonlinear layers, at which 'direct' stops; 'through' passes them"
            if stopped
            else "it attends to nothing that has a place"
        )
        raise _refused(own, walk.output, message)
    lifted = own.lift_rows(row)
    shape = walk.shape(walk.output)
    grids = lifted.features
    first = cells_of(walk, grids[0])
    for grid in grids[1:]:
        if difference := _difference(walk, (grids[0], first), grid):
            raise walk.refuse_at("different-views", grid.pool, f"{grid.pool}: it looks at other places: {difference}")
    for grid in grids:  # a pool that the token is joined with brings all of its map
        if own.placed.keys().isdisjoint(own.build.needed([grid.name])):
            own.placed[grid.name] = grid.channels
    last = grids[-1]
    vendor = own.base.graph.producer(walk.output)
    count = len(own.program.attended_by(own.graph, row))
    tokens = math.prod(last.size) + last.prefix + last.suffix
    detail = (
        f"the class token of {tokens}: what {count} attention{'s' if count > 1 else ''} brought it from each patch, "
        f"{_MODES[own.mode]}; the rest has no place and is spread evenly"
    )
    operator = "" if vendor is None else walk.operator(vendor)
    step = LiftStep(
        operator, (vendor.name if vendor is not None else "") or "", walk.output, shape, "pool", True, detail
    )
    grid = FeatureGrid(
        lifted.name,
        last.source,
        lifted.channels,
        last.size,
        last.axes,
        walk.describe(vendor),
        "tokens",
        lifted.dtype,
        prefix=last.prefix,
        suffix=last.suffix,
    )
    # A fixed batch of 1 is told by nothing: it comes first, but for the axis of the tokens.
    along = own.program.along.get(walk.output)
    fitting = [axis for axis, dim in enumerate(shape) if dim == lifted.batch and axis != along]
    if not fitting or math.prod(shape) != lifted.batch * lifted.channels:
        raise _refused(own, walk.output, f"the head takes it in the shape {list(shape)}")
    return Lifted(
        lifted.name,
        lifted.channels,
        shape,
        fitting[0],
        lifted.batch,
        (grid,),
        lifted.dtype,
        conditional=True,
        step=step,
        # The last bit of a row that is computed anew decides which way some numbers are rounded.
        rounding=np.full(lifted.channels, np.inf) if own.program.rounded else None,
        quantization=_stands_for(own, vendor),
    )


def _stands_for(walk: TokenWalk, vendor: gs.Node | None) -> Quantization | None:
    """What the integers of a token stand for that the head takes out of integers."""
    names = walk.program.taken_integers.get(walk.output)
    if names is None or vendor is None:
        return None
    return quantization_of(vendor, walk, names, tensor=walk.output)


def _difference(walk: Lifting, one: tuple[FeatureGrid, CellPlaces], grid: FeatureGrid) -> str:
    """In what the cells of an attention are others than those of the first one, for people; "" if they are the same.

    What two attentions bring is added up cell by cell, so that the tokens must be the same ones in the same order: also
    those whose places are no rows and columns, such as patches of which some were dropped.
    """
    first, looks = one
    cells = cells_of(walk, grid)
    if looks.places.known and cells.places.known:
        return difference_of(looks, cells)
    if looks.code or cells.code:
        return ""  # they are no places, which the head is refused for
    inputs = {entry.name: entry.traced for entry in walk.trace.inputs}
    seen = walk.coordinates.get(first.source), walk.coordinates.get(grid.source)
    ends = first.suffix, grid.suffix
    alike = first.shape == grid.shape and look_alike(seen, (first.axes, grid.axes), first.shape, inputs, ends)
    return "" if alike else "its tokens are in another order, or others"


def _refused(walk: TokenWalk, tensor: str, message: str) -> HeadRefused:
    return walk.refuse("class-token", walk.base.graph.producer(tensor), f"the class token that it takes: {message}")


def _token_walk(walk: Lifting) -> TokenWalk:
    assert isinstance(walk, TokenWalk)  # noqa: S101 - no other walk has such nodes
    return walk
