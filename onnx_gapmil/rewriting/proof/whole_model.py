"""Prove a rewritten model whole: its original outputs are what they were, and the mean over cells is the logits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.light import light_copy
from onnx_gapmil.graph.loading import (
    LoadedModel,
    ModelSource,
    has_external_data,
    load_model,
    load_small_external_data,
)
from onnx_gapmil.ort.deployed import PRECISE, deployed_session
from onnx_gapmil.ort.errors import explain
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.ort.session import make_session, nodes_per_provider
from onnx_gapmil.rewriting.proof.comparison import compare, difference, report_of, trial_of
from onnx_gapmil.rewriting.proof.inputs import proof_inputs
from onnx_gapmil.rewriting.proof.report import ProofReport, Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from onnx_gapmil.rewriting.proof.whole_grids import WholeGrids
    from onnx_gapmil.rewriting.record import HeadRecord

    Feeds = dict[str, np.ndarray]
    #: What was fed, for people and as arrays, and what the original answered.
    Known = tuple[str, Feeds, list[Any]]


def prove(
    original: ModelSource,
    rewritten: ModelSource,
    heads: Sequence[HeadRecord],
    *,
    batches: Sequence[tuple[str, np.ndarray]] = (),
    provider: str = "cpu",
    optimize: bool = False,
    whole: WholeGrids | None = None,
) -> ProofReport:
    """Run original and rewritten model on the same inputs and compare.

    Random inputs in the graph's own types: two batches where the batch is open, two sizes where height and width
    are. Unoptimized, both run the same kernels, so the original outputs must be equal bit for bit; optimized, the
    runtime fuses them differently, and the tolerance of their type holds. Reductions of the grid are compared with
    those of float64 NumPy.

    Args:
        original: the vendor's model.
        rewritten: what is to be proved; the external data of a ModelProto lies where the original's does.
        heads: its heads.
        batches: further inputs.
        provider: where to run.
        optimize: let ONNX Runtime fuse and fold.
        whole: gives the whole grids of heads that ``rewritten`` does not emit them of; without it, only the original
            outputs and what is made of the logits is compared there.

    Raises:
        ModelError: one of the models cannot be run at all.
    """
    first = load_model(original)
    second = replace(first, proto=rewritten) if isinstance(rewritten, onnx.ModelProto) else load_model(rewritten)
    names = [value.name for value in first.proto.graph.output]
    missing = set(names) - {value.name for value in second.proto.graph.output}
    if missing:
        raise ModelError(f"{second.name} lacks the output '{missing.pop()}' of {first.name}; it is another model's.")
    runner = _Runner(first, second, heads, whole, provider=provider, optimize=optimize)
    # Where the runtime fuses them and cannot be told to be precise, integer kernels may saturate.
    large = not (optimize and any(head.quantized for head in heads)) or runner.is_precise
    # One model after the other, so that the weights of one are in memory at a time.
    known, skipped = runner.original(proof_inputs(first, batches, large=large))
    trials, failures = runner.rewritten(known)
    if not trials and not failures:
        raise ModelError(f"{first.name} runs at none of the inputs that were tried: {'; '.join(skipped[:1])}")
    report = replace(
        report_of(heads, trials, second.proto, whole),
        skipped=tuple(skipped),
        rounding_bound={head.output: head.rounding_bound for head in heads if head.rounding_bound is not None},
        provider=runner.provider,
        nodes=runner.nodes,
        failures=tuple(failures),
    )
    if optimize:
        return replace(report, outputs_tolerance=max(report.tolerance.values()))
    saturating = any(head.quantized and report.sum_reasons(head.output) for head in heads)
    if not saturating or not _loads_precisely(first, second):
        return report
    # MatMulInteger and QLinearConv saturate on processors without VNNI as they are spelled, too.
    again = prove(first, second, heads, batches=batches, provider=provider, optimize=True, whole=whole)
    return _with_sums_of(report, again)


def _with_sums_of(report: ProofReport, precise: ProofReport) -> ProofReport:
    """A report with the sums of another, which ran the same inputs where integer kernels do not saturate."""
    known = {trial.inputs: trial for trial in report.trials}
    trials = tuple(
        replace(
            trial,
            note="its sum with integer kernels that do not saturate",
            outputs_equal=known[trial.inputs].outputs_equal,
            outputs_difference=known[trial.inputs].outputs_difference,
        )
        for trial in precise.trials
        if trial.inputs in known
    )
    return replace(report, trials=trials) if len(trials) == len(report.trials) else report


def _loads_precisely(*models: LoadedModel) -> bool:
    """Whether ONNX Runtime takes all of some models in its precise mode for integers; of QLinear operators not all."""
    try:
        for loaded in models:
            deployed_session(*loaded.session_source(), "all", config=PRECISE)
    except ModelError:
        return False
    return True


class _Runner:
    """The sessions of one proof."""

    def __init__(
        self,
        original: LoadedModel,
        rewritten: LoadedModel,
        heads: Sequence[HeadRecord],
        whole: WholeGrids | None,
        *,
        provider: str,
        optimize: bool,
    ) -> None:
        self._choice = choose_providers(provider)
        self.provider = self._choice.used
        self.nodes: dict[str, dict[str, int | None]] = {}
        self._names = [value.name for value in original.proto.graph.output]
        self._heads, self._original, self._rewritten = heads, original, rewritten
        self._optimize = optimize
        self._grids = (
            {} if whole is None else {head.output: whole.names[head.output] for head in heads if not head.grid}
        )
        self._whole = replace(original, proto=whole.make()) if whole is not None and self._grids else None

        # Fused kernels of int8 weights saturate on processors without VNNI; the sum is proved where they do not.
        self.is_precise = optimize and any(head.quantized for head in heads) and _loads_precisely(original, rewritten)

    def _session(self, loaded: LoadedModel) -> Any:
        loaded.require_weights()
        proto, weights = light_copy(loaded.proto)
        load_small_external_data(proto, loaded.folder)
        return make_session(
            proto.SerializeToString(),
            self._choice,
            optimize=self._optimize,
            external_data_folder=loaded.folder.resolve() if loaded.folder and has_external_data(loaded.proto) else None,
            name=loaded.name,
            weights=weights,
            config=PRECISE if self.is_precise else None,
        )

    def original(self, inputs: Iterable[tuple[str, Feeds, bool]]) -> tuple[list[Known], list[str]]:
        """The vendor's own outputs; and what it does not take."""
        known: list[Known] = []
        skipped: list[str] = []
        session = self._session(self._original)
        self.nodes["original"] = nodes_per_provider(session)
        for label, feeds, spare in inputs:
            if spare and known:
                break
            try:
                known.append((label, feeds, session.run(self._names, feeds)))
            except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base of their own
                skipped.append(f"{label}: {explain(error)}")
        return known, skipped

    def rewritten(self, known: Iterable[Known]) -> tuple[list[Trial], list[str]]:
        """The rewritten model, and the one with its whole grids where it has them not, compared; and where it fails."""
        trials: list[Trial] = []
        failures: list[str] = []
        second = self._session(self._rewritten)
        self.nodes["rewritten"] = nodes_per_provider(second)
        third = self._session(self._whole) if self._whole is not None else None
        for label, feeds, expected in known:
            try:
                trials.append(self._trial(second, third, label, expected, feeds))
            except Exception as error:  # noqa: BLE001 - as above
                failures.append(f"the rewritten model fails where the original runs ({label}): {explain(error)}.")
        return trials, failures

    def _trial(self, second: Any, third: Any, label: str, expected: list[Any], feeds: dict[str, np.ndarray]) -> Trial:
        wanted = list(dict.fromkeys([*self._names, *(name for head in self._heads for name in head.tensors)]))
        got = dict(zip(wanted, second.run(wanted, feeds), strict=True))
        grids = {head.output: got[head.grid] for head in self._heads if head.grid}
        if third is not None:
            grids |= dict(zip(self._grids, third.run(list(self._grids.values()), feeds), strict=True))
        gaps = [difference(before, got[name]) for name, before in zip(self._names, expected, strict=True)]
        parts = {
            head.output: compare(head, {key: got[name] for key, name in head.by_name().items()}, grids.get(head.output))
            for head in self._heads
        }
        return trial_of(label, max(gaps), parts)
