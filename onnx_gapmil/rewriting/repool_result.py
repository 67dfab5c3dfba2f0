"""What repooling gives: the model, its pools, and what was proved of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from onnx_gapmil.aggregate.aggregator import OF_PROBABILITIES
from onnx_gapmil.files.urls import said
from onnx_gapmil.rewriting.result import SCHEMA_VERSION
from onnx_gapmil.rewriting.sizing.record import size_of

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from onnx_gapmil.aggregate.aggregator import Aggregator
    from onnx_gapmil.aggregate.fitted import FittedPool
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.lift.verdict import Refusal
    from onnx_gapmil.rewriting.proof.checks import Figure
    from onnx_gapmil.rewriting.proof.report import ProofReport
    from onnx_gapmil.rewriting.repooled.record import PoolRecord, RepooledHead
    from onnx_gapmil.rewriting.sizing.record import SizeRecord


@dataclass(frozen=True)
class Repool:
    """A repooled model and what was found on the way.

    Attributes:
        model: the vendor's ModelProto, its logits by the aggregator; the vendor's own graph again where all pools are
            means.
        source: the model as it was read.
        aggregator: that was asked for.
        pools: what the model says of its pools; None where all are means, the vendor's.
        refusals: by output, why others keep the pool that they had.
        unchanged: the logits were by this aggregator before, and nothing was done.
        inlined: whether local functions had to be inlined, the one change made to the vendor's graph beside the pool.
        proof: what the proof measured; None where nothing was done.
        output_path: where the model was written; None if it was not.
        reads_class_token: whether a head that was looked at reads a class token.
    """

    model: onnx.ModelProto
    source: LoadedModel
    aggregator: Aggregator | FittedPool
    pools: PoolRecord | None
    refusals: dict[str, Refusal]
    unchanged: bool = False
    inlined: bool = False
    proof: ProofReport | None = None
    output_path: Path | None = None
    reads_class_token: bool = False

    @property
    def heads(self) -> tuple[RepooledHead, ...]:
        """The heads whose logits are no mean."""
        return self.pools.heads if self.pools is not None else ()

    @property
    def is_vendors(self) -> bool:
        """Whether the model is the vendor's graph again, node by node."""
        return self.pools is None

    @property
    def size(self) -> SizeRecord | None:
        """The input size that the vendor's graph was opened for before; None of the vendor's own."""
        return size_of(self.source.metadata)

    def figure(self, output: str) -> Figure | None:
        """What the proof of the pool measured of a head; None where it was not run."""
        if self.proof is None:
            return None
        check = next((check for check in self.proof.checks if check.name == "pool"), None)
        return check.figures.get(output) if check is not None else None

    def written(self, path: Path) -> Repool:
        """The same, written."""
        return replace(self, output_path=path)

    def to_json(self) -> dict[str, Any]:
        """The report of ``repool --json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.source.name,
            "output_path": said(self.output_path) if self.output_path is not None else None,
            "aggregator": self.aggregator.key,
            "size": self.size.to_json() if self.size is not None else None,
            "heads": [self._head_json(head) for head in self.heads],
            "refused_outputs": [{"output": name, **refusal.to_json()} for name, refusal in self.refusals.items()],
            "already_repooled": self.unchanged,
            "vendors_graph": self.is_vendors,
            "functions_inlined": self.inlined,
            "source_sha256": self.pools.source_sha256 if self.pools is not None else self.source.sha256,
            "proof": self.proof.to_json() if self.proof is not None else None,
        }

    def _head_json(self, head: RepooledHead) -> dict[str, Any]:
        figure = self.figure(head.output)
        return {
            **head.to_json(),
            "gives": said_logits(head),
            "residual": figure.measure if figure is not None else None,
            "allowed": figure.allowed if figure is not None else None,
        }


def said_logits(head: RepooledHead) -> str:
    """What stands where the vendor's logits stood."""
    if head.aggregator.name not in OF_PROBABILITIES:
        return "logits"
    return "log-odds" if head.alone else "log-probabilities"
