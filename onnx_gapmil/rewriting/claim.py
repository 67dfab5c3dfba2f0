"""A rewritten file's record is a claim: the vendor's part is lifted anew, and what was appended is held against that.

Where the appended nodes and constants are those that this version appends, nothing is run. Where they differ (another
version wrote them, a tool has optimized the file) or the record is an older one without its chain, numbers are run: the
proof, and every map against the one of this version.
"""

from __future__ import annotations

import math
from collections import Counter
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
from onnx_gapmil.rewriting.attachment.rungs import RUNGS, Attachment
from onnx_gapmil.rewriting.proof.comparison import compare
from onnx_gapmil.rewriting.proof.head_alone import prove_head, run_head
from onnx_gapmil.rewriting.proof.inputs import proof_inputs
from onnx_gapmil.rewriting.proof.place_proof import prove_places
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
from onnx_gapmil.rewriting.proof.tolerances import QUANTIZED_TOLERANCE, TOLERANCE
from onnx_gapmil.rewriting.proof.whole_model import prove
from onnx_gapmil.rewriting.record import UNTRACED, VERSION_KEY, token_mode
from onnx_gapmil.rewriting.repooled.exchanging import needed_tensors, remove_nodes
from onnx_gapmil.rewriting.repooled.record import read_pools
from onnx_gapmil.rewriting.same_nodes import same_tensors
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.lift.tokens.modes import ClassTokenMode
    from onnx_gapmil.lift.verdict import Readout
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.rewriting.record import HeadRecord
    from onnx_gapmil.rewriting.result import Rewrite

    Rewriting = Callable[[LoadedModel, Readout, Emit, Attachment, ClassTokenMode | None], Rewrite]

#: What places say beside where the cells look: why that is not known, how it is proved, and what a proof measured.
_NO_CLAIM = ("reason", "measured", "attended")
#: Fields of a record that a run measured; only another run can tell whether they are so.
MEASURED = ("residual", "placeless_share", "as_deployed")
#: Outputs that are compared number by number; of the others a proof compares what they are made of.
_MAPS = frozenset({"logits", "features", "grid", "classes_grid"})
#: What nodes and tensors are called in a chain and of a map, which a tool may change; it is said as the graph has it.
_NAMES = frozenset({"node", "output", "source", "pool"})
#: Places that differ by less, as a share of the step from cell to cell, are the same.
_SAME_PLACE = 0.01


def check_claim(source: LoadedModel, heads: Sequence[HeadRecord], rewriting: Rewriting) -> tuple[HeadRecord, ...]:
    """Check what a rewritten file says of its heads.

    Args:
        source: the file.
        heads: what its record says.
        rewriting: rewrites a vendor's model by this version.

    Returns:
        The heads as this version lifts them, with the names of the record. What an earlier run measured is left out,
        and what is measured now is in: only a proof knows it.

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
    _require_attachment(
        source,
        heads[0].attachment,
        anew,
        lambda rung: rewriting(vendor, heads[0].readout, heads[0].emit, rung, token_mode(heads)),
    )
    pairs = list(zip(heads, _partners(source, heads, anew), strict=True))
    for said, found in pairs:
        _require_equal(source, said, found)
        _require_places(source, vendor, said, found, anew)
    names = [pair for said, found in pairs for pair in zip(said.tensors, found.tensors, strict=True)]
    complete = all(said.chain for said in heads)
    same = complete and same_tensors(source.proto, anew.model, names)
    report = None if same else _prove_numbers(source, vendor, anew, pairs)
    known = tuple(_as_lifted(said, found, report) for said, found in pairs)
    if complete and source.metadata.get(VERSION_KEY) == __version__:
        for said, head in zip(heads, known, strict=True):
            _require_record(source, said, head, steps=same)
    return known


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
    report = ProofReport.of_failures([f"{what}."])
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
    for name in ("verdict", "activation", "readout", "quantized", "class_token", "pool"):
        claimed, true = getattr(said, name), getattr(found, name)
        if claimed != true:
            raise forged(source, f"it says that the {name} of '{said.output}' is {claimed!r}, and it is {true!r}")
    if said.chain and said.position_dependent != found.position_dependent:
        claim = "position-dependent" if said.position_dependent else "not position-dependent"
        raise forged(source, f"it says that '{said.output}' is {claim}, and that is not so")
    if said.by_name().keys() != found.by_name().keys() or not _same_shape(said.grid_shape, found.grid_shape):
        raise forged(source, f"it has other outputs, classes or cells for '{said.output}' than the head gives")


def _require_attachment(
    source: LoadedModel, said: Attachment, anew: Rewrite, rewritten_by: Callable[[Attachment], Rewrite]
) -> None:
    """The new nodes must not hang on the vendor's by another rung than the record says; a tool may change them."""
    held = _operators(source.proto)
    if held == _operators(anew.model):
        return
    for rung in RUNGS:
        if rung != said and held == _operators(rewritten_by(rung).model):
            raise forged(source, f"it says that its nodes are attached by '{said}', and they are by '{rung}'")


def _operators(proto: onnx.ModelProto) -> Counter[tuple[str, str]]:
    """How many nodes there are of each operator."""
    return Counter((node.domain, node.op_type) for node in proto.graph.node)


def _require_record(source: LoadedModel, said: HeadRecord, found: HeadRecord, *, steps: bool) -> None:
    """Every field that this version wrote must be what it would write now, but for what is of one run or only a name.

    Args:
        source: the file.
        said: a head as its record has it.
        found: the same as it is lifted here.
        steps: whether the head and its maps must be the same step by step; a tool may have changed those.

    Raises:
        ProofError: a field says something else.
    """
    # What a record leaves out is no claim: earlier ones have fewer fields, and what is said is found anew.
    left_out = {*MEASURED, "places", "grid_shape", *(() if steps else ("chain", "feature_grids"))}
    claimed, true = said.to_json(), found.to_json()
    for name in true:
        said_so = claimed[name] not in (None, "", [], {})
        if said_so and name not in left_out and not _same_field(claimed[name], true[name]):
            raise forged(source, f"its {name} of '{said.output}' is not what lifting the head gives")


def _same_shape(said: Sequence[int | str], found: Sequence[int | str]) -> bool:
    """Whether two shapes have the same axes, of the same lengths where both are known; a batch may be fixed later."""
    pairs = zip(said[1:], found[1:], strict=False)
    return len(said) == len(found) and all(
        one == other for one, other in pairs if isinstance(one, int) and isinstance(other, int)
    )


def _same_field(said: object, found: object) -> bool:
    """Whether two values of JSON are the same, numbers up to rounding; names of nodes and tensors are no claim."""
    if isinstance(said, dict) and isinstance(found, dict):
        return said.keys() == found.keys() and all(key in _NAMES or _same_field(said[key], found[key]) for key in found)
    if isinstance(said, list) and isinstance(found, list):
        return len(said) == len(found) and all(map(_same_field, said, found))
    if isinstance(said, float) and isinstance(found, float):
        return math.isclose(said, found, rel_tol=1e-6, abs_tol=1e-12)
    return said == found


def _as_lifted(said: HeadRecord, found: HeadRecord, report: ProofReport | None) -> HeadRecord:
    """The head as this version lifts it, with the names and the places of the record, and what was measured now."""
    held = replace(
        found,
        **said.as_fields(),
        source_sha256=said.source_sha256,
        residual=None if report is None else report.residual(said.output),
        placeless_share=None if report is None else report.placeless_share(said.output),
        as_deployed=None,
    )
    if said.places == UNTRACED:
        return held
    return held.with_places(replace(said.places, attended=found.places.attended))


def _require_places(
    source: LoadedModel, vendor: LoadedModel, said: HeadRecord, found: HeadRecord, anew: Rewrite
) -> None:
    """Places that are claimed must be those that are traced, or that stripes show; not to know them is no claim."""
    agreed = _agree(said.places, found.places)
    if not said.places.known or (agreed and not found.places.attended):
        return
    # The proof takes those of a tiling where stripes show that, and tries one where nothing could be traced.
    if anew.whole is not None and anew.trace is not None and anew.trace.measured:
        proved = replace(vendor, proto=anew.model)
        shown = prove_places(proved, anew.heads, lift=anew.whole.make(), whole=anew.whole, trace=anew.trace)
        if _agree(said.places, shown[found.output].places):
            return
    elif agreed:
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
) -> ProofReport:
    """Run the proof of the file as it is, and hold its maps against this version's."""
    heads = [replace(said, rounding_bound=found.rounding_bound) for said, found in pairs]
    trace, whole = anew.trace, anew.whole
    if trace is None or whole is None:
        raise ModelError(f"{source.name} holds a rewritten model within a rewritten one.")
    try:
        if trace.measured:
            report = prove(vendor, source, heads, whole=whole)
        else:  # its weights exceed what a trial run may read: the lift is proved, and the file's heads held against it
            heads = [found for _, found in pairs]
            report = prove_head(vendor, anew.model, heads, whole=whole, trace=trace, inlined=anew.inlined)
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
    else:
        _require_same_heads(source, anew, trace, pairs)
    return report


def _require_same_maps(
    source: LoadedModel, anew: Rewrite, vendor: LoadedModel, pairs: Sequence[tuple[HeadRecord, HeadRecord]]
) -> None:
    """The mean of a grid's cells says little of each: the maps themselves must be those that lifting gives."""
    wanted = [
        (said, kind, name, found.by_name()[kind]) for said, found in pairs for kind, name in said.by_name().items()
    ]
    choice = choose_providers("cpu")
    runs = []
    for loaded in (source, replace(source, proto=anew.model)):
        data, folder = loaded.session_source()
        runs.append(make_session(data, choice, optimize=False, external_data_folder=folder, name=loaded.name))
    for _, feeds, _ in proof_inputs(vendor, ()):
        try:
            theirs = runs[0].run([name for _, _, name, _ in wanted], feeds)
            ours = runs[1].run([name for _, _, _, name in wanted], feeds)
        except Exception:  # noqa: BLE001, S112 - sizes that the vendor's own graph does not take; the proof ran others
            continue
        for (said, kind, _, _), claimed, true in zip(wanted, theirs, ours, strict=True):
            _require_same_map(source, said, kind, claimed, true)
        return
    raise forged(source, "its maps run on none of the inputs that were tried, so they cannot be compared")


def _require_same_heads(
    source: LoadedModel, anew: Rewrite, trace: Trace, pairs: Sequence[tuple[HeadRecord, HeadRecord]]
) -> None:
    """Of a file too large to run whole: its own heads, cut out, must give what those of this version's lift give."""
    for said, found in pairs:
        # The maps are fed, so that what is emitted of them is compared by its nodes.
        if said.features and not same_tensors(source.proto, anew.model, [(said.features, found.features or "")]):
            raise forged(source, f"'{said.features}' is not what lifting the head of '{said.output}' gives")
        runs = []
        for proto, head in ((source.proto, replace(said, feature_grids=found.feature_grids)), (anew.model, found)):
            try:
                made, _ = run_head(proto, source.folder, head, head.grid or head.logits, trace, source.name)
            except ModelError as error:
                raise forged(source, f"it cannot be proved: {error}") from error
            runs.append(made)
        if not runs[1] or len(runs[0]) != len(runs[1]):
            raise forged(source, f"the head of '{said.output}' is finite on other maps than its lift")
        for theirs, ours in zip(*runs, strict=True):
            for kind in ours.outputs:
                _require_same_map(source, said, kind, theirs.outputs[kind], ours.outputs[kind])
            _require_same_map(source, said, "grid", theirs.grid, ours.grid)
            emitted = compare(said, theirs.outputs, ours.grid).emissions
            wrong = [name for name, gap in emitted.items() if not gap <= _allowed(said, ours.grid)]
            if wrong:
                raise forged(source, f"'{wrong[0]}' is not what the grid of '{said.output}' gives")


def _require_same_map(source: LoadedModel, said: HeadRecord, kind: str, claimed: np.ndarray, true: np.ndarray) -> None:
    """What is made of a grid was held against it in number, and of several equal cells another may come first."""
    if claimed.shape != true.shape or (kind in _MAPS and _gap(claimed, true) > _allowed(said, true)):
        name = said.by_name().get(kind, said.logits)
        raise forged(source, f"'{name}' is not what lifting the head of '{said.output}' gives")


def _allowed(head: HeadRecord, true: np.ndarray) -> float:
    """What rounding explains."""
    return QUANTIZED_TOLERANCE if head.quantized else TOLERANCE.get(true.dtype.itemsize, TOLERANCE[4])


def _gap(claimed: np.ndarray, true: np.ndarray) -> float:
    """Largest difference, relative to the largest value; what is not finite must be the same."""
    first, second = claimed.astype(np.float64), true.astype(np.float64)
    finite = np.isfinite(second)
    if not np.array_equal(finite, np.isfinite(first)):
        return float("inf")
    scale = float(np.abs(second[finite]).max(initial=0.0))
    gap = float(np.abs(first[finite] - second[finite]).max(initial=0.0))
    return gap / scale if scale > 0 else gap
