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
from onnx_gapmil.graph.loading import load_small_external_data, tensor_bytes
from onnx_gapmil.ort.cpu import cpu_session
from onnx_gapmil.ort.errors import explain
from onnx_gapmil.rewriting.proof.comparison import compare, report_of
from onnx_gapmil.rewriting.proof.report import ProofReport, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.rewriting.proof.whole_grids import WholeGrids
    from onnx_gapmil.rewriting.record import HeadRecord

#: Heads whose own weights exceed this are not run either.
MAX_HEAD_BYTES = 1_500_000_000


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
    sources = [found.source for found in head.feature_grids]
    wanted = {key: output for key, output in head.by_name().items() if key not in ("features", "grid")} | {"": grid}
    model = _cut(proto, sources, list(wanted.values()), trace, name)
    size = sum(tensor_bytes(tensor) for tensor in model.graph.initializer)
    if size > MAX_HEAD_BYTES:
        raise ModelError(
            f"{name}: the head of '{head.output}' alone holds {size / 1e9:.1f} GB of weights, too much for a trial "
            "run, so that the identity cannot be proved here and nothing is written; from Python, rewrite_model and "
            "save_model write it without proof."
        )
    load_small_external_data(model, folder)
    session = cpu_session(model, folder)
    maps = [_map(name, trace) for name in dict.fromkeys(sources)]
    runs: list[HeadRun] = []
    skipped: list[str] = []
    text = ", ".join(f"{entry.name} {entry.traced}" for entry in maps)
    for label, feeds in _feeds(maps).items():
        try:
            found = dict(zip(wanted, session.run(list(wanted.values()), feeds), strict=True))
        except Exception as error:
            raise ModelError(f"{name}: the head alone does not run on {label} {text}: {explain(error)}") from error
        whole = found.pop("")
        if np.isfinite(np.asarray(found["logits"], dtype=np.float64)).all():
            runs.append(HeadRun(f"head alone, {label} maps {text}", found, whole))
        else:
            skipped.append(f"head alone, {label} maps {text}: its logits are not finite")
    return runs, skipped


def _map(name: str, trace: Trace) -> InputShape:
    shape = trace.shapes[name]
    return InputShape(name, tuple(shape), shape, trace.dtypes.get(name, np.dtype(np.float32)))


def _feeds(maps: Sequence[InputShape]) -> Mapping[str, dict[str, np.ndarray]]:
    plain = {entry.name: random_input(entry, seed) for seed, entry in enumerate(maps)}
    if any(array.dtype.kind in "iu" for array in plain.values()):  # a quantized map, whose 0 is not zero
        return {"random": plain}
    return {"random": plain, "random positive": {name: np.abs(array) for name, array in plain.items()}}


def _cut(proto: onnx.ModelProto, sources: list[str], outputs: list[str], trace: Trace, name: str) -> onnx.ModelProto:
    """The nodes that make the outputs from the sources; what is computed from shapes keeps its traced value."""
    makers = {made: node for node in proto.graph.node for made in node.output if made}
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    inputs = {value.name for value in proto.graph.input} - set(tensors)
    wanted, seen, kept = list(outputs), set[str](), set[int]()
    while wanted:
        current = wanted.pop()
        # Computed shapes (`trace.values`) would lead through Shape into the trunk; they are constants of the cut.
        if current in seen or current in sources or current in trace.values or current in tensors:
            seen.add(current)
            continue
        seen.add(current)
        if current in inputs:
            raise ModelError(f"{name}: the head takes '{current}' past the map that it pools, so it cannot be cut out.")
        node = makers[current]
        kept.add(id(node))
        wanted.extend(_reads(node))
    # Initializers that are no inputs need IR 4, and functions IR 8; the vendor's file may be older.
    cut = onnx.ModelProto(
        ir_version=max(proto.ir_version, 8), opset_import=proto.opset_import, functions=proto.functions
    )
    cut.graph.name = "head"
    cut.graph.node.extend(node for node in proto.graph.node if id(node) in kept)
    cut.graph.initializer.extend(tensor for key, tensor in tensors.items() if key in seen)
    made = {tensor for node in cut.graph.node for tensor in node.output}
    cut.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(value), key)
        for key, value in trace.values.items()
        if key in seen and key not in made
    )
    for source in dict.fromkeys(sources):
        entry = _map(source, trace)
        kind = onnx.helper.np_dtype_to_tensor_dtype(entry.dtype)
        cut.graph.input.append(onnx.helper.make_tensor_value_info(source, kind, entry.traced))
    cut.graph.output.extend(onnx.ValueInfoProto(name=output) for output in outputs)
    return cut


def _reads(node: onnx.NodeProto) -> list[str]:
    """Tensors of the main graph that a node may read, its subgraphs' included."""
    names = [read for read in node.input if read]
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            inside = {made for inner in graph.node for made in inner.output} | {value.name for value in graph.input}
            inside |= {tensor.name for tensor in graph.initializer}
            names += [read for inner in graph.node for read in _reads(inner) if read not in inside]
    return names


def _starts_with(longer: Sequence[object], shorter: Sequence[object]) -> bool:
    return len(longer) >= len(shorter) and all(a == b for a, b in zip(longer, shorter, strict=False))
