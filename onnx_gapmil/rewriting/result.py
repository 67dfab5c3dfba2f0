"""What a rewrite gives: the model, its heads, and what was found on the way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from onnx_gapmil.files.urls import said
from onnx_gapmil.lift.verdict import said_verdict
from onnx_gapmil.rewriting.record import HeadRecord, joint_verdict, token_mode, write_heads
from onnx_gapmil.rewriting.sizing.record import SizeRecord, size_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.images.places import Places
    from onnx_gapmil.lift.verdict import Refusal, Verdict
    from onnx_gapmil.rewriting.proof.remembered import RememberedProof
    from onnx_gapmil.rewriting.proof.report import ProofReport
    from onnx_gapmil.rewriting.proof.whole_grids import WholeGrids

SCHEMA_VERSION = 1


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
        whole: its whole grids, for the proof; None for a model that was rewritten before.
        remembered: what was proved of a rewrite that stays in memory, now or by an earlier run; None for others.
    """

    model: onnx.ModelProto
    source: LoadedModel
    heads: tuple[HeadRecord, ...]
    refusals: dict[str, Refusal]
    inlined: bool = False
    unchanged: bool = False
    proof: ProofReport | None = None
    output_path: Path | None = None
    trace: Trace | None = None
    whole: WholeGrids | None = None
    remembered: RememberedProof | None = None

    @property
    def verdict(self) -> Verdict:
        """``exact`` if every lifted head is."""
        return joint_verdict(head.verdict for head in self.heads)

    @property
    def position_dependent(self) -> bool:
        """Whether any lifted head has weights of its own for each position."""
        return any(head.position_dependent for head in self.heads)

    @property
    def size(self) -> SizeRecord | None:
        """At which input size it is used, where that was asked for; None where it is the vendor's."""
        return size_of(self.source.metadata)

    @property
    def said_verdict(self) -> str:
        """The verdict as it is said, position-dependence included."""
        return said_verdict(
            self.verdict, position_dependent=self.position_dependent, class_token=token_mode(self.heads)
        )

    def with_proof(self, proof: ProofReport) -> Rewrite:
        """The same with a proof, and the residuals and places it measured, which the model's own record takes up."""
        deployed = next((check for check in proof.checks if check.name == "as_deployed"), None)
        heads = tuple(
            replace(
                head,
                residual=proof.residual(head.output),
                placeless_share=proof.placeless_share(head.output),
                as_deployed=None if deployed is None else deployed.figure(head.output).to_json(),
            )
            for head in self.heads
        )
        return replace(self, proof=proof, heads=heads).with_places(proof.places)

    def with_places(self, places: Mapping[str, Places]) -> Rewrite:
        """The same with places as they were proved, by head's output, in the heads and in the model's own record."""
        heads = tuple(head.with_places(places.get(head.output, head.places)) for head in self.heads)
        write_heads(self.model, heads, inlined=self.inlined)
        return replace(self, heads=heads)

    def to_json(self) -> dict[str, Any]:
        """The report of ``rewrite --json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.source.name,
            "output_path": said(self.output_path) if self.output_path is not None else None,
            "verdict": self.verdict,
            "emit": list(self.heads[0].emit.words),
            "heads": [head.to_json() for head in self.heads],
            "refused_outputs": [{"output": name, **refusal.to_json()} for name, refusal in self.refusals.items()],
            "originals_unchanged": self.proof.originals_unchanged if self.proof is not None else None,
            "already_rewritten": self.unchanged,
            "functions_inlined": self.inlined,
            "source_sha256": self.source.sha256,
            "size": self.size.to_json() if self.size is not None else None,
            "proof": self.proof.to_json() if self.proof is not None else None,
        }
