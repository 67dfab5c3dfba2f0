"""Prove a rewritten model by its head alone, on made-up feature maps: for models too large to be run whole.

The trunk's weights are never read. The vendor's own nodes from the pooled map to the logits, with the weights that they
really have, and the new nodes from the same map to the grid are cut out of the rewritten model and run together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.functions import inline_functions
from onnx_gapmil.graph.inputs import InputShape, random_input
from onnx_gapmil.graph.loading import load_small_external_data
from onnx_gapmil.graph.tensors import tensor_bytes
from onnx_gapmil.ort.cpu import cpu_session
from onnx_gapmil.ort.errors import explain
from onnx_gapmil.rewriting.proof.comparison import compare, report_of, trial_of
from onnx_gapmil.rewriting.proof.cutting import MAX_HEAD_BYTES, cut_out, independent, pooled_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.rewriting.proof.report import ProofReport, Trial
    from onnx_gapmil.rewriting.proof.whole_grids import WholeGrids
    from onnx_gapmil.rewriting.record import HeadRecord


@dataclass(frozen=True)
class HeadRun:
    """What a head gave on one set of feature maps.

    Attributes:
        inputs: what was fed, for people.
        outputs: the head's outputs by what they are, without features and grid.
        grid: the prediction grid (N, K, H, W).
    """

    inputs: str
    outputs: dict[str, np.ndarray]
    grid: np.ndarray


def prove_head(
    original: LoadedModel,
    rewritten: onnx.ModelProto,
    heads: Sequence[HeadRecord],
    *,
    whole: WholeGrids,
    trace: Trace,
    inlined: bool,
) -> ProofReport:
    """Prove a rewritten model that is too large to run: its head alone, and its vendor's part by comparison.

    Args:
        original: the vendor's model.
        rewritten: what is to be proved.
        heads: its heads.
        whole: its whole grids.
        trace: the real shapes of the original's tensors.
        inlined: whether local functions were inlined on the way.

    Raises:
        ModelError: the head cannot be run alone.
    """
    unchanged = vendor_part_is_unchanged(original.proto, rewritten, inlined=inlined)
    proto = whole.make()
    trials: list[Trial] = []
    skipped: list[str] = []
    failures: list[str] = []
    for head in heads:
        runs, left_out = run_head(proto, original.folder, head, whole.names[head.output], trace, original.name)
        skipped += left_out
        if not runs:
            failures.append(f"the logits of '{head.output}' are finite on none of the maps that were tried.")
        for run in runs:
            part = compare(head, run.outputs, run.grid)
            difference = 0.0 if unchanged else float("inf")
            trials.append(trial_of(f"{run.inputs}, for '{head.output}'", difference, {head.output: part}))
    report = report_of(heads, trials, rewritten, whole)
    return replace(report, skipped=tuple(skipped), failures=tuple(failures), kind="head")


def vendor_part_is_unchanged(original: onnx.ModelProto, rewritten: onnx.ModelProto, *, inlined: bool) -> bool:
    """Whether the rewritten model starts with all that the original has: its outputs are then made as before.

    Args:
        original: the vendor's model.
        rewritten: the same with new nodes, initializers and outputs at the end.
        inlined: compare with the original after its local functions were inlined.
    """
    before = inline_functions(original) if inlined else original
    first, second = before.graph, rewritten.graph
    grown = ("node", "initializer", "output")
    whole = ("input", "sparse_initializer", "quantization_annotation")
    return (
        all(_starts_with(getattr(second, name), getattr(first, name)) for name in grown)
        and all(list(getattr(second, name)) == list(getattr(first, name)) for name in whole)
        and list(before.opset_import) == list(rewritten.opset_import)
        and list(before.functions) == list(rewritten.functions)
        and before.ir_version == rewritten.ir_version
    )


def run_head(
    proto: onnx.ModelProto, folder: Path | None, head: HeadRecord, grid: str, trace: Trace, name: str
) -> tuple[list[HeadRun], list[str]]:
    """Feed the maps that a head pools with random numbers, of either sign and none below 0.

    Args:
        proto: the rewritten model, with the whole grid among its outputs.
        folder: where its external data lies.
        head: the head.
        grid: that output.
        trace: the real shapes of the model's tensors.
        name: the model's name, for messages.

    Returns:
        The runs whose logits are finite, and what was left out.

    Raises:
        ModelError: the head cannot be cut out, or is itself too large, or does not run.
    """
    sources = independent(proto, [found.source for found in head.feature_grids], trace)
    wanted = {key: output for key, output in head.by_name().items() if key not in ("features", "grid")} | {"": grid}
    model = cut_out(proto, sources, list(wanted.values()), trace, name)
    size = sum(tensor_bytes(tensor) for tensor in model.graph.initializer)
    if size > MAX_HEAD_BYTES:
        raise ModelError(
            f"{name}: the head of '{head.output}' alone holds {size / 1e9:.1f} GB of weights, too much for a trial "
            "run, so that the identity cannot be proved here and nothing is written; from Python, rewrite_model and "
            "save_model write it without proof."
        )
    load_small_external_data(model, folder)
    session = cpu_session(model, folder)
    maps = [pooled_map(name, trace) for name in dict.fromkeys(sources)]
    runs: list[HeadRun] = []
    skipped: list[str] = []
    text = ", ".join(f"{entry.name} {entry.traced}" for entry in maps)
    for label, feeds in _feeds(maps).items():
        try:
            found = dict(zip(wanted, session.run(list(wanted.values()), feeds), strict=True))
        except Exception as error:
            raise ModelError(f"{name}: the head alone does not run on {label} {text}: {explain(error)}") from error
        whole = found.pop("")
        if np.isfinite(np.asarray(found["logits"], dtype=np.float64)).any():
            runs.append(HeadRun(f"head alone, {label} maps {text}", found, whole))
        else:
            skipped.append(f"head alone, {label} maps {text}: its logits are not finite")
    return runs, skipped


def _feeds(maps: Sequence[InputShape]) -> Mapping[str, dict[str, np.ndarray]]:
    plain = {entry.name: random_input(entry, seed) for seed, entry in enumerate(maps)}
    if any(array.dtype.kind in "iu" for array in plain.values()):  # a quantized map, whose 0 is not zero
        return {"random": plain}
    return {"random": plain, "random positive": {name: np.abs(array) for name, array in plain.items()}}


def _starts_with(longer: Sequence[object], shorter: Sequence[object]) -> bool:
    return len(longer) >= len(shorter) and all(a == b for a, b in zip(longer, shorter, strict=False))
