"""Rewrite a model so that it also emits its prediction grid; the vendor's own graph stays as it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import onnx

from onnx_gapmil.errors import ModelError, UnsupportedHeadError
from onnx_gapmil.graph.builder import GraphBuilder
from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.graph.loading import LoadedModel, load_model
from onnx_gapmil.graph.trace import Trace, trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.heads import Head, HeadSearch, lift_heads
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.emission.outputs import EmittedHead, emit_head
from onnx_gapmil.rewriting.record import HEADS_KEY, VERSION_KEY, HeadOutputs, read_heads
from onnx_gapmil.rewriting.result import SCHEMA_VERSION, Rewrite, RewrittenHead, WholeGrids
from onnx_gapmil.rewriting.saving import default_output_path, save_model
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnx_gapmil.lift.verdict import Readout, Refusal

__all__ = [
    "SCHEMA_VERSION",
    "Analysis",
    "Rewrite",
    "RewrittenHead",
    "analyse",
    "default_output_path",
    "rewrite_model",
    "save_model",
]

_PREFIX = "gapmil."


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


def rewrite_model(
    model: str | Path | onnx.ModelProto, *, readout: Readout = "contribution", emit: Emit | str | None = None
) -> Rewrite:
    """Rewrite a model in memory, without proof.

    Args:
        model: path of an ``.onnx`` file, or a ModelProto (which is not changed).
        readout: ``contribution`` (mean over cells = logits, always) or ``instance``.
        emit: what the graph is to give beside the logits; features and grid if None.

    Returns:
        The rewritten model. Its new outputs, after the original ones: ``gapmil_logits`` (N, K) and what `Emit` lists,
        ``gapmil_features`` (N, C, H, W) and ``gapmil_grid`` (N, K, H, W) by default; with several heads each name
        ends in ``_`` and the output's name. A model that was rewritten before is given back as it is.

    Raises:
        ModelError: the model cannot be read or run; or it was rewritten before, with other emissions than those asked
            for.
        UnsupportedHeadError: no output has a head that can be lifted.
        InputError: ``emit`` asks for what a head has not.
    """
    source = load_model(model)
    recorded = _recorded(source, emit)
    if recorded is not None:
        return recorded
    wish = Emit.of(emit)
    analysis = _analyse_loaded(source, readout)
    search = analysis.search
    if not search.heads:
        if not search.refusals:
            raise ModelError(f"{source.name}: all of its outputs are constants, whatever the image.")
        raise UnsupportedHeadError(_worst(search.refusals), search.refusals)
    several = len(search.heads) > 1
    emitted = [
        emit_head(analysis.build, analysis.trace, head, wish, readout, suffix=f"_{head.output}" if several else "")
        for head in search.heads
    ]
    heads = tuple(_rewritten_head(head, made, readout) for head, made in zip(search.heads, emitted, strict=True))
    proto = _assemble(analysis, emitted, heads)
    whole = _whole_grids(analysis, emitted, heads, proto)
    return Rewrite(proto, source, heads, search.refusals, inlined=analysis.inlined, trace=analysis.trace, whole=whole)


def _worst(refusals: dict[str, Refusal]) -> Refusal:
    """The refusal to lead with: of an output that looks like class scores, where there is one."""
    return next(
        (entry for entry in refusals.values() if entry.code != "not-a-classifier"),
        next(iter(refusals.values())),
    )


def _rewritten_head(head: Head, made: EmittedHead, readout: Readout) -> RewrittenHead:
    return RewrittenHead(
        **_names(made.names),
        output=head.output,
        outputs=head.outputs,
        verdict=head.verdict,
        grid_shape=made.grid_shape,
        activation=head.logits.activation,
        readout=readout,
        chain=head.chain,
        quantized=head.quantized,
        rounding_bound=head.rounding_bound,
        position_dependent=head.position_dependent,
        feature_grids=head.features,
        note="; ".join(dict.fromkeys(found.note for found in head.features if found.note)),
    )


def _names(outputs: HeadOutputs) -> dict[str, Any]:
    """The outputs as keyword arguments of another `HeadOutputs`."""
    return {entry.name: getattr(outputs, entry.name) for entry in fields(HeadOutputs)}


def _assemble(
    analysis: Analysis,
    emitted: Sequence[EmittedHead],
    heads: tuple[RewrittenHead, ...],
    extra: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.ModelProto:
    """The vendor's model with the new nodes and outputs at its end."""
    proto = onnx.ModelProto()
    proto.CopyFrom(analysis.graph.proto)
    values = [*(value for made in emitted for value in made.values), *extra]
    analysis.build.append_to(proto, [value.name for value in values])
    proto.graph.output.extend(values)
    _record(proto, analysis, heads)
    return proto


def _whole_grids(
    analysis: Analysis, emitted: Sequence[EmittedHead], heads: tuple[RewrittenHead, ...], proto: onnx.ModelProto
) -> WholeGrids:
    names, extra = {}, []
    for head, made in zip(heads, emitted, strict=True):
        if head.grid is None:
            wish = analysis.build.unique("gapmil_whole_grid")
            names[head.output] = analysis.build.node("Identity", [made.grid], output=wish)
            kind = made.values[0].type.tensor_type.elem_type
            extra.append(onnx.helper.make_tensor_value_info(wish, kind, made.grid_shape))
        else:
            names[head.output] = head.grid
    return WholeGrids(names, lambda: _assemble(analysis, emitted, heads, extra) if extra else proto)


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


def _recorded(source: LoadedModel, emit: Emit | str | None) -> Rewrite | None:
    """The model itself, if it was rewritten before.

    Raises:
        ModelError: it was, and other emissions are asked for.
    """
    metadata = {entry.key: entry.value for entry in source.proto.metadata_props}
    outputs = [value.name for value in source.proto.graph.output]
    heads = read_heads(metadata, outputs, source.name)
    if heads is None:
        return None
    wish = Emit.of(emit)
    if emit is not None and any(head.emit != wish for head in heads):
        raise ModelError(
            f"{source.name} is a rewritten model already, which gives {heads[0].emit}; for {wish} rewrite the original."
        )
    kept = tuple(
        RewrittenHead(
            **_names(head),
            output=head.output,
            outputs=(head.output,),
            verdict="exact" if head.verdict == "exact" else "conditional",
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
