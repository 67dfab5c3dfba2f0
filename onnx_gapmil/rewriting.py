"""Rewrite a model so that it also emits its prediction grid; the vendor's own graph stays as it is."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil import __version__
from onnx_gapmil.errors import InputError, ModelError, UnsupportedHeadError
from onnx_gapmil.graph.builder import GraphBuilder
from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.graph.loading import LoadedModel, has_external_data, load_model, serialize
from onnx_gapmil.graph.trace import Trace, trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.heads import Head, HeadSearch, lift_heads
from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.runtime.heads import HEADS_KEY, VERSION_KEY, read_heads

if TYPE_CHECKING:
    from onnx_gapmil.lift.lifted import FeatureGrid
    from onnx_gapmil.lift.verdict import LiftStep, Readout, Refusal, Verdict
    from onnx_gapmil.proof import ProofReport

SCHEMA_VERSION = 1
_PREFIX = "gapmil."
#: Fields of a head that the rewritten file keeps in its metadata, as they are.
_RECORDED = (
    "output",
    "verdict",
    "logits",
    "features",
    "grid",
    "activation",
    "readout",
    "quantized",
    "rounding_bound",
    "position_dependent",
    "note",
)


@dataclass(frozen=True)
class RewrittenHead:
    """One head of a rewritten model.

    Attributes:
        output: the vendor's first output that the head makes; ``outputs`` has them all.
        verdict: ``exact`` or ``conditional``.
        logits: new output (N, K).
        features: new output (N, C, H, W), the map before the pool.
        grid: new output (N, K, H, W).
        grid_shape: the grid's shape; open axes by a symbol's name.
        activation: what the vendor's graph makes of the logits: ``softmax``, ``sigmoid`` or ``none``.
        readout: ``contribution`` or ``instance``.
        quantized: whether the head rounds to integers on the way, so that the identity holds up to rounding.
        rounding_bound: how far rounding alone may move a logit of a quantized head, from its scales and weights;
            None where it does not round, or no bound follows from them.
        position_dependent: whether the head has weights of its own for each position.
        chain: the head, operator by operator, from the pool to the logits.
        feature_grids: the vendor's maps that the head pools; nearly always one.
        note: anything a reader of the grid must know, e.g. that its positions have no known arrangement.
        residual: largest |mean over cells - logits| / max |logits| that the proof measured; None before it.
    """

    output: str
    outputs: tuple[str, ...]
    verdict: Verdict
    logits: str
    features: str
    grid: str
    grid_shape: tuple[int | str, ...]
    activation: str
    readout: Readout
    chain: tuple[LiftStep, ...]
    quantized: bool = False
    rounding_bound: float | None = None
    position_dependent: bool = False
    feature_grids: tuple[FeatureGrid, ...] = ()
    residual: float | None = None
    note: str = ""

    def record(self) -> dict[str, Any]:
        """What the model's metadata keep of the head."""
        kept = {name: getattr(self, name) for name in _RECORDED}
        return {**kept, "outputs": list(self.outputs), "grid_shape": list(self.grid_shape)}

    def to_json(self) -> dict[str, Any]:
        """The head as the command line prints it."""
        grids = [grid.to_json() for grid in self.feature_grids]
        chain = [step.to_json() for step in self.chain]
        return {**self.record(), "residual": self.residual, "feature_grids": grids, "chain": chain}


@dataclass(frozen=True)
class Rewrite:
    """A rewritten model and what was found on the way.

    Attributes:
        model: the vendor's ModelProto with the new outputs appended.
        source: the model as it was read.
        heads: the heads that were lifted.
        refusals: by output, why others were not.
        inlined: whether local functions had to be inlined, the one change made to the vendor's graph.
        unchanged: the model was rewritten before, and nothing was done.
        proof: what the proof measured; None if it was not asked for.
        output_path: where the model was written; None if it was not.
        trace: the real shapes that the heads were found by; None for a model that was rewritten before.
    """

    model: onnx.ModelProto
    source: LoadedModel
    heads: tuple[RewrittenHead, ...]
    refusals: dict[str, Refusal]
    inlined: bool = False
    unchanged: bool = False
    proof: ProofReport | None = None
    output_path: Path | None = None
    trace: Trace | None = None

    @property
    def verdict(self) -> Verdict:
        """``exact`` if every lifted head is."""
        return "exact" if all(head.verdict == "exact" for head in self.heads) else "conditional"

    def with_proof(self, proof: ProofReport) -> Rewrite:
        """The same with a proof and the residuals it measured."""
        heads = tuple(replace(head, residual=proof.residual(head.output)) for head in self.heads)
        return replace(self, proof=proof, heads=heads)

    def to_json(self) -> dict[str, Any]:
        """The report of ``rewrite --json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.source.name,
            "output_path": str(self.output_path) if self.output_path is not None else None,
            "verdict": self.verdict,
            "heads": [head.to_json() for head in self.heads],
            "refused_outputs": [{"output": name, **refusal.to_json()} for name, refusal in self.refusals.items()],
            "originals_unchanged": self.proof.originals_unchanged if self.proof is not None else None,
            "already_rewritten": self.unchanged,
            "functions_inlined": self.inlined,
            "source_sha256": self.source.sha256,
            "proof": self.proof.to_json() if self.proof is not None else None,
        }


@dataclass(frozen=True)
class Analysis:
    """A model read, traced and searched for heads: what ``inspect`` shows and ``rewrite`` writes."""

    source: LoadedModel
    graph: ModelGraph
    trace: Trace
    build: GraphBuilder
    search: HeadSearch
    inlined: bool
    readout: Readout


def analyse(model: str | Path | onnx.ModelProto, *, readout: Readout = "contribution") -> Analysis:
    """Read a model, trace it and lift what heads it has; nothing is written.

    Local functions are inlined only where a head cannot be found without.

    Args:
        model: path of an ``.onnx`` file, or a ModelProto.
        readout: which grid to build.

    Raises:
        ModelError: the model cannot be read or run.
    """
    return _analyse_loaded(load_model(model), readout)


def _analyse_loaded(source: LoadedModel, readout: Readout) -> Analysis:
    analysis = _analyse(source, source.proto, readout, inlined=False)
    if analysis.search.refusals and has_functions(source.proto):
        again = _analyse(source, inline_functions(source.proto), readout, inlined=True)
        if len(again.search.heads) > len(analysis.search.heads):
            return again
    return analysis


def _analyse(source: LoadedModel, proto: onnx.ModelProto, readout: Readout, *, inlined: bool) -> Analysis:
    graph = ModelGraph(proto, source.folder)
    try:
        traced = trace(graph)
    except ModelError as error:
        raise ModelError(f"{source.name}: {error}") from error
    build = GraphBuilder(graph)
    search = lift_heads(graph, traced, build, readout)
    return Analysis(source, graph, traced, build, search, inlined, readout)


def rewrite_model(model: str | Path | onnx.ModelProto, *, readout: Readout = "contribution") -> Rewrite:
    """Rewrite a model in memory, without proof.

    Args:
        model: path of an ``.onnx`` file, or a ModelProto (which is not changed).
        readout: ``contribution`` (mean over cells = logits, always) or ``instance``.

    Returns:
        The rewritten model. Its new outputs, after the original ones: ``gapmil_logits`` (N, K),
        ``gapmil_features`` (N, C, H, W) and ``gapmil_grid`` (N, K, H, W); with several heads each name ends in
        ``_`` and the output's name.

    Raises:
        ModelError: the model cannot be read or run.
        UnsupportedHeadError: no output has a head that can be lifted.
    """
    source = load_model(model)
    recorded = _recorded(source)
    if recorded is not None:
        return recorded
    analysis = _analyse_loaded(source, readout)
    search = analysis.search
    if not search.heads:
        if not search.refusals:
            raise ModelError(f"{source.name}: all of its outputs are constants, whatever the image.")
        raise UnsupportedHeadError(_worst(search.refusals), search.refusals)
    proto = onnx.ModelProto()
    proto.CopyFrom(analysis.graph.proto)
    several = len(search.heads) > 1
    emitted = [_emit(analysis, head, f"_{head.output}" if several else "") for head in search.heads]
    analysis.build.append_to(proto, [name for head, _ in emitted for name in (head.logits, head.features, head.grid)])
    for _, values in emitted:
        proto.graph.output.extend(values)
    heads = tuple(head for head, _ in emitted)
    _record(proto, analysis, heads)
    return Rewrite(proto, analysis.source, heads, search.refusals, inlined=analysis.inlined, trace=analysis.trace)


def _worst(refusals: dict[str, Refusal]) -> Refusal:
    """The refusal to lead with: of an output that looks like class scores, where there is one."""
    return next(
        (entry for entry in refusals.values() if entry.code != "not-a-classifier"),
        next(iter(refusals.values())),
    )


def _emit(analysis: Analysis, head: Head, suffix: str) -> tuple[RewrittenHead, list[onnx.ValueInfoProto]]:
    """Give one head's tensors their final names; returns the head and its new graph outputs."""
    build, lifted = analysis.build, head.lifted
    names = [build.unique(f"gapmil_{kind}{suffix}") for kind in ("logits", "features", "grid")]
    logits, features, grid = names
    scores = head.logits.tensor
    if lifted.batch_axis is not None and lifted.batch_axis > 0:
        order = [lifted.batch_axis, *(axis for axis in range(len(lifted.shape)) if axis != lifted.batch_axis)]
        scores = build.node("Transpose", [scores], perm=order)
    if lifted.quantization is not None and not lifted.quantization.dynamic:
        # Logits that leave as integers: what they stand for is what the grid is of.
        whole = build.node("Cast", [scores], to=elem_type(lifted.dtype))
        shift, step = (
            build.constant(np.asarray(value, lifted.dtype))
            for value in (lifted.quantization.zero, lifted.quantization.step)
        )
        scores = build.node("Mul", [build.node("Sub", [whole, shift]), step])
    squeezed = any(step.op == "Squeeze" for step in head.chain)  # which may drop the batch too, where it is 1
    if lifted.batch_axis == 0 and len(lifted.shape) == 2 and not squeezed:
        # Not only is no Reshape needed: ONNX Runtime 1.31 moves a DequantizeLinear of int8 behind one and then does
        # not load what it made (opset 23).
        build.node("Identity", [scores], output=logits)
    else:
        build.node("Reshape", [scores, build.ints([-1, lifted.channels])], output=logits)
    maps = [found.name for found in head.features]
    joined = maps[0] if len(maps) == 1 else build.node("Concat", maps, axis=1)
    build.node("Identity", [joined], output=features)
    build.node("Identity", [lifted.name], output=grid)
    channels = sum(found.channels for found in head.features)
    batch, height, width = _open_axes(analysis, lifted.size)
    kind = elem_type(lifted.dtype)
    feature_kind = elem_type(head.features[0].dtype)
    values = [
        onnx.helper.make_tensor_value_info(logits, kind, [batch, lifted.channels]),
        onnx.helper.make_tensor_value_info(features, feature_kind, [batch, channels, height, width]),
        onnx.helper.make_tensor_value_info(grid, kind, [batch, lifted.channels, height, width]),
    ]
    shape = (batch, lifted.channels, height, width)
    new = RewrittenHead(
        output=head.output,
        outputs=head.outputs,
        verdict=head.verdict,
        logits=logits,
        features=features,
        grid=grid,
        grid_shape=shape,
        activation=head.logits.activation,
        readout=analysis.readout,
        chain=head.chain,
        quantized=head.quantized,
        rounding_bound=head.rounding_bound,
        position_dependent=head.position_dependent,
        feature_grids=head.features,
        note="; ".join(dict.fromkeys(found.note for found in head.features if found.note)),
    )
    return new, values


def _open_axes(analysis: Analysis, size: tuple[int, int]) -> tuple[int | str, int | str, int | str]:
    """Batch, height and width of the grid: numbers where the input fixes them, symbols where it leaves them open."""
    inputs = analysis.trace.inputs
    batch: int | str = analysis.trace.batch
    if any(entry.batch_is_open for entry in inputs):
        first = next(entry.declared[0] for entry in inputs if entry.batch_is_open)
        batch = first if isinstance(first, str) else "gapmil_batch"
    if any(entry.space_is_open for entry in inputs):
        return batch, "gapmil_height", "gapmil_width"
    return batch, size[0], size[1]


def _record(proto: onnx.ModelProto, analysis: Analysis, heads: tuple[RewrittenHead, ...]) -> None:
    """Write the metadata by which a rewritten model is recognised."""
    entries = {
        VERSION_KEY: __version__,
        f"{_PREFIX}verdict": "exact" if all(head.verdict == "exact" for head in heads) else "conditional",
        HEADS_KEY: json.dumps([head.record() for head in heads]),
        f"{_PREFIX}source_sha256": analysis.source.sha256,
        f"{_PREFIX}functions_inlined": str(analysis.inlined).lower(),
    }
    for key, value in entries.items():
        proto.metadata_props.add(key=key, value=value)


def _recorded(source: LoadedModel) -> Rewrite | None:
    """The model itself, if it was rewritten before."""
    metadata = {entry.key: entry.value for entry in source.proto.metadata_props}
    outputs = [value.name for value in source.proto.graph.output]
    heads = read_heads(metadata, outputs, source.name)
    if heads is None:
        return None
    kept = tuple(
        RewrittenHead(
            output=head.output,
            outputs=(head.output,),
            verdict="exact" if head.verdict == "exact" else "conditional",
            logits=head.logits,
            features=head.features or "",
            grid=head.grid,
            grid_shape=tuple(axis if axis is not None else "?" for axis in head.grid_shape),
            activation=head.activation or "none",
            readout="instance" if head.readout == "instance" else "contribution",
            chain=(),
            quantized=head.quantized,
            rounding_bound=head.rounding_bound,
            note=head.note,
        )
        for head in heads
    )
    return Rewrite(source.proto, source, kept, {}, unchanged=True)


def default_output_path(path: Path) -> Path:
    """``MODEL.onnx`` becomes ``MODEL.gapmil.onnx`` beside it."""
    return path.with_name(f"{path.stem}.gapmil.onnx")


def save_model(rewrite: Rewrite, path: Path) -> Rewrite:
    """Write a rewritten model, whole or not at all.

    Args:
        rewrite: what to write.
        path: where to; for a model with external data it must be in the same folder as that data.

    Raises:
        InputError: the folder does not exist, or is not where the external data lies, or cannot be written.
        ModelError: the rewritten model would exceed the 2 GiB of a protobuf file.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder; make it first, or choose another place for the rewritten model.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the file to write.")
    source = rewrite.source.path
    if source is not None and path.resolve() == source.resolve():
        raise InputError(f"{path} is the original model, which is never overwritten; choose another name.")
    if has_external_data(rewrite.model) and (source is None or path.parent.resolve() != source.parent.resolve()):
        where = source.parent if source is not None else "the weights' folder"
        raise InputError(
            f"the model's weights are in a file beside it that the rewritten model shares; write it into {where} too."
        )
    write_whole(path, serialize(rewrite.model, "the rewritten model"))
    return replace(rewrite, output_path=path)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file by way of a temporary one in the same folder, so that it is there whole or not at all."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
