"""The class token's own program: nodes as a vendor would write them if the token stood alone, and a graph with them.

None of them is written to a file as it stands. The lift's rules read them like the vendor's, and what a lift needs of
their values is computed by new nodes (`onnx_gapmil.rewriting.attachment.values`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnx_gapmil.graph.ancestors import ancestors
from onnx_gapmil.graph.view import ModelGraph

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.lift.quantization import QuantParams
    from onnx_gapmil.lift.tokens.boxes import Box

#: Domain of the operators that stand for what has no name in ONNX.
DOMAIN = "gapmil.tokens"
#: What the class token brings from all tokens: ``sum_p weights[p] values[p]``.
ATTEND = "Attend"
#: Where the head takes the class token.
TAKE = "Take"
#: A row that the vendor rounds to integers: ``(clip(round(t / s) + z) - z) s``.
ROUND = "Round"


@dataclass(frozen=True)
class Attended:
    """What one attention brings to the class token.

    Attributes:
        weights: tensor of the token's attention, (N, G, T) in row-major order: G heads over T tokens.
        values: tensor (N, T, G * D) of what is brought from each token, one head after the other.
        tensor: the vendor's tensor that holds these values.
        axis: its axis that is tokens.
        groups: G.
        tokens: T.
        channels: D.
        where: the vendor's node, as ``name (operator)``.
    """

    weights: str
    values: str
    tensor: str
    axis: int
    groups: int
    tokens: int
    channels: int
    where: str


@dataclass(frozen=True)
class Rounded:
    """What rounding does to a row.

    Attributes:
        row: what is rounded.
        step: tensor of one float: the scale.
        zero: tensor of one float: the zero point.
        limits: the smallest and the largest integer.
        fixed: scale and zero point, where they do not depend on the image.
    """

    row: str
    step: str
    zero: str
    limits: tuple[int, int]
    fixed: tuple[float, float] | None


@dataclass
class Program:
    """Rows of the class token, each a tensor with the node that makes it.

    Attributes:
        build: names them, and holds their constants.
        trace: the vendor's trace, with the shapes and types of the rows beside.
        nodes: in an order in which they can be computed.
        frozen: rows that are kept at their value: fixed ones, and what a lift does not pass.
        fixed: those of them that are the same for all images.
        sizes: rows of which the image decides one number for each token, times fixed ones.
        attended: by the tensor of its result.
        rounded: the same.
        ranges: by a tensor of the vendor's that is quantized by its own range, scale and zero point.
        integers: by a tensor of integers of the vendor's that an operator on integers made, and that is read, scale and
            zero point: tensors of one float each.
        taken_integers: for each of the vendor's tensors that is a class token taken out of integers, their
            scale and zero point.
        origins: for rows that are a part of a tensor of the vendor's, which one and which part.
        sources: tensors of the vendor's that attentions read all tokens of.
        selections: for each of the vendor's tensors that is a class token taken out, the row it is.
        along: of those that are several tokens, side by side still, the axis that tells them apart.
        skipped: nonlinear operators that the lift stops at, by the vendor's names.
    """

    build: GraphBuilder
    trace: Trace
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    frozen: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    sizes: set[str] = field(default_factory=set)
    attended: dict[str, Attended] = field(default_factory=dict)
    rounded: dict[str, Rounded] = field(default_factory=dict)
    ranges: dict[str, tuple[str, str]] = field(default_factory=dict)
    integers: dict[str, tuple[str, str]] = field(default_factory=dict)
    taken_integers: dict[str, QuantParams] = field(default_factory=dict)
    origins: dict[str, tuple[str, Box]] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)
    selections: dict[str, str] = field(default_factory=dict)
    along: dict[str, int] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.trace = replace(self.trace, shapes=dict(self.trace.shapes), dtypes=dict(self.trace.dtypes))
        self._made: dict[str, onnx.NodeProto] = {}

    @property
    def rows(self) -> list[str]:
        """The tensors that its nodes make, in order."""
        return [node.output[0] for node in self.nodes if node.op_type != TAKE]

    def holds(self, tensor: str) -> bool:
        """Whether a tensor is one of its rows."""
        return tensor in self._made

    def is_rounded(self, row: str, fixed: tuple[float, float] | None) -> bool:
        """Whether a row holds what was rounded with a scale and zero point already, in another shape perhaps."""
        while row in self._made and self._made[row].op_type in ("Gather", "Reshape"):
            row = self._made[row].input[0]
        return fixed is not None and row in self.rounded and self.rounded[row].fixed == fixed

    def before_reshapes(self, row: str) -> str:
        """What a row was before it was only laid out anew."""
        while row in self._made and self._made[row].op_type == "Reshape" and self._made[row].domain == "":
            row = self._made[row].input[0]
        return row

    def attended_by(self, graph: ModelGraph, row: str) -> list[str]:
        """The attentions that a row is made of, by their results, in order."""
        found = set(ancestors(graph, row, lambda node, read: node.op == ATTEND or read in self.frozen))
        return [name for name in self.rows if name in self.attended and name in found]

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        shape: tuple[int, ...],
        dtype: np.dtype,
        *,
        frozen: bool,
        domain: str = "",
        name: str = "",
        attributes: Iterable[onnx.AttributeProto] = (),
        output: str = "",
        **attrs: Any,
    ) -> str:
        """Append a node.

        Args:
            op: operator type.
            inputs: tensors.
            shape: of what it makes, in the trace.
            dtype: its element type.
            frozen: whether the lift keeps it at its value.
            domain: the operator's.
            name: for people.
            attributes: of the vendor's node that it is a row of.
            output: the tensor it makes; made up if "".
            attrs: further attributes.

        Returns:
            The tensor it makes.
        """
        result = output or self.build.unique(f"gapmil_row/{op}")
        made = onnx.helper.make_node(
            op,
            list(inputs),
            [result],
            name=name,
            domain=domain,
            **{key: value for key, value in attrs.items() if value is not None},
        )
        made.attribute.extend(attributes)
        self.nodes.append(made)
        if op != TAKE:
            self._made[result] = made
        self.trace.shapes[result] = shape
        self.trace.dtypes[result] = np.dtype(dtype)
        if frozen:
            self.frozen.add(result)
        return result

    def constant(self, value: np.ndarray) -> str:
        """A small constant."""
        name = self.build.constant(value)
        self.trace.shapes[name] = value.shape
        self.trace.dtypes[name] = value.dtype
        self.frozen.add(name)
        self.fixed.add(name)
        return name


class TokenGraph(ModelGraph):
    """A vendor's graph in which the class token's rows have nodes, and what takes the token out reads those."""

    def __init__(self, base: ModelGraph, program: Program) -> None:
        """Lay a program over a graph; neither is changed."""
        self.__dict__.update(base.__dict__)
        model = onnx.helper.make_model(onnx.helper.make_graph(program.nodes, "rows", [], []))
        fresh: list[gs.Node] = list(gs.import_onnx(model).nodes)
        self._nodes = [*self._nodes, *fresh]
        self._producers = {**self._producers, **{out.name: node for node in fresh for out in node.outputs}}
        self._protos = {**self._protos, **{name: node for node in program.nodes for name in node.output}}
        self.__dict__.pop("consumers", None)
        self._base = base
        self._build = program.build
        literal = {name for name in program.fixed if program.build.value(name) is not None}
        self._constants = base.constants | literal
        self._steady = base.shape_computed | (program.fixed - literal)

    def value(self, name: str) -> np.ndarray | None:
        """Of a constant, the vendor's or one of the rows'."""
        own = self._build.value(name)
        return self._base.value(name) if own is None else own

    @property
    def constants(self) -> frozenset[str]:
        """The vendor's, and the small ones of the rows."""
        return self._constants

    @property
    def shape_computed(self) -> frozenset[str]:
        """The vendor's, and the rows that are the same for all images."""
        return self._steady
