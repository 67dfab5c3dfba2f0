"""Nodes in an order in which each comes after those that make what it reads, as ONNX demands and runtimes do not."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.graph.subgraphs import bodies, captured

if TYPE_CHECKING:
    from collections.abc import Sequence


def is_in_order(graph: onnx.GraphProto) -> bool:
    """Whether each node of a graph, and of the bodies in it, comes after those that make what it reads."""
    to_come = {name for node in graph.node for name in node.output if name}
    for node in graph.node:
        if not to_come.isdisjoint(node.input) or not to_come.isdisjoint(captured(node)):
            return False
        to_come.difference_update(node.output)
    return all(is_in_order(body) for node in graph.node for body in bodies(node))


def put_in_order(graph: onnx.GraphProto) -> None:
    """Sort the nodes of a graph, and of the bodies in it, in place: of those that can come next, the first in the file.

    ONNX Runtime's float16 converter, where it keeps inputs and outputs in float32, puts the Casts of both at the end,
    and graph surgery does the like. Runtimes sort nodes; passes over them, onnx's inference and its reference evaluator
    take them as they come.
    """
    nodes = [onnx.NodeProto.FromString(graph.node[place].SerializeToString()) for place in _order(graph.node)]
    del graph.node[:]
    graph.node.extend(nodes)
    for node in graph.node:
        for body in bodies(node):
            put_in_order(body)


def _order(nodes: Sequence[onnx.NodeProto]) -> list[int]:
    """The places of the nodes in their new order; as they are where they are cyclic."""
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    waiting: list[int] = []
    users: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        reads = {makers[name] for name in (*node.input, *captured(node)) if name in makers}
        waiting.append(len(reads))
        for maker in reads:
            users.setdefault(maker, []).append(place)
    ready = [place for place, count in enumerate(waiting) if not count]
    heapify(ready)
    order = []
    while ready:
        order.append(heappop(ready))
        for user in users.get(order[-1], ()):
            waiting[user] -= 1
            if not waiting[user]:
                heappush(ready, user)
    return order if len(order) == len(nodes) else list(range(len(nodes)))
