"""Sums over whole axes that are spelled as additions of their elements, one by one.

PyTorch's dynamo exporter writes an adaptive average pool whose windows are unequal so: the windows are gathered, and
their 36 elements taken apart and added up. Two at a time they would be places that differ, joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_gapmil.lift.coordinates.fields import POOLED, Field, contract

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.coordinates.looks import Looks
    from onnx_gapmil.lift.coordinates.scene import Scene

#: Terms of a sum, at most.
_MOST_TERMS = 1024


@dataclass(frozen=True)
class WholeSum:
    """The sum of all elements of a tensor along some of its axes.

    Attributes:
        source: the tensor.
        axes: the axes, which the sum has no longer.
    """

    source: str
    axes: tuple[int, ...]

    def looks(self, source: Looks, after: tuple[int, ...]) -> Looks:
        """What the sum sees, of what the tensor does."""

        def move(field: Field) -> Field:
            mean = contract(field, self.axes, POOLED)
            return Field(mean.values.squeeze(self.axes), mean.step)

        return source.mapped(after, move)


def whole_sum(node: gs.Node, scene: Scene) -> WholeSum | None:
    """What a tree of Adds, of which this is the last, sums whole; None where it is no such sum."""
    terms = _terms(node, scene) if node.op == "Add" else []
    chosen = {_chosen(name, scene) for name in terms}
    if len(terms) < 3 or len(chosen) != len(terms) or None in chosen:
        return None
    told = [found for found in chosen if found is not None]
    source, first = told[0]
    axes = tuple(axis for axis, _ in first)
    if any(name != source or tuple(axis for axis, _ in at) != axes for name, at in told):
        return None
    count, shape = 1, scene.shape(source) or ()
    for axis in axes:
        count *= shape[axis]
    return WholeSum(source, axes) if count == len(told) else None


def _terms(node: gs.Node, scene: Scene) -> list[str]:
    """What a tree of Adds adds up; empty where that is too much."""
    found: list[str] = []
    pending = [tensor.name for tensor in node.inputs]
    while pending and len(found) < _MOST_TERMS:
        name = pending.pop()
        maker = scene.graph.producer(name)
        if maker is not None and maker.op == "Add":
            pending += [tensor.name for tensor in maker.inputs]
        else:
            found.append(name)
    return [] if pending else found


def _chosen(name: str, scene: Scene) -> tuple[str, tuple[tuple[int, int], ...]] | None:
    """Of which tensor a tensor is one element along some axes, and which one, by axis; None if it is none."""
    steps: list[tuple[int, int]] = []
    while (maker := scene.graph.producer(name)) is not None and maker.op == "Gather":
        index, shape = scene.input_value(maker, 1), scene.shape(maker.inputs[0].name)
        if index is None or index.ndim or not shape:
            break
        axis = int(maker.attrs.get("axis", 0)) % len(shape)
        steps.append((axis, int(index) % shape[axis]))
        name = maker.inputs[0].name
    left = list(range(len(scene.shape(name) or ())))
    found = [(left.pop(axis), index) for axis, index in reversed(steps)]
    return (name, tuple(sorted(found))) if found else None
