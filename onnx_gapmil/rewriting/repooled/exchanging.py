"""The vendor's graph and its repooled form, one from the other.

A repooled file has all of the vendor's nodes. The vendor's logits have a name of their own in it, and the new pool, one
block of nodes behind the node that makes them, gives a tensor of their old name: so all that reads logits reads those.
To exchange the two names turns a file into the vendor's graph, in which the block leads to nothing, and back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.graph.loading import POOL_KEY
from onnx_gapmil.graph.subgraphs import captured

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from onnx_gapmil.rewriting.repooled.record import RepooledHead

#: How constants of our own begin (`onnx_gapmil.graph.builder`).
_CONSTANT = "gapmil/c"


def needed_tensors(graph: onnx.GraphProto, outputs: Iterable[str]) -> set[str]:
    """The tensors that some tensors are made of, these included."""
    makers = {name: node for node in graph.node for name in node.output if name}
    pending, seen = list(outputs), set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in makers:
            pending += [read for read in (*makers[name].input, *captured(makers[name])) if read]
    return seen


def vendors_view(proto: onnx.ModelProto, heads: Sequence[RepooledHead]) -> onnx.ModelProto:
    """A copy of a repooled model in which the vendor's logits have their old name, and the blocks lead to nothing."""
    view = onnx.ModelProto()
    view.CopyFrom(proto)
    exchange(view.graph, _pairs(heads), own=_block(view.graph, heads))
    return view


def exchange(graph: onnx.GraphProto, pairs: Mapping[str, str], own: Iterable[int]) -> None:
    """Exchange names of tensors, in place: where they are made, and in what nodes of ours read.

    Args:
        graph: the graph.
        pairs: each name's other one, both ways.
        own: the places of our nodes; the vendor's read what they read, which is another tensor then.
    """
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name in pairs:
                node.output[place] = pairs[name]
    for index in own:
        node = graph.node[index]
        for place, name in enumerate(node.input):
            if name in pairs:
                node.input[place] = pairs[name]


def turned_back(view: onnx.ModelProto, heads: Sequence[RepooledHead], vendors: int) -> None:
    """A view with nodes of ours appended becomes a repooled model again, in place.

    Args:
        view: what `vendors_view` gave, with nodes at its end.
        heads: its repooled heads.
        vendors: how many nodes it had.
    """
    swapped = {head.logits: head.mean for head in heads}
    block = _own(view.graph, pooled=swapped.values(), vendors=swapped, upto=vendors)
    exchange(view.graph, _pairs(heads), own=[*block, *range(vendors, len(view.graph.node))])


def restored(proto: onnx.ModelProto, heads: Sequence[RepooledHead]) -> onnx.ModelProto:
    """The vendor's model: a copy without the blocks, their constants and the record."""
    found = onnx.ModelProto()
    found.CopyFrom(proto)
    graph = found.graph
    block = set(_block(graph, heads))
    exchange(graph, _pairs(heads), own=block)
    remove_nodes(graph, block)
    entries = [(entry.key, entry.value) for entry in found.metadata_props if entry.key != POOL_KEY]
    del found.metadata_props[:]
    for key, value in entries:
        found.metadata_props.add(key=key, value=value)
    return found


def remove_nodes(graph: onnx.GraphProto, places: Collection[int]) -> None:
    """Take nodes of ours out of a graph, in place, and the constants of ours that only these read."""
    ours = [graph.node[index] for index in places]
    kept = onnx.GraphProto()
    kept.node.extend(node for index, node in enumerate(graph.node) if index not in places)
    read = {name for node in kept.node for name in (*node.input, *captured(node))}
    read |= {value.name for value in (*graph.input, *graph.output)}
    dropped = {name for node in ours for name in node.input if name.startswith(_CONSTANT)} - read
    kept.initializer.extend(tensor for tensor in graph.initializer if tensor.name not in dropped)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept.node)
    graph.initializer.extend(kept.initializer)


def _pairs(heads: Iterable[RepooledHead]) -> dict[str, str]:
    return {one: other for head in heads for one, other in ((head.logits, head.mean), (head.mean, head.logits))}


def _block(graph: onnx.GraphProto, heads: Sequence[RepooledHead]) -> list[int]:
    """The places of the nodes of a repooled graph that the vendor's had not."""
    return _own(graph, pooled=[head.logits for head in heads], vendors=[head.mean for head in heads])


def _own(
    graph: onnx.GraphProto, *, pooled: Iterable[str], vendors: Iterable[str], upto: int | None = None
) -> list[int]:
    """What the new logits are made of and the vendor's are not: the block reads maps, which these are made of too."""
    appended = needed_tensors(graph, pooled) - needed_tensors(graph, vendors)
    return [index for index, node in enumerate(graph.node[:upto]) if appended.intersection(node.output)]
