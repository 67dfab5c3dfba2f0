"""What is proved of each head by itself: its algebra in float64, its cells, and where they look."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onnx_gapmil.rewriting.proof.algebra import algebra
from onnx_gapmil.rewriting.proof.alone import HeadAlone
from onnx_gapmil.rewriting.proof.cells import cells
from onnx_gapmil.rewriting.proof.checks import Check
from onnx_gapmil.rewriting.proof.comparison import element_bytes
from onnx_gapmil.rewriting.proof.place_proof import prove_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.rewriting.proof.report import ProofReport
    from onnx_gapmil.rewriting.proof.whole_grids import WholeGrids
    from onnx_gapmil.rewriting.record import HeadRecord


def with_head_proofs(
    report: ProofReport,
    rewritten: LoadedModel,
    heads: Sequence[HeadRecord],
    *,
    lift: onnx.ModelProto,
    whole: WholeGrids,
    trace: Trace,
    claimed: bool,
) -> ProofReport:
    """A report with what is proved of each head by itself.

    Args:
        report: of the runs of the whole model.
        rewritten: what is proved.
        heads: its heads, with the feature grids of ``lift``.
        lift: the rewritten model as it is lifted here, with its whole grids.
        whole: the names of its grids, and of the maps that they are made of.
        trace: the real shapes of the original's tensors.
        claimed: whether the places that the heads' records have are what is proved; else the record is to be written
            by what the proof finds.
    """
    figures, own = {}, {}
    for head in heads:
        given = head.grid is not None  # else the file has no whole grid, and the lift's own is proved
        alone = HeadAlone(
            rewritten.proto if given else lift,
            rewritten.folder,
            head,
            head.grid or whole.names[head.output],
            lift,
            whole.features[head.output],
            element_bytes(head, rewritten.proto, whole),
            trace,
            rewritten.name,
        )
        figures[head.output], own[head.output] = algebra(alone), cells(alone)
        del alone  # a dense layer on a flattened map holds most of a model's weights
    places = prove_places(rewritten, heads, lift=lift, whole=whole, trace=trace, claimed=claimed)
    checks = [
        Check("cell", own),
        Check("place", {output: found.figure(output) for output, found in places.items()}, binding=claimed),
    ]
    known = {output: found.places for output, found in places.items()}
    return replace(report, algebra=figures, places=known).with_checks(*checks)
