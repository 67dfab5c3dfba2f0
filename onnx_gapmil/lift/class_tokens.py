"""Heads that read a class token: found, its rows walked back over the trunk, and lifted like all others."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.coordinates.fields import is_number
from onnx_gapmil.lift.heads import HeadSearch, lift_heads
from onnx_gapmil.lift.logits import find_logits, find_members
from onnx_gapmil.lift.tokens.boxes import Box, NoBox
from onnx_gapmil.lift.tokens.handlers import HANDLERS
from onnx_gapmil.lift.tokens.integers import is_of_integers, scale_of
from onnx_gapmil.lift.tokens.moving import MOVERS
from onnx_gapmil.lift.tokens.program import DOMAIN, TAKE, Program
from onnx_gapmil.lift.tokens.unrolling import Unrolling
from onnx_gapmil.lift.tokens.walk import TokenWalk
from onnx_gapmil.lift.verdict import LIFT_WAS_ASKED_FOR, HeadRefused, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.tokens.modes import ClassTokenMode

#: Tensors of a head that are looked at for where it takes a token.
_MOST_TENSORS = 2000


def lift_class_tokens(search: HeadSearch, mode: ClassTokenMode) -> HeadSearch:
    """Lift what was refused for a class token; what was lifted stays as it was lifted.

    Args:
        search: what became of each output without that.
        mode: how far the lift goes.

    Returns:
        The search with those heads, or with what their token's own way was refused for.
    """
    found = _lifted(search, mode)
    told = {
        name: replace(why, advice=LIFT_WAS_ASKED_FOR) if why.code == "class-token" else why
        for name, why in found.refusals.items()
    }
    return replace(found, refusals=told)


def _lifted(search: HeadSearch, mode: ClassTokenMode) -> HeadSearch:
    walk = search.walk
    program = Program(walk.build, walk.trace)
    own = Unrolling(walk, program, mode, HANDLERS)
    refused = dict(search.refusals)
    takes: dict[str, list[str]] = {}
    for output, why in search.refusals.items():
        try:
            found = _takes(walk, output)
            for node, tensor in found:
                _unroll(own, node, tensor)
            takes[output] = [tensor for _, tensor in found]
            if not found and why.code == "class-token":
                _require_followed(walk, why, mode)
        except HeadRefused as error:
            if why.code == "class-token":
                refused[output] = replace(error.refusal, walked=why.walked)
    if not any(takes.values()) or not program.selections:
        return replace(search, refusals=refused)
    tokens = TokenWalk(walk, program, mode, walk.rules)
    again = lift_heads(walk.graph, program.trace, walk.build, walk.readout, walk.rules, tokens)
    again = replace(
        again, refusals={name: _reason(tokens, takes.get(name, ()), why) for name, why in again.refusals.items()}
    )
    if len(again.heads) <= len(search.heads):
        return replace(search, refusals={name: again.refusals.get(name, why) for name, why in refused.items()})
    taken = program.selections
    heads = tuple(
        replace(head, class_token=mode) if any(step.output in taken for step in head.chain) else head
        for head in again.heads
    )
    still = {name: refused.get(name, why) for name, why in again.refusals.items()}
    return replace(again, heads=heads, refusals=still)


def _require_followed(walk: Lifting, why: Refusal, mode: ClassTokenMode) -> None:
    """Name what is on the way of a token that is taken of tokens without places, which some layer has mixed.

    Raises:
        HeadRefused: there is something that cannot be followed.
    """
    for node in walk.graph.nodes:
        if node.op in MOVERS and walk.describe(node) == why.node:
            _unroll(Unrolling(walk, Program(walk.build, walk.trace), mode, HANDLERS), node, node.outputs[0].name)


def _reason(walk: TokenWalk, taken: Iterable[str], why: Refusal) -> Refusal:
    """Why an output is refused: for a token that it takes, or for what its own walk met."""
    lifts = (walk.try_lift(tensor) for tensor in taken)
    return next((replace(lift, walked=why.walked) for lift in lifts if isinstance(lift, Refusal)), why)


def _takes(walk: Lifting, output: str) -> list[tuple[gs.Node, str]]:
    """Where an output's head takes tokens out of a row of them: the node and the tensor it makes."""
    members = find_members(walk.graph, output, walk.trace.shapes) or [find_logits(walk.graph, output)]
    queue = deque(dict.fromkeys([output, *(logits.tensor for logits in members)]))
    seen, found = set(queue), list[tuple["gs.Node", str]]()
    while queue and len(seen) < _MOST_TENSORS:
        tensor = queue.popleft()
        node = walk.graph.producer(tensor)
        if node is None or walk.is_fixed(tensor) or not isinstance(walk.try_lift(tensor), Refusal):
            continue
        if node.op in MOVERS and _takes_a_token(walk, node, tensor):
            found.append((node, tensor))
            continue
        if _is_map(walk, tensor):
            continue  # the head begins behind it
        for read in walk.graph.reads(node):
            if read not in seen:
                seen.add(read)
                queue.append(read)
    return found


def _is_map(walk: Lifting, tensor: str) -> bool:
    """Whether a tensor holds places that are apart.

    Class tokens that stand alone look at the mean of all places; the logits of two, side by side, at two such means
    (CrossViT), less than a pixel from each other.
    """
    looks = walk.coordinates.get(tensor)
    for view in looks.views if looks is not None else ():
        for (_, of), found in view.items():
            values = found.values[is_number(found.values)]
            if of > 0 and values.size and np.ptp(values) >= 1:
                axes = range(len(walk.trace.shapes.get(tensor, ())))
                return any(walk.holds_places(tensor, axis) for axis in axes)
    return False


def _takes_a_token(walk: Lifting, node: gs.Node, tensor: str) -> bool:
    """Whether a node takes one of several places along an axis that holds some, and all of the other axes.

    Of tokens that look at no place it may take several: a class token and a distillation token.
    """
    data = node.inputs[0].name
    fixed = all(walk.is_fixed(read.name) for read in node.inputs[1:] if read.name)
    if not fixed or walk.is_fixed(data) or data not in walk.trace.shapes:
        return False
    try:
        own = Unrolling(walk, Program(walk.build, walk.trace), "direct", HANDLERS)
        box, _ = Box.of_numbers(own.moved(node, tensor), walk.shape(data))
    except (NoBox, HeadRefused, ModelError):
        return False
    cut = [axis for axis in range(len(box.shape)) if box.is_cut(axis)]
    if len(cut) != 1 or not walk.holds_places(data, cut[0]):
        return False
    (axis,) = cut
    prefix, suffix = walk.placeless_ends(data, axis)
    return box.size[axis] == 1 or all(not prefix <= place < box.shape[axis] - suffix for place in box.kept[axis])


def _unroll(own: Unrolling, node: gs.Node, tensor: str) -> None:
    """The token's rows, and the node by which the head reads it.

    Raises:
        HeadRefused: an operator on its way has no rule.
    """
    if tensor in own.program.selections:
        return
    data = node.inputs[0].name
    numbers = own.moved(node, tensor)
    box, order = own.box_of(node, numbers, data)
    axis = next((axis for axis in range(len(box.shape)) if box.is_cut(axis)), None)
    if axis is not None and box.size[axis] > 1:
        row, order = _rows(own, data, box, order, axis)
        if len(numbers.shape) == len(box.shape):  # Slice, Split
            own.program.along[tensor] = axis
    else:
        row = own.row(data, box)
    name = own.rearranged(node, row, order, numbers.shape)
    own.program.selections[tensor] = name
    if is_of_integers(own, data) and (scale := scale_of(own, node, data)).fixed is not None:
        own.program.taken_integers[tensor] = scale.names
    own.program.node(
        TAKE,
        [name],
        numbers.shape,
        own.dtype(tensor),
        frozen=False,
        domain=DOMAIN,
        output=tensor,
        name=node.name or "",
    )


def _rows(own: Unrolling, data: str, box: Box, order: np.ndarray, axis: int) -> tuple[str, np.ndarray]:
    """The rows of several tokens that are taken, each followed by itself.

    Args:
        own: the unrolling.
        data: the tensor of tokens.
        box: the part of it.
        order: for each element that is taken its place in the box.
        axis: which axis tells the tokens apart.

    Returns:
        One row, its elements image by image, and for each element that is taken its place in the row.
    """
    count = box.size[axis]
    width = box.count // count // own.batch
    rows = []
    for place in box.kept[axis]:
        row = own.row(data, box.replaced(axis, box.shape[axis], (place,)))
        rows.append(row if own.shape(row) == (own.batch, width) else own.reshaped(row, (own.batch, width)))
    frozen = all(own.is_frozen(row) for row in rows)
    name = own.program.node("Concat", rows, (own.batch, count * width), own.dtype(rows[0]), frozen=frozen, axis=1)
    one = np.arange(own.batch * width).reshape([dim for place, dim in enumerate(box.size) if place != axis])
    each = [one // width * count * width + place * width + one % width for place in range(count)]
    return name, np.stack(each, axis=axis).ravel()[order]
