"""From a tensor of the head back over the trunk, as far as one token's row reaches: what makes it, node by node."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.tokens.boxes import Box, NoBox
from onnx_gapmil.lift.verdict import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.tokens.modes import ClassTokenMode
    from onnx_gapmil.lift.tokens.program import Program
    from onnx_gapmil.lift.verdict import HeadRefused

    Handler = Callable[["Unrolling", gs.Node, str, Box], "Making"]

#: A row that is being made: asks for the rows it needs, and returns its tensor.
Making = Generator[tuple[str, Box], str, str]
#: Operators that an attention pool ends in (`onnx_gapmil.lift.rules.weighted`).
_ATTENDING = frozenset({"Einsum", "MatMul"})


class Unrolling:
    """Makes rows, each once.

    Attributes:
        walk: the vendor's graph, walked without class tokens.
        program: collects the rows.
        mode: where the lift stops.
    """

    def __init__(
        self, walk: Lifting, program: Program, mode: ClassTokenMode, handlers: Mapping[tuple[str, str], Handler]
    ) -> None:
        self.walk = walk
        self.program = program
        self.mode = mode
        self._handlers = handlers
        self._rows: dict[tuple[str, Box], str] = {}
        self._maps: dict[str, np.ndarray] = {}
        self._open = any(entry.batch_is_open for entry in walk.trace.inputs)

    def row(self, tensor: str, box: Box) -> str:
        """The tensor that holds a box of a vendor's tensor, in the box's shape.

        A stack of its own: the token's way is as long as the trunk, and longer than Python's.

        Raises:
            HeadRefused: an operator on the way has no row, or the way leaves the token.
        """
        stack = [((tensor, box), self._make(tensor, box))]
        answer: str | None = None
        while stack:
            try:
                wanted = next(stack[-1][1]) if answer is None else stack[-1][1].send(answer)
            except StopIteration as done:
                key, _ = stack.pop()
                answer = self._rows[key] = str(done.value)
                self.program.origins.setdefault(answer, key)  # what only hands a row on comes later
                continue
            answer = self._rows.get(wanted)
            if answer is None:
                stack.append((wanted, self._make(*wanted)))
        assert answer is not None  # noqa: S101 - the last to be popped has answered
        return answer

    def _make(self, tensor: str, box: Box) -> Making:
        walk = self.walk
        if walk.is_fixed(tensor):
            return self.fixed(tensor, box)
        if box.is_whole and self._is_pooled(tensor):
            return tensor if self.size(box) == box.size else self.reshaped(tensor, self.size(box))
        node = walk.graph.producer(tensor)
        if node is None:
            raise walk.refuse_at("class-token", f"input '{tensor}'", f"the class token is a part of input '{tensor}'")
        handler = self._handlers.get(("" if node.domain in (None, "ai.onnx") else node.domain, node.op))
        if handler is None:
            raise self.refuse(node, "there is no rule for what it does to one token")
        return (yield from handler(self, node, tensor, box))

    def _is_pooled(self, tensor: str) -> bool:
        """Whether it is pooled and has a lift by itself; but not by the attention of a token that stands alone."""
        if isinstance(self.walk.try_lift(tensor), Refusal):
            return False
        return not any(step.kind == "pool" and step.op in _ATTENDING for step in self.walk.chain(tensor))

    def refuse(self, node: gs.Node, message: str) -> HeadRefused:
        """A refusal at a node of the trunk, to be raised."""
        return self.walk.refuse("class-token", node, f"the class token cannot be followed through it: {message}")

    # --- facts --------------------------------------------------------------------------------------------------

    @property
    def batch(self) -> int:
        """Images in the trace."""
        return self.walk.trace.batch

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Of a vendor's tensor or of a row, in the trace."""
        found = self.program.trace.shapes.get(tensor)
        return self.walk.shape(tensor) if found is None else found

    def size(self, box: Box) -> tuple[int, ...]:
        """The shape of a row: the box's, its images first where the trunk has its tokens before them, (T, N, C)."""
        wide = next((axis for axis, dim in enumerate(box.size) if dim != 1), 0)
        if wide == 0 or self.batch == 1 or box.size[wide] % self.batch:
            return box.size
        ahead = list(box.size)
        ahead[0], ahead[wide] = ahead[wide], 1
        return tuple(ahead)

    def dtype(self, tensor: str) -> np.dtype:
        """Element type of a vendor's tensor or of a row; float32 where nothing is known of it."""
        return self.program.trace.dtypes.get(tensor, np.dtype(np.float32))

    def is_frozen(self, tensor: str) -> bool:
        """Whether the lift keeps a row at its value."""
        return not tensor or tensor in self.program.frozen or self.walk.is_fixed(tensor)

    def is_same_for_all(self, tensor: str) -> bool:
        """Whether a row is the same for all images."""
        return not tensor or tensor in self.program.fixed or self.walk.is_fixed(tensor)

    def moved(self, node: gs.Node, tensor: str) -> np.ndarray:
        """Of a node that moves elements: for each of an output the number of the element of its first input.

        Raises:
            HeadRefused: the runtime does not tell.
        """
        if tensor not in self._maps:
            data = node.inputs[0].name
            shape = self.walk.shape(data)
            numbers = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
            if node.op == "Split":
                axis, start = int(node.attrs.get("axis", 0)) % len(shape), 0
                for out in node.outputs:
                    extent = self.walk.shape(out.name)[axis]
                    if out.name == tensor:
                        break
                    start += extent
                self._maps[tensor] = np.take(numbers, np.arange(start, start + extent), axis=axis)
            else:
                try:
                    self._maps[tensor] = self.walk.run_node(node, {data: numbers})[0]
                except ModelError as error:
                    raise self.refuse(node, f"which elements it takes could not be found: {error}") from error
        return self._maps[tensor]

    def box_of(self, node: gs.Node, numbers: np.ndarray, tensor: str) -> tuple[Box, np.ndarray]:
        """The box of some elements of a vendor's tensor, and their order in it.

        Raises:
            HeadRefused: they are none.
        """
        try:
            return Box.of_numbers(numbers, self.walk.shape(tensor))
        except NoBox as error:
            raise self.refuse(node, f"what it takes of '{tensor}' is no part of each of its axes") from error

    # --- rows ---------------------------------------------------------------------------------------------------

    def emit(
        self,
        node: gs.Node,
        inputs: Sequence[str],
        shape: tuple[int, ...],
        tensor: str,
        *,
        bends: bool = False,
        frozen: bool = False,
    ) -> str:
        """A vendor's node on rows.

        Args:
            node: the node.
            inputs: its operands.
            shape: of what it makes.
            tensor: which of its outputs.
            bends: whether it is no linear function of them, so that ``direct`` stops there.
            frozen: keep it at its value in any case.
        """
        stops = bends and self.mode == "direct"
        kept = frozen or stops or all(self.is_frozen(name) for name in inputs)
        if stops and not frozen:
            self.program.skipped.add(tensor)
        proto = self.walk.graph.node_proto(node)
        made = self.program.node(
            node.op,
            inputs,
            shape,
            self.dtype(tensor),
            frozen=kept,
            domain=node.domain or "",
            name=node.name or "",
            attributes=proto.attribute,
        )
        if all(self.is_same_for_all(name) for name in inputs):
            self.program.fixed.add(made)
        return made

    def fixed(self, tensor: str, box: Box) -> str:
        """A part of a constant, or of what is computed from shapes."""
        name, program = tensor, self.program
        shape = list(box.shape)
        for axis, kept in enumerate(box.kept):
            if len(kept) == box.shape[axis]:
                continue
            shape[axis] = len(kept)
            picks = program.constant(np.asarray(kept, np.int64))
            name = program.node("Gather", [name, picks], tuple(shape), self.dtype(tensor), frozen=True, axis=axis)
            program.fixed.add(name)
        # A learned token that was repeated for all images of a batch, tokens first.
        repeated = tensor in self.walk.graph.shape_computed and shape[:2] == [1, self.batch] and len(shape) > 2
        return self.reshaped(name, self.size(box)) if repeated and self.batch > 1 else name

    def rearranged(self, node: gs.Node, row: str, order: np.ndarray, size: tuple[int, ...]) -> str:
        """The elements of a row in another order and shape; image by image.

        Args:
            node: that moves them.
            row: the row.
            order: for each element of the result, its place in the row.
            size: of the result.

        Raises:
            HeadRefused: it takes the elements of images apart.
        """
        program, count = self.program, order.size // self.batch
        places = order.reshape(self.batch, count)
        if not np.array_equal(places, places[0] + count * np.arange(self.batch)[:, None]):
            raise self.refuse(node, "it mixes the images of a batch")
        name = row
        if not np.array_equal(places[0], np.arange(count)):
            flat = self.reshaped(name, (self.batch, count))
            picks = program.constant(places[0])
            name = self.moved_row("Gather", [flat, picks], (self.batch, count), axis=1)
        return name if self.shape(name) == size else self.reshaped(name, size)

    def reshaped(self, row: str, size: tuple[int, ...]) -> str:
        """``Reshape``, the batch as open as the vendor leaves it; of several in a row the last says all."""
        row = self.program.before_reshapes(row)
        target = list(size)
        if self._open:
            wide = next((axis for axis, dim in enumerate(size) if dim != 1), 0)
            target[wide] = -1
        goal = self.program.constant(np.asarray(target, np.int64))
        return self.moved_row("Reshape", [row, goal], size)

    def moved_row(self, op: str, inputs: list[str], shape: tuple[int, ...], axis: int | None = None) -> str:
        """A node of our own that moves the elements of a row."""
        row = inputs[0]
        made = self.program.node(op, inputs, shape, self.dtype(row), frozen=self.is_frozen(row), axis=axis)
        if self.is_same_for_all(row):
            self.program.fixed.add(made)
        return made
