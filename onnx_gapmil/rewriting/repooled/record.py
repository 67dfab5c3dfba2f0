"""What a repooled file says of its pools. It is a claim: `onnx_gapmil.rewriting.repooled.claim` checks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from onnx_gapmil.aggregate.aggregator import Aggregator, parse_aggregator
from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.graph.loading import POOL_KEY
from onnx_gapmil.graph.tensors import tensor_array
from onnx_gapmil.lift.tokens.modes import ClassTokenMode
from onnx_gapmil.rewriting.emission.names import text_of
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    import onnx

    from onnx_gapmil.graph.loading import LoadedModel


@dataclass(frozen=True)
class RepooledHead:
    """One head whose logits another aggregator gives.

    Attributes:
        output: the head's name: the vendor's first output that it makes, or a member of an ensemble.
        names: of all heads that read these logits, in the order of the graph; nearly always this one.
        outputs: all outputs that are made of its logits.
        aggregator: what gives them now: one of the family, or a pool that labelled images chose.
        logits: the tensor that the vendor's activation reads; it was the vendor's logits.
        mean: the tensor that holds the vendor's logits since.
        alone: whether each class is read by itself, by its sigmoid.
        constants: of a fitted pool, the constants of the graph that hold its arrays, by the array's name.
    """

    output: str
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    aggregator: Aggregator | FittedPool
    logits: str
    mean: str
    alone: bool
    constants: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The head as the record keeps it."""
        found = {
            "output": self.output,
            "names": list(self.names),
            "outputs": list(self.outputs),
            "aggregator": self.aggregator.key,
            "logits": self.logits,
            "mean": self.mean,
            "alone": self.alone,
        }
        if isinstance(self.aggregator, FittedPool):
            keys = [entry.key for entry in self.aggregator.aggregators]
            found["fitted"] = {"fit": self.aggregator.fit, "aggregators": keys, "constants": dict(self.constants)}
        return found


@dataclass(frozen=True)
class PoolRecord:
    """What a repooled file says of itself.

    Attributes:
        heads: whose pools are others than the vendor's.
        source_sha256: of the vendor's ``.onnx`` file.
        graph_sha256: digest of the vendor's graph, without what we wrote into its metadata.
        class_token: how far heads that read a class token are lifted; None where none is.
        inlined: whether the vendor's local functions were inlined on the way.
        measure: the largest difference of a logit from NumPy's that the proof measured, and what is allowed.
    """

    heads: tuple[RepooledHead, ...]
    source_sha256: str
    graph_sha256: str
    class_token: ClassTokenMode | None = None
    inlined: bool = False
    measure: tuple[float, float] | None = None

    @property
    def wishes(self) -> dict[str, Aggregator | FittedPool]:
        """The aggregator of each head, by its name."""
        return {name: head.aggregator for head in self.heads for name in head.names}

    def measured(self, measure: float, allowed: float) -> PoolRecord:
        """The same with what the proof measured."""
        return replace(self, measure=(measure, allowed))

    def to_json(self) -> dict[str, Any]:
        """The record as the metadata keep it."""
        return {
            "version": __version__,
            "source_sha256": self.source_sha256,
            "graph_sha256": self.graph_sha256,
            "class_token": self.class_token,
            "inlined": self.inlined,
            "residual": self.measure[0] if self.measure is not None else None,
            "allowed": self.measure[1] if self.measure is not None else None,
            "heads": [head.to_json() for head in self.heads],
        }


def write_pools(proto: onnx.ModelProto, record: PoolRecord) -> None:
    """Write the record into a model's metadata, in place of an earlier one."""
    text = json_text(record.to_json(), compact=True)
    for entry in proto.metadata_props:
        if entry.key == POOL_KEY:
            entry.value = text
            return
    proto.metadata_props.add(key=POOL_KEY, value=text)


def read_pools(source: LoadedModel) -> PoolRecord | None:
    """The record of a repooled file; None of any other.

    Raises:
        ModelError: the record is damaged, or names tensors that the graph has not.
    """
    text = source.metadata.get(POOL_KEY)
    if text is None:
        return None
    try:
        found = _read(json.loads(text), source)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, InputError) as error:
        raise _damaged(source, f"it cannot be read ({type(error).__name__}: {error})") from error
    made = {name for node in source.proto.graph.node for name in node.output if name}
    names = [name for head in found.heads for name in (head.logits, head.mean)]
    if not found.heads or len(set(names)) < len(names):
        raise _damaged(source, "it names no head, or one twice")
    absent = sorted(set(names) - made)
    if absent:
        raise _damaged(source, f"the graph makes no tensor '{absent[0]}'")
    return found


def _read(entry: dict[str, Any], source: LoadedModel) -> PoolRecord:
    mode = entry.get("class_token")
    if mode not in (None, "direct", "through"):
        raise ValueError(f"{mode!r} is no way to lift a class token")
    heads = tuple(
        RepooledHead(
            output=text_of(head["output"]),
            names=tuple(text_of(name) for name in head["names"]),
            outputs=tuple(text_of(name) for name in head["outputs"]),
            aggregator=_pool(head, source),
            logits=text_of(head["logits"]),
            mean=text_of(head["mean"]),
            alone=head["alone"] is True,
            constants=_constants(head),
        )
        for head in entry["heads"]
    )
    residual, allowed = entry.get("residual"), entry.get("allowed")
    return PoolRecord(
        heads=heads,
        source_sha256=text_of(entry["source_sha256"]),
        graph_sha256=text_of(entry["graph_sha256"]),
        class_token=mode,
        inlined=entry.get("inlined") is True,
        measure=(float(residual), float(allowed)) if residual is not None and allowed is not None else None,
    )


def _constants(head: dict[str, Any]) -> dict[str, str]:
    fitted = head.get("fitted")
    if fitted is None:
        return {}
    return {text_of(name): text_of(constant) for name, constant in fitted["constants"].items()}


def _pool(head: dict[str, Any], source: LoadedModel) -> Aggregator | FittedPool:
    """What gives a head's logits; the arrays of a fitted pool are read where the graph has them."""
    fitted = head.get("fitted")
    if fitted is None:
        return parse_aggregator(text_of(head["aggregator"]))
    graph = source.proto.graph
    wanted = _constants(head)
    held = {tensor.name: tensor for tensor in graph.initializer if tensor.name in wanted.values()}
    for node in graph.node:  # before IR 4 constants of ours are nodes
        if node.op_type == "Constant" and node.output[0] in wanted.values():
            held[node.output[0]] = node.attribute[0].t
    arrays = {name: tensor_array(held[constant], source.folder) for name, constant in wanted.items()}
    if (found := arrays.get("positions")) is not None and "weight" not in arrays:
        arrays["positions"] = found[0]
    return FittedPool(
        text_of(fitted["fit"]), tuple(parse_aggregator(text_of(key)) for key in fitted["aggregators"]), arrays
    )


def _damaged(source: LoadedModel, why: str) -> ModelError:
    return ModelError(f"{source.name}: its record of pools ({POOL_KEY}) is damaged: {why}. Repool the original again.")
