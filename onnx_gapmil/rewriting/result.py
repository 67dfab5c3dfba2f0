"""What a rewrite gives: the model, its heads, and what was found on the way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from onnx_gapmil.rewriting.record import HeadOutputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import onnx

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.lift.lifted import FeatureGrid
    from onnx_gapmil.lift.verdict import LiftStep, Readout, Refusal, Verdict
    from onnx_gapmil.rewriting.proof.report import ProofReport

SCHEMA_VERSION = 1
#: Fields of a head, beside its outputs, that the rewritten file keeps in its metadata as they are.
_RECORDED = ("activation", "readout", "quantized", "rounding_bound", "position_dependent", "note")


@dataclass(frozen=True, kw_only=True)
class RewrittenHead(HeadOutputs):
    """One head of a rewritten model, with the names of its graph outputs.

    Attributes:
        output: the vendor's first output that the head makes; ``outputs`` has them all.
        verdict: ``exact`` or ``conditional``.
        grid_shape: (N, K, H, W) of the prediction grid, emitted or not; open axes by a symbol's name.
        activation: what the vendor's graph makes of the logits: ``softmax``, ``sigmoid`` or ``none``.
        readout: ``contribution`` or ``instance``.
        chain: the head, operator by operator, from the pool to the logits.
        quantized: whether the head rounds to integers on the way, so that the identity holds up to rounding.
        rounding_bound: how far rounding alone may move a logit of a quantized head, from its scales and weights;
            None where it does not round, or no bound follows from them.
        position_dependent: whether the head has weights of its own for each position.
        feature_grids: the vendor's maps that the head pools; nearly always one.
        note: anything a reader of the grid must know, e.g. that its positions have no known arrangement.
        residual: largest |mean over cells - logits| / max |logits| that the proof measured; None before it.
    """

    output: str
    outputs: tuple[str, ...]
    verdict: Verdict
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
        first = {"output": self.output, "verdict": self.verdict, **self.outputs_record()}
        return {**first, **kept, "outputs": list(self.outputs), "grid_shape": list(self.grid_shape)}

    def to_json(self) -> dict[str, Any]:
        """The head as the command line prints it."""
        grids = [grid.to_json() for grid in self.feature_grids]
        chain = [step.to_json() for step in self.chain]
        return {**self.record(), "residual": self.residual, "feature_grids": grids, "chain": chain}


@dataclass(frozen=True)
class WholeGrids:
    """The rewritten model with the whole prediction grid of every head among its outputs: for the proof alone.

    Attributes:
        names: the grid's graph output, by head's output.
        make: gives the model; the rewritten model itself where it emits all grids.
    """

    names: Mapping[str, str]
    make: Callable[[], onnx.ModelProto]


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
        whole: the same with whole grids; None for a model that was rewritten before.
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
    whole: WholeGrids | None = None

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
            "emit": list(self.heads[0].emit.words),
            "heads": [head.to_json() for head in self.heads],
            "refused_outputs": [{"output": name, **refusal.to_json()} for name, refusal in self.refusals.items()],
            "originals_unchanged": self.proof.originals_unchanged if self.proof is not None else None,
            "already_rewritten": self.unchanged,
            "functions_inlined": self.inlined,
            "source_sha256": self.source.sha256,
            "proof": self.proof.to_json() if self.proof is not None else None,
        }
