"""What a proof compares: outputs before and after, the mean over cells with the logits, reductions with NumPy's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.aggregate.placeless import placeless_share
from onnx_gapmil.rewriting.proof.by_class import class_errors
from onnx_gapmil.rewriting.proof.reductions import differences, reductions, switched_off
from onnx_gapmil.rewriting.proof.report import ProofReport, Trial
from onnx_gapmil.rewriting.proof.tolerances import QUANTIZED_TOLERANCE, TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx_gapmil.rewriting.proof.whole_grids import WholeGrids
    from onnx_gapmil.rewriting.record import HeadRecord


@dataclass(frozen=True)
class Compared:
    """One head's outputs on one input.

    Attributes:
        scale: max |logits|.
        residual: largest |mean over cells - logits| / max |logits|; None without a grid, or where no logit is finite.
        class_errors: of each class the same as a share of its own cells, (K,); None without a grid.
        emissions: the difference of each reduction from NumPy's.
        placeless: the share of the answers that no place brings, of a head that reads a class token; None of others.
        nan: whether the logit of a class is NaN on every image, (K,).
    """

    scale: float
    residual: float | None = None
    class_errors: np.ndarray | None = None
    emissions: dict[str, float] = field(default_factory=dict)
    placeless: float | None = None
    nan: np.ndarray | None = None


def compare(head: HeadRecord, got: Mapping[str, np.ndarray], grid: np.ndarray | None) -> Compared:
    """Compare one head's outputs on one input.

    Args:
        head: which outputs there are.
        got: they, by what they are.
        grid: the whole grid (N, K, H, W), if there is one.
    """
    logits = np.asarray(got["logits"], dtype=np.float64)
    if head.placeless is not None:
        shares = placeless_share(logits, np.asarray(got["placeless"]), independent=head.activation == "sigmoid")
        part = _compare(replace(head, placeless=None), got, grid)
        return replace(part, placeless=float(np.mean(shares)))
    return _compare(head, got, grid)


def _compare(head: HeadRecord, got: Mapping[str, np.ndarray], grid: np.ndarray | None) -> Compared:
    logits = np.asarray(got["logits"], dtype=np.float64)
    if grid is None:
        return Compared(_largest(logits))
    wide = np.asarray(grid, dtype=np.float64)
    residual, scale = residual_of(logits, wide)
    errors = class_errors(head, logits, wide)
    sums = Compared(scale, residual, errors, nan=np.asarray(np.isnan(logits).all(axis=0)))
    if not np.isfinite(logits).any() and not np.isinf(errors).any():
        # A probability that is written back as its logit saturates on an image as large as no photo: of a batch of one
        # nothing is left to compare, as little as of that image of a larger one.
        return replace(sums, residual=None)
    if not reductions(head) or len(wide) != len(logits):
        return sums
    if not np.isfinite(wide[:, ~switched_off(wide)]).all():
        return sums
    return replace(sums, emissions=differences(head, got, logits, wide))


def trial_of(inputs: str, outputs_difference: float, parts: Mapping[str, Compared]) -> Trial:
    """One run, of all heads by their outputs."""
    return Trial(
        inputs,
        outputs_difference == 0.0,
        outputs_difference,
        {output: part.residual for output, part in parts.items() if part.residual is not None},
        {output: part.scale for output, part in parts.items()},
        {name: gap for part in parts.values() for name, gap in part.emissions.items()},
        {output: part.class_errors for output, part in parts.items() if part.class_errors is not None},
        placeless={output: part.placeless for output, part in parts.items() if part.placeless is not None},
        nan={output: part.nan for output, part in parts.items() if part.nan is not None},
    )


def residual_of(logits: np.ndarray, grid: np.ndarray) -> tuple[float, float]:
    """Largest |mean over cells - logits| / max |logits|, and max |logits|.

    Args:
        logits: (N, K); what is not finite (a class switched off) is left to `class_errors`.
        grid: (N, K, H, W).

    Returns:
        Infinity for the first if no logit is finite, a cell is not where its logit is, or the batches differ; the
        absolute difference if all logits are 0.
    """
    with np.errstate(invalid="ignore"):  # the mean of a class switched off
        mean = grid.reshape(*grid.shape[:2], -1).mean(axis=2)
    known, top = np.isfinite(logits), _largest(logits)
    if mean.shape != logits.shape or not known.any() or not np.isfinite(mean[known]).all():
        return float("inf"), top
    gap = float(np.abs(mean[known] - logits[known]).max())
    return (gap / top if top > 0 else gap), top


def _largest(logits: np.ndarray) -> float:
    return float(np.abs(logits[np.isfinite(logits)]).max(initial=0.0))


def difference(before: Any, after: Any) -> float:
    """Largest difference of two outputs relative to the largest value; infinity where they cannot be compared."""
    if not isinstance(before, np.ndarray) or before.dtype.kind not in "fiub":
        same = np.array_equal(before, after) if isinstance(before, np.ndarray) else before == after
        return 0.0 if same else float("inf")
    if before.shape != after.shape:
        return float("inf")
    if np.array_equal(before, after, equal_nan=before.dtype.kind == "f"):
        return 0.0
    first, second = before.astype(np.float64), after.astype(np.float64)
    moved = (first != second) & ~(np.isnan(first) & np.isnan(second))
    first, second, top = first[moved], second[moved], _largest(first)
    if top == 0 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("inf")
    return float(np.abs(first - second).max(initial=0.0)) / top


def report_of(
    heads: Sequence[HeadRecord], trials: list[Trial], rewritten: onnx.ModelProto, whole: WholeGrids | None
) -> ProofReport:
    """A report of what was run, with what is allowed of it; the rest to be filled in."""
    checked = tuple(head.output for head in heads if head.readout == "contribution" or head.verdict == "exact")
    emitted = {name: head.output for head in heads for name in reductions(head).values()}
    return ProofReport(tuple(trials), _tolerances(heads, rewritten, whole), checked, 0.0, emitted=emitted)


def _tolerances(heads: Sequence[HeadRecord], rewritten: onnx.ModelProto, whole: WholeGrids | None) -> dict[str, float]:
    """What rounding explains, by the coarser of each head's types."""
    return {
        head.output: QUANTIZED_TOLERANCE if head.quantized else TOLERANCE[element_bytes(head, rewritten, whole)]
        for head in heads
    }


def element_bytes(head: HeadRecord, rewritten: onnx.ModelProto, whole: WholeGrids | None) -> int:
    """Bytes of the coarsest element type that a head computes in.

    The head of a half-precision model may end in a Cast to float32: then the outputs do not tell how it computes, but
    the maps that it pools and its own tensors do.
    """
    kinds = {value.name: value.type.tensor_type.elem_type for value in rewritten.graph.output}
    found = [onnx.helper.tensor_dtype_to_np_dtype(kinds[name]) for name in head.tensors if name in kinds]
    floats = [dtype for dtype in found if dtype.kind not in "iu"]
    pooled = whole.dtypes.get(head.output, ()) if whole is not None else ()
    return min(int(dtype.itemsize) for dtype in (*floats, *pooled))
