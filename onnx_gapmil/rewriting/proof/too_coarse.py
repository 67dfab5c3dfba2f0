"""A quantized head whose rounding exceeds what its scales allow is too coarse for a grid; that is no failed proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.lift.verdict import ADVICE, Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.rewriting.proof.report import ProofReport
    from onnx_gapmil.rewriting.record import HeadRecord

CODE = "quantized-too-coarse"
#: Operators whose scale is that of each image's own numbers.
_AT_RUN_TIME = frozenset({"ConvInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger"})


def too_coarse(report: ProofReport, heads: Sequence[HeadRecord]) -> dict[str, Refusal]:
    """By output, the refusal of quantized heads that failed by nothing but their sum; empty where anything else failed.

    The sum was run as the file spells it, without fused kernels that saturate.

    Args:
        report: a proof.
        heads: the heads that it is of.
    """
    quantized = {head.output: head for head in heads if head.quantized}
    # Without a finite logit nothing was measured: that is another failure.
    failed = [output for output in quantized if report.sum_reasons(output) and report.residual(output) is not None]
    others = set(report.reasons()) - {said for output in failed for said in report.sum_reasons(output)}
    if not failed or others:
        return {}
    return {output: _refusal(report, quantized[output]) for output in failed}


def _refusal(report: ProofReport, head: HeadRecord) -> Refusal:
    residual = report.residual(head.output)
    size = max((trial.scale.get(head.output, 0.0) for trial in report.trials), default=0.0)
    bound = head.rounding_bound
    at_run_time = any(step.op.split("::")[-1] in _AT_RUN_TIME for step in head.chain)
    why = "its scales are found at run time" if at_run_time else "no bound follows from its scales"
    allowed = (
        f"its scales explain {bound:.2g}, {bound / size:.2g} of the largest logit"
        if bound is not None and size > 0
        else f"{why}, and {report.tolerance[head.output]:.0e} is allowed"
    )
    last = head.chain[-1]
    where = f"{last.node} ({last.op})" if last.node else last.op
    message = (
        f"the head of '{head.output}' rounds to integers so coarsely that the mean over cells differs from its logits "
        f"by {residual:.2g} of the largest logit; {allowed}"
    )
    return Refusal(CODE, where, message, ADVICE[CODE])
