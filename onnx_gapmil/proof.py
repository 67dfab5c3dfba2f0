"""Prove a rewritten model: its original outputs are what they were, and the mean over cells is the logits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError, ProofError
from onnx_gapmil.graph.loading import LoadedModel, has_external_data, load_model, load_small_external_data
from onnx_gapmil.graph.trace import InputShape, candidate_inputs, concrete_inputs, random_input
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.proof_head import run_head, vendor_part_is_unchanged
from onnx_gapmil.rewriting import Rewrite, RewrittenHead, default_output_path, rewrite_model, save_model
from onnx_gapmil.runtime.heads import HEADS_KEY
from onnx_gapmil.runtime.ort_errors import explain
from onnx_gapmil.runtime.providers import choose_providers
from onnx_gapmil.runtime.session import make_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onnx_gapmil.lift.verdict import Readout

#: Largest |mean over cells - logits| / max |logits| that rounding explains, by the bytes of the element type.
TOLERANCE = {2: 5e-3, 4: 2e-5, 8: 1e-10}
#: The same where the head rounds to integers of 8 bits on the way.
QUANTIZED_TOLERANCE = 0.05
#: Batches that an open batch axis is proved with.
_BATCHES = (3, 1)
#: Heights and widths that open axes are proved with.
_SIZES = ((224, 224), (256, 320))


@dataclass(frozen=True)
class Trial:
    """One run of original and rewritten model on the same input.

    Attributes:
        inputs: what was fed, for people: ``random (2, 3, 224, 224)``, or an image's path.
        outputs_equal: the original outputs are equal bit for bit.
        outputs_difference: largest difference of an original output, relative to its largest value.
        residuals: by head's output, largest |mean over cells - logits| / max |logits|.
        scale: by head's output, max |logits|.
    """

    inputs: str
    outputs_equal: bool
    outputs_difference: float
    residuals: dict[str, float]
    scale: dict[str, float]


@dataclass(frozen=True)
class ProofReport:
    """What the proof ran and measured.

    Attributes:
        trials: every run.
        tolerance: by head's output, what rounding in its type explains.
        checked: outputs whose residual must stay within it; the instance readout of a conditional head is only
            reported.
        outputs_tolerance: how far original outputs may move; 0 asks for equality bit for bit.
        rounding_bound: by head's output, how far rounding to integers may move a logit, where that is known.
        skipped: inputs that the original itself does not take.
        provider: what it ran on.
        kind: ``model`` if original and rewritten model ran whole; ``head`` if the model is too large for that, so
            that only its head ran, with its real weights, on made-up feature maps, and the original outputs are known
            to be unchanged because the vendor's part of the graph is.
    """

    trials: tuple[Trial, ...]
    tolerance: dict[str, float]
    checked: tuple[str, ...]
    outputs_tolerance: float
    skipped: tuple[str, ...] = ()
    rounding_bound: dict[str, float] = field(default_factory=dict)
    provider: str = "cpu"
    failures: tuple[str, ...] = field(default=())
    kind: Literal["model", "head"] = "model"

    @property
    def originals_unchanged(self) -> bool:
        """Whether every original output stayed what it was."""
        return all(trial.outputs_equal or trial.outputs_difference <= self.outputs_tolerance for trial in self.trials)

    def residual(self, output: str) -> float | None:
        """The largest residual of one head over all trials."""
        return max((trial.residuals[output] for trial in self.trials if output in trial.residuals), default=None)

    @property
    def passed(self) -> bool:
        """Whether outputs are unchanged and every head that must hold the identity holds it."""
        return not self.reasons()

    def reasons(self) -> list[str]:
        """Why the proof failed, one sentence each; empty if it passed."""
        reasons = list(self.failures)
        if not self.trials:
            reasons.append("no input could be run.")
        if not self.originals_unchanged:
            worst = max(trial.outputs_difference for trial in self.trials)
            reasons.append(f"an original output changed by {worst:.2g} of its largest value.")
        for output in self.checked:
            residual = self.residual(output)
            bound = self.rounding_bound.get(output)
            if bound is not None and not all(
                trial.residuals[output] * trial.scale[output] <= bound + TOLERANCE[4] * trial.scale[output]
                for trial in self.trials
                if output in trial.residuals
            ):
                reasons.append(
                    f"output '{output}': the mean over cells differs from the logits by more than the {bound:.2g} that "
                    "rounding to its scales explains."
                )
            if residual is not None and not residual <= self.tolerance[output]:
                reasons.append(
                    f"output '{output}': the mean over cells differs from the logits by {residual:.2g} of the largest "
                    f"logit; {self.tolerance[output]:.0e} is allowed."
                )
        return reasons

    def to_json(self) -> dict[str, Any]:
        """The proof as the command line prints it."""
        return {
            "passed": self.passed,
            "kind": self.kind,
            "originals_unchanged": self.originals_unchanged,
            "outputs_difference": max((trial.outputs_difference for trial in self.trials), default=None),
            "residuals": {output: self.residual(output) for output in self.tolerance},
            "tolerance": self.tolerance,
            "rounding_bound": self.rounding_bound,
            "provider": self.provider,
            "trials": [
                {
                    "inputs": trial.inputs,
                    "outputs_equal": trial.outputs_equal,
                    "outputs_difference": trial.outputs_difference,
                    "residuals": trial.residuals,
                    "max_logit": trial.scale,
                }
                for trial in self.trials
            ],
            "skipped": list(self.skipped),
            "failures": self.reasons(),
        }


def rewrite(
    model: str | Path | onnx.ModelProto,
    output: str | Path | None = None,
    *,
    readout: Readout = "contribution",
    write: bool = True,
) -> Rewrite:
    """Rewrite a model so that it also emits its prediction grid, prove it, and write it.

    Args:
        model: path of an ``.onnx`` file, or a ModelProto.
        output: where to write; ``MODEL.gapmil.onnx`` beside the model if None. A ModelProto is only written if
            this is given.
        readout: ``contribution`` (mean over cells = logits, always) or ``instance`` (the head applied to each cell).
        write: False leaves the disk alone.

    Returns:
        The rewritten model with its proof; the model itself, unwritten, if it was rewritten before.

    Raises:
        ModelError: the model cannot be read or run.
        UnsupportedHeadError: no output has a head that can be lifted; the refusal says why.
        ProofError: the rewritten model failed its proof; nothing is written.
        InputError: the place to write to will not do.
    """
    result = rewrite_model(model, readout=readout)
    if result.unchanged:
        return result
    whole = result.trace is None or result.trace.measured
    report = prove(result.source, result.model, result.heads) if whole else prove_head(result)
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


def verify(
    original: str | Path | onnx.ModelProto,
    rewritten: str | Path | onnx.ModelProto,
    *,
    batches: Sequence[tuple[str, np.ndarray]] = (),
    provider: str = "auto",
) -> ProofReport:
    """Prove that one file is the rewritten form of another, as they would be deployed.

    Args:
        original: the vendor's model.
        rewritten: the model that is claimed to be its rewritten form.
        batches: further inputs as (name for people, array of the input's shape and dtype); random ones are always
            run.
        provider: where to run; ``auto``, ``cuda``, ``cpu``, ...

    Returns:
        What was measured; ``passed`` tells the result.

    Raises:
        ModelError: one of them cannot be read or run, or the second is not a rewritten model.
        ProviderError: the provider was asked for by name and is not really used.
    """
    first, second = load_model(original), load_model(rewritten)
    found = rewrite_model(rewritten) if _is_rewritten(second) else None
    if found is None:
        raise ModelError(f"{second.name} is not a rewritten model; make it with 'onnx-gapmil rewrite {first.name}'.")
    return prove(first, second, found.heads, batches=batches, provider=provider, optimize=True)


def prove(
    original: LoadedModel,
    rewritten: onnx.ModelProto | LoadedModel,
    heads: Sequence[RewrittenHead],
    *,
    batches: Sequence[tuple[str, np.ndarray]] = (),
    provider: str = "cpu",
    optimize: bool = False,
) -> ProofReport:
    """Run original and rewritten model on the same inputs and compare.

    Random inputs in the graph's own types: two batches where the batch is open, two sizes where height and width
    are. Unoptimized, both run the same kernels, so the original outputs must be equal bit for bit; optimized, the
    runtime fuses them differently, and the tolerance of their type holds.

    Raises:
        ModelError: one of the models cannot be run at all.
    """
    choice = choose_providers(provider)
    second = rewritten if isinstance(rewritten, LoadedModel) else replace(original, proto=rewritten)
    names = [value.name for value in original.proto.graph.output]
    missing = set(names) - {value.name for value in second.proto.graph.output}
    if missing:
        raise ModelError(f"{second.name} lacks the output '{missing.pop()}' of {original.name}; it is another model's.")
    sessions = []
    for loaded in (original, second):
        data, folder = _source(loaded)
        sessions.append(make_session(data, choice, optimize=optimize, external_data_folder=folder, name=loaded.name))
    trials: list[Trial] = []
    skipped: list[str] = []
    failures: list[str] = []
    for label, feeds, spare in _inputs(original, batches):
        if spare and trials:
            break
        try:
            expected = sessions[0].run(names, feeds)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base of their own
            skipped.append(f"{label}: {explain(error)}")
            continue
        wanted = [name for head in heads for name in (head.logits, head.grid)]
        try:
            got = sessions[1].run([*names, *wanted], feeds)
        except Exception as error:  # noqa: BLE001 - as above
            failures.append(f"the rewritten model fails where the original runs ({label}): {explain(error)}.")
            continue
        trials.append(_trial(label, names, expected, got, heads))
    if not trials and not failures:
        raise ModelError(f"{original.name} runs at none of the inputs that were tried: {'; '.join(skipped[:1])}")
    kinds = _logit_sizes(second, heads)
    tolerance = {
        head.output: QUANTIZED_TOLERANCE if head.quantized else TOLERANCE[kinds[head.output]] for head in heads
    }
    checked = tuple(head.output for head in heads if head.readout == "contribution" or head.verdict == "exact")
    limit = max(tolerance.values()) if optimize else 0.0
    bounds = {head.output: head.rounding_bound for head in heads if head.rounding_bound is not None}
    return ProofReport(tuple(trials), tolerance, checked, limit, tuple(skipped), bounds, choice.used, tuple(failures))


def prove_head(rewrite: Rewrite) -> ProofReport:
    """Prove a rewritten model that is too large to run: its head alone, and its vendor's part by comparison.

    Raises:
        ModelError: the head cannot be run alone.
    """
    source = rewrite.source
    if rewrite.trace is None:
        raise ModelError(f"{source.name} was rewritten before; rewrite the original to prove its head.")
    unchanged = vendor_part_is_unchanged(source.proto, rewrite.model, inlined=rewrite.inlined)
    trials: list[Trial] = []
    skipped: list[str] = []
    failures: list[str] = []
    for head in rewrite.heads:
        runs, left_out = run_head(rewrite.model, source.folder, head, rewrite.trace, source.name)
        skipped += left_out
        if not runs:
            failures.append(f"the logits of '{head.output}' are finite on none of the maps that were tried.")
        for run in runs:
            residual, scale = residual_of(run.logits.astype(np.float64), run.grid.astype(np.float64))
            label = f"{run.inputs}, for '{head.output}'"
            trials.append(
                Trial(
                    label, unchanged, 0.0 if unchanged else float("inf"), {head.output: residual}, {head.output: scale}
                )
            )
    kinds = _logit_sizes(replace(source, proto=rewrite.model), rewrite.heads)
    tolerance = {
        head.output: QUANTIZED_TOLERANCE if head.quantized else TOLERANCE[kinds[head.output]] for head in rewrite.heads
    }
    checked = tuple(head.output for head in rewrite.heads if head.readout == "contribution" or head.verdict == "exact")
    return ProofReport(tuple(trials), tolerance, checked, 0.0, tuple(skipped), failures=tuple(failures), kind="head")


def _trial(label: str, names: list[str], expected: list[Any], got: list[Any], heads: Sequence[RewrittenHead]) -> Trial:
    differences = [_difference(before, after) for before, after in zip(expected, got, strict=False)]
    residuals: dict[str, float] = {}
    scale: dict[str, float] = {}
    rest = got[len(names) :]
    for place, head in enumerate(heads):
        logits, grid = (np.asarray(array, dtype=np.float64) for array in rest[2 * place : 2 * place + 2])
        residuals[head.output], scale[head.output] = residual_of(logits, grid)
    return Trial(label, max(differences) == 0.0, max(differences), residuals, scale)


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


def _inputs(
    original: LoadedModel, batches: Sequence[tuple[str, np.ndarray]]
) -> Iterator[tuple[str, dict[str, np.ndarray], bool]]:
    """What to feed: (name for people, arrays, whether it is only needed if nothing before it ran)."""
    graph = ModelGraph(original.proto, original.folder)
    if batches and len(graph.inputs) != 1:
        raise ModelError(f"{original.name} has {len(graph.inputs)} inputs; images can only be fed to one.")
    for label, array in batches:
        yield label, {graph.inputs[0].name: array}, False
    usual = list(_shapes(graph))
    spare = list(candidate_inputs(graph))
    for seed, entries in enumerate([*usual, *spare]):
        text = ", ".join(str(entry.traced) for entry in entries)
        yield (
            f"random {text}",
            {entry.name: random_input(entry, seed) for entry in entries},
            seed >= len(usual),
        )


def _shapes(graph: ModelGraph) -> Iterator[tuple[InputShape, ...]]:
    """Input shapes for the proof: two batches where the batch is open, two sizes where height and width are."""
    first = next(candidate_inputs(graph))
    batches = _BATCHES if any(entry.batch_is_open for entry in first) else (1, 1)
    sizes = _SIZES if any(entry.space_is_open for entry in first) else (_SIZES[0], _SIZES[0])
    for batch, size in zip(batches, sizes, strict=True):
        yield concrete_inputs(graph, batch, size)


def _source(loaded: LoadedModel) -> tuple[bytes, Path | None]:
    """A model for a session: its bytes, and the folder of its external data."""
    if not has_external_data(loaded.proto):
        return loaded.proto.SerializeToString(), None
    if loaded.folder is None:
        raise ModelError(f"{loaded.name} keeps weights in other files; give its path instead of a ModelProto.")
    proto = onnx.ModelProto()
    proto.CopyFrom(loaded.proto)
    load_small_external_data(proto, loaded.folder)
    return proto.SerializeToString(), loaded.folder.resolve()


def _is_rewritten(loaded: LoadedModel) -> bool:
    return any(entry.key == HEADS_KEY for entry in loaded.proto.metadata_props)


def _logit_sizes(loaded: LoadedModel, heads: Sequence[RewrittenHead]) -> dict[str, int]:
    """Bytes of the coarser of each head's element types: a half-precision head may end in a cast to float."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in loaded.proto.graph.output}

    def size(name: str) -> int:
        return int(onnx.helper.tensor_dtype_to_np_dtype(kinds[name]).itemsize)

    return {
        head.output: min(size(name) for name in (head.logits, head.features, head.grid) if name in kinds)
        for head in heads
    }
