"""Prove a rewritten model: its original outputs are what they were, and the mean over cells is the logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError, ProofError
from onnx_gapmil.graph.loading import LoadedModel, load_model
from onnx_gapmil.ort.errors import explain
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.ort.session import make_session, nodes_per_provider
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.proof.head_alone import run_head, vendor_part_is_unchanged
from onnx_gapmil.rewriting.proof.inputs import proof_inputs, session_source
from onnx_gapmil.rewriting.proof.reductions import differences, reductions
from onnx_gapmil.rewriting.proof.report import QUANTIZED_TOLERANCE, TOLERANCE, ProofReport, Trial
from onnx_gapmil.rewriting.record import HEADS_KEY
from onnx_gapmil.rewriting.result import Rewrite, RewrittenHead
from onnx_gapmil.rewriting.rewriter import default_output_path, rewrite_model, save_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.lift.verdict import Readout

__all__ = ["ProofReport", "Trial", "WholeModel", "prove", "prove_head", "residual_of", "rewrite", "verify"]


@dataclass(frozen=True)
class WholeModel:
    """A model that gives whole prediction grids, for heads that the model to be proved gives none of.

    Attributes:
        model: it runs on the same inputs.
        names: its graph output with the grid, by head's output.
    """

    model: LoadedModel
    names: Mapping[str, str]


def rewrite(
    model: str | Path | onnx.ModelProto,
    output: str | Path | None = None,
    *,
    readout: Readout = "contribution",
    emit: Emit | str | None = None,
    write: bool = True,
) -> Rewrite:
    """Rewrite a model so that it also emits its prediction grid, prove it, and write it.

    Args:
        model: path of an ``.onnx`` file, or a ModelProto.
        output: where to write; ``MODEL.gapmil.onnx`` beside the model if None. A ModelProto is only written if
            this is given.
        readout: ``contribution`` (mean over cells = logits, always) or ``instance`` (the head applied to each cell).
        emit: what the graph is to give beside the logits, as an `Emit` or its text; features and grid if None. Nothing
            else is computed. The proof knows the whole grid all the same.
        write: False leaves the disk alone.

    Returns:
        The rewritten model with its proof; the model itself, unwritten, if it was rewritten before.

    Raises:
        ModelError: the model cannot be read or run; or it was rewritten before, with other emissions than those asked
            for.
        UnsupportedHeadError: no output has a head that can be lifted; the refusal says why.
        ProofError: the rewritten model failed its proof; nothing is written.
        InputError: the place to write to will not do, or ``emit`` asks for what a head has not.
    """
    result = rewrite_model(model, readout=readout, emit=emit)
    if result.unchanged:
        return result
    if result.trace is None or result.trace.measured:
        report = prove(result.source, result.model, result.heads, whole=_whole_of(result))
    else:
        report = prove_head(result)
    if not report.passed:
        raise ProofError(
            f"{result.source.name}: the rewritten model failed its proof: {' '.join(report.reasons())}",
            report,
        )
    result = result.with_proof(report)
    path = Path(output) if output is not None else None
    if path is None and result.source.path is not None:
        path = default_output_path(result.source.path)
    return save_model(result, path) if write and path is not None else result


def _whole_of(result: Rewrite) -> WholeModel | None:
    """The same rewrite with its whole grids, where the written model gives none."""
    if result.whole is None or all(head.grid is not None for head in result.heads):
        return None
    return WholeModel(replace(result.source, proto=result.whole.make()), result.whole.names)


def verify(
    original: str | Path | onnx.ModelProto,
    rewritten: str | Path | onnx.ModelProto,
    *,
    batches: Sequence[tuple[str, np.ndarray]] = (),
    provider: str = "auto",
) -> ProofReport:
    """Prove that one file is the rewritten form of another, as they would be deployed.

    A file without its whole grid is compared with a rewrite of the original that is made in memory.

    Args:
        original: the vendor's model.
        rewritten: the model that is claimed to be its rewritten form.
        batches: further inputs as (name for people, array of the input's shape and dtype); random ones are always
            run.
        provider: where to run; ``auto``, ``cuda``, ``cpu``, ...

    Returns:
        What was measured; ``passed`` tells the result.

    Raises:
        ModelError: one of them cannot be read or run, or the second is not a rewritten model, or of another one.
        ProviderError: the provider was asked for by name and is not really used.
    """
    first, second = load_model(original), load_model(rewritten)
    if not any(entry.key == HEADS_KEY for entry in second.proto.metadata_props):
        raise ModelError(f"{second.name} is not a rewritten model; make it with 'onnx-gapmil rewrite {first.name}'.")
    heads = rewrite_model(rewritten).heads
    whole = None
    if any(head.grid is None for head in heads):
        again = rewrite_model(original, readout=heads[0].readout, emit=Emit(features=False))
        found = {head.output: head for head in again.heads}
        names = {output: head.grid for output, head in found.items() if head.grid is not None}
        absent = [head.output for head in heads if head.grid is None and head.output not in names]
        if absent:
            raise ModelError(f"{first.name} has no head of '{absent[0]}', which {second.name} says it was made from.")
        whole = WholeModel(replace(again.source, proto=again.model), names)
        heads = tuple(
            replace(head, feature_grids=found[head.output].feature_grids) if head.output in found else head
            for head in heads
        )
    return prove(first, second, heads, batches=batches, provider=provider, optimize=True, whole=whole)


def prove(
    original: LoadedModel,
    rewritten: onnx.ModelProto | LoadedModel,
    heads: Sequence[RewrittenHead],
    *,
    batches: Sequence[tuple[str, np.ndarray]] = (),
    provider: str = "cpu",
    optimize: bool = False,
    whole: WholeModel | None = None,
) -> ProofReport:
    """Run original and rewritten model on the same inputs and compare.

    Random inputs in the graph's own types: two batches where the batch is open, two sizes where height and width
    are. Unoptimized, both run the same kernels, so the original outputs must be equal bit for bit; optimized, the
    runtime fuses them differently, and the tolerance of their type holds. Reductions of the grid are compared with
    those of float64 NumPy.

    Args:
        original: the vendor's model.
        rewritten: what is to be proved.
        heads: its heads.
        batches: further inputs.
        provider: where to run.
        optimize: let ONNX Runtime fuse and fold.
        whole: gives the whole grids of heads that ``rewritten`` does not emit them of; without it, only the original
            outputs and what is made of the logits is compared there.

    Raises:
        ModelError: one of the models cannot be run at all.
    """
    second = rewritten if isinstance(rewritten, LoadedModel) else replace(original, proto=rewritten)
    names = [value.name for value in original.proto.graph.output]
    missing = set(names) - {value.name for value in second.proto.graph.output}
    if missing:
        raise ModelError(f"{second.name} lacks the output '{missing.pop()}' of {original.name}; it is another model's.")
    runner = _Runner(original, second, heads, whole, provider=provider, optimize=optimize)
    trials: list[Trial] = []
    skipped: list[str] = []
    failures: list[str] = []
    for label, feeds, spare in proof_inputs(original, batches):
        if spare and trials:
            break
        try:
            expected = runner.original(feeds)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base of their own
            skipped.append(f"{label}: {explain(error)}")
            continue
        try:
            trials.append(runner.trial(label, expected, feeds))
        except Exception as error:  # noqa: BLE001 - as above
            failures.append(f"the rewritten model fails where the original runs ({label}): {explain(error)}.")
    if not trials and not failures:
        raise ModelError(f"{original.name} runs at none of the inputs that were tried: {'; '.join(skipped[:1])}")
    tolerance = _tolerances(second, heads)
    limit = max(tolerance.values()) if optimize else 0.0
    return replace(
        _report(heads, trials, tolerance),
        outputs_tolerance=limit,
        skipped=tuple(skipped),
        rounding_bound={head.output: head.rounding_bound for head in heads if head.rounding_bound is not None},
        provider=runner.provider,
        nodes=runner.nodes(),
        failures=tuple(failures),
    )


class _Runner:
    """The sessions of one proof."""

    def __init__(
        self,
        original: LoadedModel,
        rewritten: LoadedModel,
        heads: Sequence[RewrittenHead],
        whole: WholeModel | None,
        *,
        provider: str,
        optimize: bool,
    ) -> None:
        choice = choose_providers(provider)
        self.provider = choice.used
        self._names = [value.name for value in original.proto.graph.output]
        self._heads = heads
        self._grids = (
            {} if whole is None else {head.output: whole.names[head.output] for head in heads if not head.grid}
        )

        def session(loaded: LoadedModel) -> Any:
            data, folder = session_source(loaded)
            return make_session(data, choice, optimize=optimize, external_data_folder=folder, name=loaded.name)

        self._first, self._second = session(original), session(rewritten)
        self._third = session(whole.model) if whole is not None and self._grids else None

    def nodes(self) -> dict[str, dict[str, int | None]]:
        """How many nodes of each model run on which provider."""
        return {"original": nodes_per_provider(self._first), "rewritten": nodes_per_provider(self._second)}

    def original(self, feeds: dict[str, np.ndarray]) -> list[Any]:
        """The vendor's own outputs."""
        found: list[Any] = self._first.run(self._names, feeds)
        return found

    def trial(self, label: str, expected: list[Any], feeds: dict[str, np.ndarray]) -> Trial:
        """Run the rewritten model and compare."""
        wanted = list(dict.fromkeys([*self._names, *(name for head in self._heads for name in head.tensors)]))
        got = dict(zip(wanted, self._second.run(wanted, feeds), strict=True))
        grids = {head.output: got[head.grid] for head in self._heads if head.grid}
        if self._third is not None:
            grids |= dict(zip(self._grids, self._third.run(list(self._grids.values()), feeds), strict=True))
        gaps = [_difference(before, got[name]) for name, before in zip(self._names, expected, strict=True)]
        parts = [
            compare(head, {key: got[name] for key, name in head.by_name().items()}, grids.get(head.output))
            for head in self._heads
        ]
        residuals = {head.output: part[0] for head, part in zip(self._heads, parts, strict=True) if part[0] is not None}
        scale = {head.output: part[1] for head, part in zip(self._heads, parts, strict=True)}
        emissions = {name: gap for part in parts for name, gap in part[2].items()}
        return Trial(label, max(gaps) == 0.0, max(gaps), residuals, scale, emissions)


def compare(
    head: RewrittenHead, got: Mapping[str, np.ndarray], grid: np.ndarray | None
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


def prove_head(rewrite: Rewrite) -> ProofReport:
    """Prove a rewritten model that is too large to run: its head alone, and its vendor's part by comparison.

    Raises:
        ModelError: the head cannot be run alone.
    """
    source = rewrite.source
    if rewrite.trace is None or rewrite.whole is None:
        raise ModelError(f"{source.name} was rewritten before; rewrite the original to prove its head.")
    unchanged = vendor_part_is_unchanged(source.proto, rewrite.model, inlined=rewrite.inlined)
    proto = rewrite.whole.make()
    trials: list[Trial] = []
    skipped: list[str] = []
    failures: list[str] = []
    for head in rewrite.heads:
        grid = rewrite.whole.names[head.output]
        runs, left_out = run_head(proto, source.folder, head, grid, rewrite.trace, source.name)
        skipped += left_out
        if not runs:
            failures.append(f"the logits of '{head.output}' are finite on none of the maps that were tried.")
        for run in runs:
            residual, scale, emissions = compare(head, run.outputs, run.grid)
            trials.append(
                Trial(
                    f"{run.inputs}, for '{head.output}'",
                    unchanged,
                    0.0 if unchanged else float("inf"),
                    {} if residual is None else {head.output: residual},
                    {head.output: scale},
                    emissions,
                )
            )
    report = _report(rewrite.heads, trials, _tolerances(replace(source, proto=rewrite.model), rewrite.heads))
    return replace(report, skipped=tuple(skipped), failures=tuple(failures), kind="head")


def _report(heads: Sequence[RewrittenHead], trials: list[Trial], tolerance: dict[str, float]) -> ProofReport:
    """A report of what was run, the rest to be filled in."""
    checked = tuple(head.output for head in heads if head.readout == "contribution" or head.verdict == "exact")
    emitted = {name: head.output for head in heads for name in reductions(head).values()}
    return ProofReport(tuple(trials), tolerance, checked, 0.0, emitted=emitted)


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


def _difference(before: Any, after: Any) -> float:
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


def _tolerances(loaded: LoadedModel, heads: Sequence[RewrittenHead]) -> dict[str, float]:
    """What rounding explains, by the coarser of each head's types: a half-precision head may end in a cast."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in loaded.proto.graph.output}

    def size(head: RewrittenHead) -> int:
        found = [onnx.helper.tensor_dtype_to_np_dtype(kinds[name]) for name in head.tensors if name in kinds]
        floats = [dtype for dtype in found if dtype.kind not in "iu"]
        return min(int(dtype.itemsize) for dtype in (*floats, *(grid.dtype for grid in head.feature_grids)))

    return {head.output: QUANTIZED_TOLERANCE if head.quantized else TOLERANCE[size(head)] for head in heads}
