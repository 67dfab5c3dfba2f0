"""Rewrite a model so that it also emits its prediction grid; the vendor's own graph stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.graph.loading import LoadedModel, ModelSource, limited_for, load_model
from onnx_gapmil.lift.tokens.modes import ClassTokenMode, ClassTokenWish, mode_of
from onnx_gapmil.lift.tokens.walk import TokenWalk
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.analysis import Analysis, analyse
from onnx_gapmil.rewriting.attachment.attach import attach
from onnx_gapmil.rewriting.attachment.rungs import Attachment
from onnx_gapmil.rewriting.claim import check_claim
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.emission.outputs import EmittedHead, emit_head
from onnx_gapmil.rewriting.emission.shapes import traced_tensors
from onnx_gapmil.rewriting.emission.sums import collect_sums
from onnx_gapmil.rewriting.head_choice import chosen_place
from onnx_gapmil.rewriting.open_sizes import resized_from
from onnx_gapmil.rewriting.proof.whole_grids import WholeGrids, float_types
from onnx_gapmil.rewriting.record import FeatureGridRecord, HeadRecord, read_heads, write_heads
from onnx_gapmil.rewriting.repooled.claim import check_pools
from onnx_gapmil.rewriting.repooled.exchanging import turned_back, vendors_view
from onnx_gapmil.rewriting.repooled.record import read_pools
from onnx_gapmil.rewriting.repooled.weights import fitted_weights
from onnx_gapmil.rewriting.result import Rewrite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.verdict import Readout, Refusal
    from onnx_gapmil.rewriting.repooled.record import PoolRecord, RepooledHead


def rewrite_model(
    model: ModelSource,
    *,
    readout: Readout = "contribution",
    emit: Emit | str | None = None,
    attachment: Attachment = "plain",
    head: str | None = None,
    class_token: ClassTokenWish | None = None,
) -> Rewrite:
    """Rewrite a model in memory, without proof.

    Args:
        model: path of an ``.onnx`` file, a ModelProto (which is not changed), or a model that was read already.
        readout: ``contribution`` (mean over cells = logits, always) or ``instance``.
        emit: what the graph is to give beside the logits; features and grid if None.
        attachment: how new nodes hang on the vendor's graph.
        head: the output whose head alone is lifted, of a model with several; the new outputs then have no suffix.
        class_token: how far heads that read a class token are lifted; None refuses them.

    Returns:
        The rewritten model. Its new outputs, after the original ones: ``gapmil_logits`` (N, K) and what `Emit` lists,
        ``gapmil_features`` (N, C, H, W) and ``gapmil_grid`` (N, K, H, W) by default; with several heads each name
        ends in ``_`` and the output's name. A model that was rewritten before is given back as it is.

    Raises:
        ModelError: the model cannot be read or run; or it was rewritten before, with other emissions than those asked
            for.
        ProofError: it was rewritten before, and what its record says of it does not hold.
        UnsupportedHeadError: no output has a head that can be lifted.
        InputError: ``emit`` asks for what a head has not; or ``head`` is no output that has one.
    """
    mode = mode_of(class_token)
    if mode is not None and readout != "contribution":
        raise InputError("a class token has no answer of a cell by itself: its lift is read as contribution alone.")
    source = load_model(model)
    if source.is_rewritten:
        return _rewritten_before(source, emit, head)
    return _rewrite_vendors(source, readout, Emit.of(emit), attachment, mode, head)


def claimed_heads(source: LoadedModel) -> tuple[HeadRecord, ...]:
    """The heads that a rewritten file's record names, checked against the file, features last; none of a vendor's.

    Raises:
        ModelError: the record is damaged, or the model cannot be read or run.
        ProofError: the record does not say what the file holds.
    """
    heads = read_heads(source.metadata, [value.name for value in source.proto.graph.output], source.name) or ()
    if not heads:
        return ()
    with limited_for(source):
        known = check_claim(source, heads, _rewrite_vendors)
    return tuple(sorted(known, key=lambda head: bool(head.features_of)))  # features last, whoever wrote the file


def claimed_pools(source: LoadedModel) -> PoolRecord | None:
    """What a repooled file's record names, checked against the file; None of any other.

    Raises:
        ModelError: the record is damaged, or the model cannot be read or run.
        ProofError: the record does not say what the file holds.
    """
    pools = read_pools(source)
    if pools is not None:
        with limited_for(source):
            check_pools(source, pools)
    return pools


def _rewrite_vendors(
    source: LoadedModel,
    readout: Readout,
    wish: Emit,
    attachment: Attachment = "plain",
    class_token: ClassTokenMode | None = None,
    head: str | None = None,
) -> Rewrite:
    """Rewrite a model that was not rewritten before."""
    pools = claimed_pools(source)
    repooled = {entry.logits: entry for entry in pools.heads} if pools is not None else {}
    vendor = source
    if pools is not None:
        vendor = replace(source, proto=vendors_view(source.proto, pools.heads))
        # Its answers are pooled of the cells of that lift, and of no other.
        class_token = pools.class_token if pools.class_token is not None else class_token
    analysis = analyse(vendor, readout=readout, class_token=class_token)
    if head is not None:
        analysis = _only(analysis, head)
    search = analysis.search
    if not search.heads:
        if not search.refusals:
            raise ModelError(f"{source.name}: all of its outputs are constants, whatever the image.")
        raise UnsupportedHeadError(_worst(search.refusals), search.refusals)
    several = len(search.heads) > 1
    for lifted in (found.lifted for found in search.heads if found.class_token is not None):
        shape = (lifted.batch, lifted.channels, *lifted.size)
        tensors = traced_tensors(analysis.build, analysis.trace, lifted.name, shape, lifted.dtype)
        collect_sums(analysis.build, tensors.shapes, lifted.name)
    emitted = [
        emit_head(
            analysis.build,
            analysis.trace,
            head,
            wish,
            readout,
            suffix=f"_{head.output}" if several else "",
            named=attachment != "plain",
            # What no place brings is a part of the mean.
            placed=_placed(search.walk, analysis.build, head) if head.logits.tensor not in repooled else {},
            pooled=repooled[head.logits.tensor].mean if head.logits.tensor in repooled else None,
        )
        for head in search.heads
    ]
    heads = tuple(
        _record(analysis, head, made, attachment, repooled.get(head.logits.tensor))
        for head, made in zip(search.heads, emitted, strict=True)
    )
    attach(
        search.walk,
        maps=[grid.source for head in search.heads for grid in head.features],
        logits=[name for made in emitted for name in (made.names.logits, made.names.pooled) if name is not None],
        # The whole grids are the proof's, whether the file gives them or not.
        outputs=[name for made in emitted for name in (*made.names.tensors, made.grid)],
        rung=attachment,
    )
    proto = _assemble(analysis, emitted, heads, pools=pools)
    whole = _whole_grids(analysis, emitted, heads, proto, pools)
    return Rewrite(proto, source, heads, search.refusals, inlined=analysis.inlined, trace=analysis.trace, whole=whole)


def _only(analysis: Analysis, output: str) -> Analysis:
    """With the head of one output alone.

    Raises:
        UnsupportedHeadError: it is refused.
        InputError: there is no such output.
    """
    search = analysis.search
    place = chosen_place(
        output, [(head.output, head.outputs) for head in search.heads], search.refusals, analysis.source.name
    )
    return replace(analysis, search=replace(search, heads=(search.heads[place],), refusals={}))


def _rewritten_before(source: LoadedModel, emit: Emit | str | None, head: str | None = None) -> Rewrite:
    """The model itself, with what its record says.

    Raises:
        ModelError: the record is damaged, or other emissions are asked for.
        ProofError: the record does not say what the file holds.
    """
    heads = claimed_heads(source)
    if head is not None:  # all of them are in the file: it is only said whether this one is
        chosen_place(head, [(entry.output, entry.outputs) for entry in heads], {}, source.name)
    wish = Emit.of(emit)
    if emit is not None and any(entry.emit != wish for entry in heads):
        raise ModelError(
            f"{source.name} is a rewritten model already, which gives {heads[0].emit}; for {wish} rewrite the original."
        )
    return Rewrite(source.proto, source, heads, {}, unchanged=True)


def _worst(refusals: dict[str, Refusal]) -> Refusal:
    """The refusal to lead with: of an output that looks like class scores, where there is one."""
    return next(
        (entry for entry in refusals.values() if entry.code != "not-a-classifier"),
        next(iter(refusals.values())),
    )


def _record(
    analysis: Analysis, head: LiftedHead, made: EmittedHead, attachment: Attachment, pool: RepooledHead | None
) -> HeadRecord:
    said = [*_membership(head), *_pool(pool)]
    return HeadRecord(
        **made.names.as_fields(),
        output=head.output,
        outputs=head.outputs,
        verdict=head.verdict,
        activation=head.logits.activation,
        readout=analysis.readout,
        quantized=head.quantized,
        rounding_bound=head.rounding_bound,
        position_dependent=head.position_dependent,
        note="; ".join(dict.fromkeys([*said, *(found.note for found in head.features if found.note)])),
        grid_shape=made.grid_shape,
        feature_grids=tuple(FeatureGridRecord.of(found) for found in head.features),
        chain=head.chain,
        source_sha256=analysis.source.sha256,
        places=head.places,
        attachment=attachment,
        class_token=head.class_token,
        features_of=head.features_of,
        pool_weights=(*head.pool_weights, *fitted_weights(pool)),
        resized_from=resized_from(analysis.source, analysis.trace, head.places),
        pool=pool.aggregator.key if pool is not None else "mean",
    )


def _placed(walk: Lifting, build: GraphBuilder, head: LiftedHead) -> dict[str, int]:
    """Of a head that reads a class token, the tensors on the grid that hold what places bring, with their channels."""
    if head.class_token is None or not isinstance(walk, TokenWalk):
        return {}
    pooled = {
        grid.name: grid.channels for grid in head.features if walk.placed.keys().isdisjoint(build.needed([grid.name]))
    }
    own = build.needed([head.lifted.name])
    return {name: channels for name, channels in (walk.placed | pooled).items() if name in own}


def _pool(pool: RepooledHead | None) -> list[str]:
    """Of a head that was repooled, what the model answers by."""
    return [] if pool is None else [f"the model answers by '{pool.aggregator.key}' of these cells, not by their mean"]


def _membership(head: LiftedHead) -> list[str]:
    """Of an ensemble's member, what it is a member of; of features, whose."""
    if head.member:
        return [f"one member of an ensemble: '{head.outputs[0]}' averages the members' probabilities"]
    if head.features_of:
        return [
            f"features that {', '.join(map(repr, head.features_of))} {'is' if len(head.features_of) == 1 else 'are'} "
            "made of, and no classes"
        ]
    return []


def _assemble(
    analysis: Analysis,
    emitted: Sequence[EmittedHead],
    heads: tuple[HeadRecord, ...],
    extra: Sequence[onnx.ValueInfoProto] = (),
    kept: Sequence[str] = (),
    pools: PoolRecord | None = None,
) -> onnx.ModelProto:
    """The vendor's model with the new nodes and outputs at its end.

    They are appended to a copy of the vendor's own proto: a round trip through onnx-graphsurgeon would lose metadata,
    doc strings, dim denotations, quantization annotations and the overloads of functions, and would take the weights
    that IR 3 lists among the inputs away from there.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(analysis.graph.proto)
    values = [*(value for made in emitted for value in made.values), *extra]
    analysis.build.append_to(proto, [*(value.name for value in values), *kept])
    proto.graph.output.extend(values)
    if pools is not None:
        turned_back(proto, pools.heads, len(analysis.graph.proto.graph.node))
    write_heads(proto, heads, inlined=analysis.inlined)
    return proto


def _whole_grids(
    analysis: Analysis,
    emitted: Sequence[EmittedHead],
    heads: tuple[HeadRecord, ...],
    proto: onnx.ModelProto,
    pools: PoolRecord | None,
) -> WholeGrids:
    names, extra = {}, []
    for head, made in zip(heads, emitted, strict=True):
        if head.grid is None:  # the file will not have it, but the proof is about it
            wish = analysis.build.unique("gapmil_whole_grid")
            names[head.output] = analysis.build.node("Identity", [made.grid], output=wish)
            kind = made.values[0].type.tensor_type.elem_type
            extra.append(onnx.helper.make_tensor_value_info(wish, kind, made.grid_shape))
        else:
            names[head.output] = head.grid
    dtypes = {head.output: float_types(analysis.search.walk, head) for head in analysis.search.heads}
    features = {head.output: tuple(found.name for found in head.features) for head in analysis.search.heads}
    # Maps that were turned into reading order are tensors of the file only where it gives its features.
    kept = [name for head in heads if head.features is None for name in features[head.output]]

    def make() -> onnx.ModelProto:
        return _assemble(analysis, emitted, heads, extra, kept, pools) if extra or kept else proto

    return WholeGrids(names, dtypes, features, make)
