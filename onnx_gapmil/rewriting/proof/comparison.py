"""What a proof compares: outputs before and after, the mean over cells with the logits, reductions with NumPy's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.rewriting.proof.reductions import differences, reductions
from onnx_gapmil.rewriting.proof.report import QUANTIZED_TOLERANCE, TOLERANCE, ProofReport, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx_gapmil.rewriting.proof.whole_grids import WholeGrids
    from onnx_gapmil.rewriting.record import HeadRecord


def compare(
    head: HeadRecord, got: Mapping[str, np.ndarray], grid: np.ndarray | None
) -> tuple[float | None, float, dict[str, float]]:
    """One head's outputs on one input: the residual, max |logits|, and the difference of each reduction.

    Args:
        head: which outputs there are.
        got: they, by what they are.
        grid: the whole grid (N, K, H, W), if there is one.
    """
    logits = np.asarray(got["logits"], dtype=np.float64)
    if grid is None:
        return None, float(np.abs(logits).max()), {}
    wide = np.asarray(grid, dtype=np.float64)
    residual, scale = residual_of(logits, wide)
    if not np.isfinite(wide).all() or len(wide) != len(logits):
        return residual, scale, {}
    return residual, scale, differences(head, got, logits, wide)


def residual_of(logits: np.ndarray, grid: np.ndarray) -> tuple[float, float]:
    """Largest |mean over cells - logits| / max |logits|, and max |logits|.

    Args:
        logits: (N, K).
        grid: (N, K, H, W).

    Returns:
        Infinity for the first if anything is not finite or the batches differ; the absolute difference if all
        logits are 0.
    """
    mean = grid.mean(axis=(2, 3))
    top = float(np.abs(logits).max())
    if mean.shape != logits.shape or not (np.isfinite(mean).all() and np.isfinite(logits).all()):
        return float("inf"), top
    gap = float(np.abs(mean - logits).max())
    return (gap / top if top > 0 else gap), top


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
    top = float(np.abs(first).max())
    gap = float(np.abs(first - second).max())
    return gap / top if top > 0 else float("inf")


def report_of(
    heads: Sequence[HeadRecord], trials: list[Trial], rewritten: onnx.ModelProto, whole: WholeGrids | None
) -> ProofReport:
    """A report of what was run, with what is allowed of it; the rest to be filled in."""
    checked = tuple(head.output for head in heads if head.readout == "contribution" or head.verdict == "exact")
    emitted = {name: head.output for head in heads for name in reductions(head).values()}
    return ProofReport(tuple(trials), _tolerances(heads, rewritten, whole), checked, 0.0, emitted=emitted)


def _tolerances(heads: Sequence[HeadRecord], rewritten: onnx.ModelProto, whole: WholeGrids | None) -> dict[str, float]:
    """What rounding explains, by the coarser of each head's types.

    The head of a half-precision model may end in a Cast to float32: then the outputs do not tell how it computes, but
    the maps that it pools do.
    """
    kinds = {value.name: value.type.tensor_type.elem_type for value in rewritten.graph.output}

    def size(head: HeadRecord) -> int:
        found = [onnx.helper.tensor_dtype_to_np_dtype(kinds[name]) for name in head.tensors if name in kinds]
        floats = [dtype for dtype in found if dtype.kind not in "iu"]
        pooled = whole.dtypes.get(head.output, ()) if whole is not None else ()
        return min(int(dtype.itemsize) for dtype in (*floats, *pooled))

    return {head.output: QUANTIZED_TOLERANCE if head.quantized else TOLERANCE[size(head)] for head in heads}
