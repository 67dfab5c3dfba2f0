"""Branches that are always taken: an If whose condition is fixed, opened up to the nodes of its branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np


def splice_branches(proto: onnx.ModelProto, condition: Callable[[str], np.ndarray | None]) -> onnx.ModelProto:
    """A copy in which each If with a fixed condition is the branch that it takes; the model itself if it has none.

    Args:
        proto: the model; not changed.
        condition: the value of a tensor that is fixed, None for all others.
    """
    taken: dict[int, onnx.GraphProto] = {}
    for place, node in enumerate(proto.graph.node):
        if node.op_type == "If" and node.domain in ("", "ai.onnx"):
            value = condition(node.input[0])
            if value is not None and value.size == 1:
                wanted = "then_branch" if bool(value.reshape(())) else "else_branch"
                taken[place] = next(entry.g for entry in node.attribute if entry.name == wanted)
    if not taken:
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.node[:]
    used = names_in(proto.graph)
    for place, node in enumerate(proto.graph.node):
        branch = taken.get(place)
        if branch is None:
            copy.graph.node.append(node)
            continue
        # Branches may use names that others use, too; outside them each name is for one tensor.
        fresh = _fresh_names(branch, used)
        copy.graph.node.extend(_renamed(inner, fresh) for inner in branch.node)
        for inner, outer in zip(branch.output, node.output, strict=True):
            if outer:
                source = fresh.get(inner.name, inner.name)
                copy.graph.node.append(onnx.helper.make_node("Identity", [source], [outer]))
        for tensor in branch.initializer:
            copy.graph.initializer.add().CopyFrom(tensor)
            copy.graph.initializer[-1].name = fresh.get(tensor.name, tensor.name)
    return copy


def names_in(graph: onnx.GraphProto) -> set[str]:
    """Every name that is taken in a graph: tensors and nodes, those of subgraphs included."""
    names = {value.name for value in (*graph.input, *graph.output, *graph.value_info)}
    names |= {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        names |= {node.name, *node.input, *node.output}
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                names |= names_in(inner)
    return names


def _fresh_names(branch: onnx.GraphProto, used: set[str]) -> dict[str, str]:
    """New names for the tensors that a branch makes, and for its nodes."""
    own = [name for node in branch.node for name in (*node.output, node.name)]
    fresh = {}
    for name in [*own, *(tensor.name for tensor in branch.initializer)]:
        if name and name not in fresh:
            wish, count = f"{name}/taken", 1
            while wish in used:
                count += 1
                wish = f"{name}/taken_{count}"
            used.add(wish)
            fresh[name] = wish
    return fresh


def _renamed(node: onnx.NodeProto, fresh: Mapping[str, str]) -> onnx.NodeProto:
    """A copy of a node of a branch, by its new names; what its own branches capture follows."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = fresh.get(node.name, node.name)
    for names in (copy.input, copy.output):
        for place, name in enumerate(names):
            names[place] = fresh.get(name, name)
    for attribute in copy.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            _rename_captured(graph, fresh)
    return copy


def _rename_captured(graph: onnx.GraphProto, fresh: Mapping[str, str]) -> None:
    """New names for what a body reads of the branch around it; changes the body."""
    hidden = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    hidden |= {name for node in graph.node for name in node.output}
    seen = {name: new for name, new in fresh.items() if name not in hidden}
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = seen.get(name, name)
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                _rename_captured(inner, seen)
    for value in graph.output:
        value.name = seen.get(value.name, value.name)
