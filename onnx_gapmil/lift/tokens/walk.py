"""The walk over a graph in which the class token's rows have nodes of their own."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from onnx_gapmil.graph.ancestors import ancestors
from onnx_gapmil.lift.lifting import Lifting
from onnx_gapmil.lift.tokens.program import ATTEND, TokenGraph
from onnx_gapmil.lift.verdict import HeadRefused, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.lift.coordinates.looks import Looks
    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Rule
    from onnx_gapmil.lift.tokens.modes import ClassTokenMode
    from onnx_gapmil.lift.tokens.program import Program

#: A trunk of forty blocks has some hundred operators on the token's way.
_MAX_DEPTH = 4000


class TokenWalk(Lifting):
    """A walk that passes class tokens.

    Attributes:
        program: the rows.
        mode: how far they are lifted.
        base: the walk over the vendor's own graph, which has no class tokens.
        placed: new tensors on the grid that hold what places bring, and their channels; all else of a lift is the
            same in every cell.
    """

    max_depth = _MAX_DEPTH

    def __init__(
        self, base: Lifting, program: Program, mode: ClassTokenMode, rules: Mapping[tuple[str, str], Rule]
    ) -> None:
        super().__init__(TokenGraph(base.graph, program), program.trace, program.build, base.readout, rules)
        self.program = program
        self.mode = mode
        self.placed: dict[str, int] = {}
        self.base = base

    @cached_property
    def coordinates(self) -> dict[str, Looks]:
        """As the vendor's own graph has them, but for the token and what is made of it: that looks at no place.

        Coordinates take a learned token for a part of all images alike.
        """
        behind, pending = set[str](), list(self.program.selections)
        while pending:
            name = pending.pop()
            if name not in behind:
                behind.add(name)
                pending += [out.name for node in self.base.graph.consumers.get(name, ()) for out in node.outputs]
        return {name: looks for name, looks in self.base.coordinates.items() if name not in behind}

    def is_fixed(self, tensor: str) -> bool:
        """What is kept at its value beside: a fixed number for the lift, though not for the file."""
        return tensor in self.program.frozen or super().is_fixed(tensor)

    @property
    def batch_is_open(self) -> bool:
        """Whether an input leaves its batch open."""
        return any(entry.batch_is_open for entry in self.trace.inputs)

    def is_row(self, tensor: str) -> bool:
        """Whether a tensor exists in no file, but in the token's program alone."""
        return self.program.holds(tensor)

    def lift_rows(self, row: str) -> Lifted:
        """Lift a row by all that it is made of, first things first: the stack is as deep as one operator then.

        Raises:
            HeadRefused: it has no lift; of several rows that have none, what was met first.
        """
        frozen = self.program.frozen
        needed = set(ancestors(self.graph, row, lambda node, read: node.op == ATTEND or read in frozen))
        refused: Refusal | None = None
        for name in self.program.rows:
            found = self.try_lift(name) if name in needed and name not in frozen else None
            refused = found if refused is None and isinstance(found, Refusal) else refused
        lifted = self.try_lift(row)
        if isinstance(lifted, Refusal):
            raise HeadRefused(refused or lifted)
        return lifted
