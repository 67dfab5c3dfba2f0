"""What a model is: a doctor's note on its inputs, its pools, its head and what the head allows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import onnx

from onnx_gapmil.aggregate.reading import Reading
from onnx_gapmil.data.names_by_head import NamedHead
from onnx_gapmil.graph.loading import LoadedModel, ModelSource, limited_for, load_model
from onnx_gapmil.graph.tensors import is_external
from onnx_gapmil.lift.layout import Layout
from onnx_gapmil.lift.tokens.modes import ClassTokenWish, mode_of
from onnx_gapmil.rewriting.analysis import Analysis, analyse
from onnx_gapmil.rewriting.claim import vendors_part
from onnx_gapmil.rewriting.head_choice import chosen_place
from onnx_gapmil.rewriting.record import FeatureGridRecord, HeadRecord, joint_verdict
from onnx_gapmil.rewriting.repooled.claim import vendors_model
from onnx_gapmil.rewriting.repooled.record import RepooledHead, read_pools
from onnx_gapmil.rewriting.repooled.weights import fitted_weights
from onnx_gapmil.rewriting.resized import at_size
from onnx_gapmil.rewriting.result import SCHEMA_VERSION
from onnx_gapmil.rewriting.rewriter import claimed_heads, claimed_pools
from onnx_gapmil.rewriting.sizing.record import Size, SizeRecord, parse_size, size_of
from onnx_gapmil.rewriting.stated import StatedNote, stated_note

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.lift.verdict import Refusal, Verdict

_POOLS = frozenset(
    {
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GlobalLpPool",
        "AveragePool",
        "MaxPool",
        "LpPool",
        "QLinearGlobalAveragePool",
        "QLinearAveragePool",
    }
)
_REDUCTIONS = frozenset({"ReduceMean", "ReduceMax", "ReduceSum"})
#: Nodes looked at to find what becomes of a pool that is not the head's.
_SEARCH_LIMIT = 400


@dataclass(frozen=True)
class PoolNote:
    """One pooling node of the graph and what it is for.

    Attributes:
        node: its name in the vendor's graph.
        op: operator type.
        before: traced shape that it pools.
        after: traced shape that it makes.
        is_head: whether the walk from some output's logits ended here.
        role: one phrase: why it is the head's, or why not.
        joins: the node where its result meets a map again, if it does.
    """

    node: str
    op: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    is_head: bool
    role: str
    joins: str = ""

    def to_json(self) -> dict[str, Any]:
        """The note as the command line prints it."""
        return {**asdict(self), "before": list(self.before), "after": list(self.after)}


@dataclass(frozen=True)
class Inspection:
    """What a model is and what its head allows.

    Attributes:
        model: its path, or its graph's name.
        size: bytes, external data included.
        sha256: of the ``.onnx`` file.
        exporter: what wrote it, as far as it says.
        ir_version: of the file.
        opsets: operator sets by domain.
        inputs: (name, shape, dtype); open axes by their symbol.
        outputs: the same.
        nodes: in the main graph.
        parameters: elements of all float weights.
        functions: local functions defined; ``inlined`` tells whether they hid the head.
        heads: those that lift.
        tails: by head's output, the operators between logits and output.
        refusals: by output, why others do not.
        pools: every whole-map pool, and what it is for.
        local_pools: how many pools have a window smaller than their map.
        traced: the shape of the first input in the trace.
        rewritten: the heads that a rewritten file records; empty for a vendor's.
        repooled: the heads whose logits another aggregator gives, by the record of a repooled file; empty for others.
        sized: at which input size it is looked at, where that was asked for; None where it is the vendor's.
        stated: how photos are prepared for it, and what names its classes, each with where that comes from.
    """

    model: str
    size: int
    sha256: str
    exporter: str
    ir_version: int
    opsets: dict[str, int]
    inputs: tuple[tuple[str, tuple[int | str, ...], str], ...]
    outputs: tuple[tuple[str, tuple[int | str, ...], str], ...]
    nodes: int
    parameters: int
    functions: int
    inlined: bool
    heads: tuple[LiftedHead, ...]
    refusals: dict[str, Refusal]
    pools: tuple[PoolNote, ...]
    local_pools: int
    traced: tuple[int, ...]
    rewritten: tuple[HeadRecord, ...] = ()
    repooled: tuple[RepooledHead, ...] = ()
    stated: StatedNote = field(default_factory=StatedNote)
    sized: SizeRecord | None = None

    @property
    def verdict(self) -> Verdict | None:
        """``exact`` if every lifted head is; None if none lifts."""
        if not self.heads:
            return None
        return joint_verdict(head.verdict for head in self.heads)

    @property
    def nearest_pool(self) -> PoolNote | None:
        """The last pool of a whole map that leads to an output whose head is refused: the nearest candidate."""
        return next((pool for pool in reversed(self.pools) if not pool.is_head and not pool.joins), None)

    def to_json(self) -> dict[str, Any]:
        """The inspection as ``inspect --json`` prints it."""
        names = ("name", "shape", "dtype")
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "bytes": self.size,
            "sha256": self.sha256,
            "exporter": self.exporter,
            "ir_version": self.ir_version,
            "opsets": self.opsets,
            "inputs": [dict(zip(names, entry, strict=True)) for entry in self.inputs],
            "outputs": [dict(zip(names, entry, strict=True)) for entry in self.outputs],
            "nodes": self.nodes,
            "parameters": self.parameters,
            "functions": self.functions,
            "functions_inlined": self.inlined,
            "already_rewritten": bool(self.rewritten),
            "repooled": [
                {**head.to_json(), "pool_weights": [pool.to_json() for pool in fitted_weights(head)]}
                for head in self.repooled
            ],
            "verdict": self.verdict if self.heads else "refused",
            "heads": [_head_json(head) for head in self.heads],
            "refused_outputs": [{"output": name, **refusal.to_json()} for name, refusal in self.refusals.items()],
            "pools": [pool.to_json() for pool in self.pools],
            "local_pools": self.local_pools,
            "nearest_candidate": self.nearest_pool.to_json() if self.refusals and self.nearest_pool else None,
            "traced_input": list(self.traced),
            "size": self.sized.to_json() if self.sized is not None else None,
            **self.stated.to_json(),
        }


def _head_json(head: LiftedHead) -> dict[str, Any]:
    return {
        "output": head.output,
        "outputs": list(head.outputs),
        "verdict": head.verdict,
        "quantized": head.quantized,
        "rounding_bound": head.rounding_bound,
        "position_dependent": head.position_dependent,
        "class_token": True if head.class_token is not None else None,
        "class_token_lift": head.class_token,
        "logits": head.logits.tensor,
        "activation": head.logits.activation,
        "reading": None if head.features_of else Reading.of(head.logits.activation, head.classes).kind,
        "tail": list(head.logits.tail),
        "classes": head.classes,
        "features_of": list(head.features_of),
        "grid_size": list(head.features[0].shape),
        "feature_grids": [FeatureGridRecord.of(grid).to_json() for grid in head.features],
        "places": head.places.to_json(),  # as traced; what stripes show of them is in the proof of a rewrite
        "chain": [step.to_json() for step in head.chain],
        "pool_weights": [pool.to_json() for pool in head.pool_weights],
    }


def inspect(
    model: ModelSource,
    *,
    names: str | Path | Sequence[str] | None = None,
    head: str | None = None,
    class_token: ClassTokenWish | None = None,
    size: Size | int | str | None = None,
) -> Inspection:
    """Say what a model is; nothing is written.

    Args:
        model: path of an ``.onnx`` file, a ModelProto, or a model that was read already.
        names: a file of class names, or the names; what states them is looked for if None.
        head: the output to look at, of a model with several; all if None.
        class_token: lift heads that read a class token, by ``direct``, ``through`` or ``auto``; None refuses them.
        size: (height, width) of the input in pixels, or one number for both, to look at the model at that size; None
            is the vendor's.

    Raises:
        ModelError: the model cannot be read or run.
        LabelsError: the names that are asked for cannot be read, or fit no head.
        InputError: ``head`` is no output.
        ProofError: it was rewritten before, and what its record says of it does not hold.
    """
    with limited_for(model):
        source = at_size(load_model(model), parse_size(size))
        rewritten = claimed_heads(source)
        part = vendors_part(source, rewritten) if rewritten and read_pools(source) is not None else source
        pools = claimed_pools(part)
        # The head of a repooled file is the vendor's, whose logits are the mean of its cells.
        mode = mode_of(class_token) or (pools.class_token if pools is not None else None)
        analysis = analyse(vendors_model(part, pools) if pools is not None else source, class_token=mode)
        found = _inspected(source, analysis, rewritten, names, head)
        return replace(found, repooled=pools.heads if pools is not None else ())


def _inspected(
    source: LoadedModel,
    analysis: Analysis,
    rewritten: tuple[HeadRecord, ...],
    asked: str | Path | Sequence[str] | None,
    head: str | None,
) -> Inspection:
    traced = analysis.trace
    proto = source.proto
    own = {name for head in rewritten for name in head.new_outputs}
    pools, local = _pools(analysis)
    heads = tuple(found for found in analysis.search.heads if found.output not in own)
    refusals = {name: refusal for name, refusal in analysis.search.refusals.items() if name not in own}
    if head is not None:
        heads, refusals = _chosen(head, heads, refusals, source.name)
    return Inspection(
        model=source.name,
        size=source.size,
        sha256=source.sha256,
        exporter=" ".join(part for part in (proto.producer_name, proto.producer_version) if part) or "not said",
        ir_version=proto.ir_version,
        opsets={entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        inputs=tuple(_value(value) for value in analysis.graph.inputs),
        outputs=tuple(_value(value) for value in proto.graph.output),
        nodes=len(proto.graph.node),
        parameters=_parameters(proto),
        functions=len(proto.functions),
        inlined=analysis.inlined,
        heads=heads,
        refusals=refusals,
        pools=pools,
        local_pools=local,
        traced=traced.inputs[0].traced,
        rewritten=rewritten,
        sized=size_of(source.metadata),
        stated=stated_note(source, [_named(found) for found in heads], asked, alone=traced.inputs[0].alone),
    )


def _chosen(
    output: str, heads: tuple[LiftedHead, ...], refusals: dict[str, Refusal], what: str
) -> tuple[tuple[LiftedHead, ...], dict[str, Refusal]]:
    """What is said of one output alone: its head, or why it has none."""
    if output in refusals:
        return (), {output: refusals[output]}
    place = chosen_place(output, [(head.output, head.outputs) for head in heads], refusals, what)
    return (heads[place],), {}


def _named(head: LiftedHead) -> NamedHead:
    return NamedHead(head.output, head.classes, head.features_of != ())


def _value(value: onnx.ValueInfoProto) -> tuple[str, tuple[int | str, ...], str]:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return value.name, (), str(value.type.WhichOneof("value"))
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or "?") for dim in kind.shape.dim)
    if kind.elem_type == onnx.TensorProto.STRING:
        return value.name, shape, "string"
    name = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else "unknown"
    return value.name, shape, str(name)


def _parameters(proto: onnx.ModelProto) -> int:
    """Elements of all float and quantized weights, wherever they are kept; of sparse ones, those that are held."""
    integers = {onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING}
    tensors = [*proto.graph.initializer, *(tensor.values for tensor in proto.graph.sparse_initializer)]
    for node in proto.graph.node:
        tensors += [entry.t for entry in node.attribute if node.op_type == "Constant" and entry.HasField("t")]
    return sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_type not in integers or is_external(tensor))


def _pools(analysis: Analysis) -> tuple[tuple[PoolNote, ...], int]:
    """Every pool of a whole map, and the number of those with smaller windows."""
    graph, shapes = analysis.graph, analysis.trace.shapes
    layout = Layout(graph, analysis.trace)
    on_chain = {
        step.output: head.output for head in analysis.search.heads for step in head.chain if step.kind == "pool"
    }
    notes: list[PoolNote] = []
    local = 0
    for node in graph.nodes:
        if node.op not in _POOLS | _REDUCTIONS or not node.inputs or node.inputs[0].name not in shapes:
            continue
        name = node.outputs[0].name
        before, after = shapes[node.inputs[0].name], shapes.get(name, ())
        whole = _covers_space(node, layout, before, after)
        if whole is None:
            continue
        if not whole:
            local += 1
            continue
        if name in on_chain:
            role, joins = f"the head of output '{on_chain[name]}'", ""
        else:
            role, joins = _other_role(analysis, node, before)
        notes.append(PoolNote(node.name or name, node.op, before, after, name in on_chain, role, joins))
    return tuple(notes), local


def _covers_space(node: gs.Node, layout: Layout, before: tuple[int, ...], after: tuple[int, ...]) -> bool | None:
    """Whether a node pools a whole map; None if it is no pool over space at all."""
    if node.op in _POOLS:
        return math.prod(after[2:]) == 1
    roles = layout.roles(node.inputs[0].name)
    space = [axis for axis, role in enumerate(roles) if role == "space"]
    if len(before) < 3 or not space:
        return None
    left = math.prod(after) * math.prod(before[axis] for axis in space)
    return True if left == math.prod(before) and math.prod(before[axis] for axis in space) > 1 else None


def _other_role(analysis: Analysis, node: gs.Node, before: tuple[int, ...]) -> tuple[str, str]:
    """Why a whole-map pool is not the head's, and the node where it meets a map again, found by going forward."""
    graph, shapes = analysis.graph, analysis.trace.shapes
    if math.prod(before[2:]) == 1:
        return "pools a map of one position, which changes nothing", ""
    queue = [out.name for out in node.outputs]
    seen = set(queue)
    outputs = {value.name for value in graph.outputs}
    while queue and len(seen) < _SEARCH_LIMIT:
        name = queue.pop(0)
        if name in outputs:
            return f"leads to output '{name}', whose head is refused", ""
        for reader in graph.consumers.get(name, ()):
            for out in reader.outputs:
                shape = shapes.get(out.name, ())
                if len(shape) >= 3 and math.prod(shape) > math.prod(shapes.get(name, (1,))) and shape[-1] > 1:
                    verb = "gates" if reader.op == "Mul" else f"goes back by {reader.op} into"
                    size = "×".join(str(dim) for dim in shape[1:])
                    return f"{verb} the trunk's {size} map", str(reader.name or out.name)
                if out.name not in seen:
                    seen.add(out.name)
                    queue.append(out.name)
    return "is not on the way from any output's logits", ""
