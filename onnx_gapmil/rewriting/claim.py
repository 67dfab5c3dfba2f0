"""A rewritten file's record is a claim: the vendor's part is lifted anew, and what was appended is held against that.

Where the appended nodes and constants are those that this version appends, nothing is run. Where they differ (another
version wrote them, a tool has optimized the file) or the record is an older one without its chain, numbers are run: the
proof, and every map against the one of this version.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import LoadedModel
from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.ort.session import make_session
from onnx_gapmil.rewriting.proof.head_alone import prove_head
from onnx_gapmil.rewriting.proof.inputs import proof_inputs
from onnx_gapmil.rewriting.proof.place_proof import prove_places
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
from onnx_gapmil.rewriting.proof.tolerances import QUANTIZED_TOLERANCE, TOLERANCE
from onnx_gapmil.rewriting.proof.whole_model import prove
from onnx_gapmil.rewriting.record import UNTRACED, token_mode
from onnx_gapmil.rewriting.repooled.exchanging import needed_tensors, remove_nodes
from onnx_gapmil.rewriting.repooled.record import read_pools
from onnx_gapmil.rewriting.same_nodes import same_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from onnx_gapmil.lift.tokens.modes import ClassTokenMode
    from onnx_gapmil.lift.verdict import Readout
    from onnx_gapmil.rewriting.attachment.rungs import Attachment
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.rewriting.record import HeadRecord
    from onnx_gapmil.rewriting.result import Rewrite

    Rewriting = Callable[[LoadedModel, Readout, Emit, Attachment, ClassTokenMode | None], Rewrite]

#: What places say beside where the cells look: why that is not known, and what a proof measured.
_NO_CLAIM = ("reason", "measured")
#: Places that differ by less, as a share of the step from cell to cell, are the same.
_SAME_PLACE = 0.01


def check_claim(source: LoadedModel, heads: Sequence[HeadRecord], rewriting: Rewriting) -> tuple[HeadRecord, ...]:
    """Check what a rewritten file says of its heads.

    Args:
        source: the file.
        heads: what its record says.
        rewriting: rewrites a vendor's model by this version.

    Returns:
        The heads as this version lifts them, with the names and the residual of the record; as the record has them
        where another version wrote the file.

    Raises:
        ProofError: the appended outputs are not what the record says.
        ModelError: the model cannot be run.
    """
    source.require_weights()
    vendor = vendors_part(source, heads)
    try:
        anew = rewriting(vendor, heads[0].readout, heads[0].emit, heads[0].attachment, token_mode(heads))
    except UnsupportedHeadError as error:
        raise forged(source, f"its head is refused ({error.refusal.code}): {error.refusal.message}") from error
    pairs = list(zip(heads, _partners(source, heads, anew), strict=True))
    for said, found in pairs:
        _require_equal(source, said, found)
        _require_places(source, vendor, said, found, anew)
    names = [pair for said, found in pairs for pair in zip(said.tensors, found.tensors, strict=True)]
    complete = all(said.chain for said in heads)
    if complete and same_tensors(source.proto, anew.model, names):
        return tuple(_as_recorded(said, found) for said, found in pairs)
    _prove_numbers(source, vendor, anew, pairs)
    return tuple(
        replace(
            said,
            position_dependent=found.position_dependent,
            features_of=found.features_of,
            pool_weights=found.pool_weights,
        )
        for said, found in pairs
    )


def vendors_part(source: LoadedModel, heads: Iterable[HeadRecord]) -> LoadedModel:
    """The model without the outputs that a record names, and without the nodes that lead to nothing else.

    Raises:
        ProofError: nothing is left of the vendor's outputs.
    """
    claimed = {name for head in heads for name in head.new_outputs}
    graph = source.proto.graph
    kept = [value for value in graph.output if value.name not in claimed]
    absent = sorted({name for head in heads for name in head.outputs} - {value.name for value in kept})
    if absent:
        raise forged(source, f"it says that '{absent[0]}' is the vendor's, and the graph has no such output beside")
    pools = read_pools(source)
    # The vendor's logits, which lead to nothing else in a repooled file.
    means = {head.mean for head in pools.heads} if pools is not None else set()
    appended = needed_tensors(graph, claimed) - needed_tensors(graph, {value.name for value in kept} | means)
    proto = onnx.ModelProto()
    proto.CopyFrom(source.proto)
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    remove_nodes(proto.graph, {at for at, node in enumerate(proto.graph.node) if appended.intersection(node.output)})
    return LoadedModel(proto, source.path, source.sha256, source.size)


def forged(source: LoadedModel, what: str) -> ProofError:
    """The error of a record that is not true."""
    report = ProofReport(trials=(), tolerance={}, checked=(), outputs_tolerance=0.0, failures=(f"{what}.",))
    return ProofError(
        f"{source.name}: its record of lifted heads does not hold: {what}. Rewrite the vendor's original again.", report
    )


def _partners(source: LoadedModel, heads: Sequence[HeadRecord], anew: Rewrite) -> list[HeadRecord]:
    """The head of this version's rewrite for each that the record names."""
    known = {head.output: head for head in anew.heads}
    for head in heads:
        if head.output not in known:
            refusal = anew.refusals.get(head.output)
            why = f"is refused ({refusal.code})" if refusal is not None else "has no head"
            raise forged(source, f"output '{head.output}' {why}")
    return [known[head.output] for head in heads]


def _require_equal(source: LoadedModel, said: HeadRecord, found: HeadRecord) -> None:
    """What is said of a head must be what is found, in all that a reader of its cells relies on."""
    for name in ("verdict", "activation", "quantized", "class_token", "pool"):
        claimed, true = getattr(said, name), getattr(found, name)
        if claimed != true:
            raise forged(source, f"it says that the {name} of '{said.output}' is {claimed!r}, and it is {true!r}")
    if said.chain and said.position_dependent != found.position_dependent:
        claim = "position-dependent" if said.position_dependent else "not position-dependent"
        raise forged(source, f"it says that '{said.output}' is {claim}, and that is not so")
    if said.by_name().keys() != found.by_name().keys() or said.grid_shape[1] != found.grid_shape[1]:
        raise forged(source, f"it has other outputs or classes for '{said.output}' than the head gives")


def _as_recorded(said: HeadRecord, found: HeadRecord) -> HeadRecord:
    """The head as this version lifts it, with the names, the residual and the places of the record."""
    held = replace(
        found,
        **said.as_fields(),
        residual=said.residual,
        source_sha256=said.source_sha256,
        as_deployed=said.as_deployed,
        placeless_share=said.placeless_share,
    )
    return held if said.places == UNTRACED else held.with_places(said.places)


def _require_places(
    source: LoadedModel, vendor: LoadedModel, said: HeadRecord, found: HeadRecord, anew: Rewrite
) -> None:
    """Places that are claimed must be those that are traced, or that stripes show; not to know them is no claim."""
    if not said.places.known or _agree(said.places, found.places):
        return
    # The proof takes those of a tiling where stripes show that, and tries one where nothing could be traced.
    if anew.whole is not None and anew.trace is not None and anew.trace.measured:
        proved = replace(vendor, proto=anew.model)
        shown = prove_places(proved, anew.heads, lift=anew.whole.make(), whole=anew.whole, trace=anew.trace)
        if _agree(said.places, shown[found.output].places):
            return
    raise forged(source, f"the cells of '{said.output}' do not look where it says")


def _agree(claimed: Places, true: Places) -> bool:
    """Whether two places are the same: the same axes of the same input, each to a hundredth of a step."""
    if not (claimed.known and true.known):
        return False
    # Every field that places have, so that no axis of a grid can be claimed that is not held against what is found.
    for name in (entry.name for entry in fields(Places) if entry.name not in _NO_CLAIM):
        said, found = getattr(claimed, name), getattr(true, name)
        if isinstance(said, AxisPlaces) and isinstance(found, AxisPlaces):
            apart = abs(said.step - found.step), abs(said.first - found.first)
            if not all(gap <= _SAME_PLACE * abs(found.step) for gap in apart):  # nor is NaN near to anything
                return False
        elif said != found:
            return False
    return True


def _prove_numbers(
    source: LoadedModel, vendor: LoadedModel, anew: Rewrite, pairs: Sequence[tuple[HeadRecord, HeadRecord]]
) -> None:
    """Run the proof of the file as it is, and hold its maps against this version's."""
    heads = [replace(said, rounding_bound=found.rounding_bound) for said, found in pairs]
    trace, whole = anew.trace, anew.whole
    if trace is None or whole is None:
        raise ModelError(f"{source.name} holds a rewritten model within a rewritten one.")
    try:
        if trace.measured:
            report = prove(vendor, source, heads, whole=whole)
        else:  # its weights exceed what a trial run may read
            report = prove_head(vendor, source.proto, heads, whole=whole, trace=trace, inlined=False)
    except ModelError as error:
        raise forged(source, f"it cannot be proved: {error}") from error
    if not report.passed:
        raise ProofError(
            f"{source.name}: its record of lifted heads does not hold: {' '.join(report.reasons())} Rewrite the "
            "vendor's original again.",
            report,
        )
    if trace.measured:
        _require_same_maps(source, anew, vendor, pairs)


def _require_same_maps(
    source: LoadedModel, anew: Rewrite, vendor: LoadedModel, pairs: Sequence[tuple[HeadRecord, HeadRecord]]
) -> None:
    """The mean of a grid's cells says little of each: the maps themselves must be those that lifting gives."""
    wanted = [
        (said, getattr(said, part), getattr(found, part))
        for said, found in pairs
        for part in ("logits", "features", "grid")
        if getattr(said, part) is not None
    ]
    choice = choose_providers("cpu")
    runs = []
    for loaded in (source, replace(source, proto=anew.model)):
        data, folder = loaded.session_source()
        runs.append(make_session(data, choice, optimize=False, external_data_folder=folder, name=loaded.name))
    for _, feeds, _ in proof_inputs(vendor, ()):
        try:
            theirs = runs[0].run([name for _, name, _ in wanted], feeds)
            ours = runs[1].run([name for _, _, name in wanted], feeds)
        except Exception:  # noqa: BLE001, S112 - sizes that the vendor's own graph does not take; the proof ran others
            continue
        for (said, name, _), claimed, true in zip(wanted, theirs, ours, strict=True):
            allowed = QUANTIZED_TOLERANCE if said.quantized else TOLERANCE.get(true.dtype.itemsize, TOLERANCE[4])
            if claimed.shape != true.shape or _gap(claimed, true) > allowed:
                raise forged(source, f"'{name}' is not what lifting the head of '{said.output}' gives")
        return
    raise forged(source, "its maps run on none of the inputs that were tried, so they cannot be compared")


def _gap(claimed: np.ndarray, true: np.ndarray) -> float:
    """Largest difference, relative to the largest value; what is not finite must be the same."""
    first, second = claimed.astype(np.float64), true.astype(np.float64)
    finite = np.isfinite(second)
    if not np.array_equal(finite, np.isfinite(first)):
        return float("inf")
    scale = float(np.abs(second[finite]).max(initial=0.0))
    gap = float(np.abs(first[finite] - second[finite]).max(initial=0.0))
    return gap / scale if scale > 0 else gap
