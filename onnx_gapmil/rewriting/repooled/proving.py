"""The proof of another pool: a repooled model's logits against float64 NumPy on its own prediction grid.

What is compared are the logits, relative to the largest cell or logit; of an aggregator that gives probabilities the
probabilities themselves, and, where the classes are ranked against each other, their logarithms too. The reference is
the formula (`onnx_gapmil.aggregate.pooled`) on the grid that the same run gives, rounded once to the logits' type.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.aggregate.activation import activate
from onnx_gapmil.aggregate.aggregator import LINEAR, OF_PROBABILITIES
from onnx_gapmil.aggregate.fitted import FittedPool, pool_logits
from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.inputs import random_input
from onnx_gapmil.graph.light import light_copy
from onnx_gapmil.graph.loading import has_external_data, load_small_external_data
from onnx_gapmil.ort.cpu import cpu_session
from onnx_gapmil.ort.errors import explain
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.ort.session import make_session
from onnx_gapmil.rewriting.proof.checks import Check, Figure
from onnx_gapmil.rewriting.proof.comparison import difference
from onnx_gapmil.rewriting.proof.cutting import cut_out, independent, pooled_map
from onnx_gapmil.rewriting.proof.inputs import proof_inputs
from onnx_gapmil.rewriting.proof.tolerances import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.rewriting.repooled.building import Pooling, RepooledGraph

    Arrays = Mapping[str, np.ndarray]

_LARGE = 30.0


def prove_pools(vendor: LoadedModel, made: RepooledGraph) -> Check:
    """Run the repooled model, its grids given beside, and compare.

    Args:
        vendor: the model as its vendor wrote it; what lies beside it lies beside the repooled one.
        made: its repooled form.

    Returns:
        For each repooled head the largest difference and what is allowed; failed too where an output that keeps its
        pool changed.

    Raises:
        ModelError: the vendor's model, or its head alone, cannot be run.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(made.model)
    known = {value.name for value in whole.graph.output}
    wanted = [name for entry in made.poolings for name in (entry.head.logits, entry.grid)]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(wanted) if name not in known)
    if made.analysis.trace.measured:
        runs, where = _whole_runs(vendor, made, whole)
    else:  # its weights exceed what a trial run may read
        runs, where = _head_runs(vendor, made, whole), "the head alone, on made-up maps"
    worst = {entry.head.output: 0.0 for entry in made.poolings}
    failures: dict[str, list[str]] = {entry.head.output: [] for entry in made.poolings}
    count, deployed = 0, 0.0
    for label, arrays, moved, optimized in runs:
        count += 1
        for entry in made.poolings:
            if entry.head.logits not in arrays:  # of another head that ran alone
                continue
            gap = pool_gap(entry, arrays[entry.head.logits], arrays[entry.grid])
            worst[entry.head.output] = max(worst[entry.head.output], gap)
            if moved:
                failures[entry.head.output].append(f"{moved} ({label}).")
            if optimized is not None:
                deployed = max(deployed, pool_gap(entry, optimized[entry.head.logits], arrays[entry.grid]))
    figures = {}
    for entry in made.poolings:
        output, allowed = entry.head.output, TOLERANCE.get(entry.dtype.itemsize, TOLERANCE[4])
        said = failures[output]
        if not count:
            said.append("no input could be run.")
        key = entry.head.aggregator.key
        if worst[output] == np.inf:
            said.append(
                f"output '{output}': its logits by '{key}' are no numbers, or of another shape, where the vendor's are "
                "numbers; infinity is no number for some aggregators."
            )
        elif not worst[output] <= allowed:
            said.append(
                f"output '{output}': its logits differ from '{key}' of its cells by {worst[output]:.2g}; "
                f"{allowed:.0e} is allowed."
            )
        facts: dict[str, Any] = {"optimized": deployed} if made.analysis.trace.measured else {}
        figures[output] = Figure(worst[output], allowed, failures=tuple(said), detail=where, facts=facts)
    return Check("pool", figures)


def pool_gap(entry: Pooling, logits: np.ndarray, grid: np.ndarray) -> float:
    """How far logits are from those of NumPy, by the measure of the module; infinity where they cannot be compared.

    Args:
        entry: which aggregator makes them.
        logits: the repooled logits in any shape, one row for each image but for how the vendor's graph has them.
        grid: (N, K, H, W); (N, C, H, W) where a fitted pool reads the feature grid.
    """
    cells, pool = np.asarray(grid, dtype=np.float64), entry.head.aggregator
    expected = pool_logits(pool, cells, alone=entry.head.alone)
    axis = entry.lifted[0].scores.batch_axis
    found = np.asarray(logits)
    if axis is not None and axis > 0:
        found = np.moveaxis(found, axis, 0)
    if found.size != expected.size:
        return float("inf")
    found = found.reshape(expected.shape).astype(np.float64)
    with np.errstate(over="ignore"):
        rounded = expected.astype(entry.dtype).astype(np.float64) if entry.dtype.itemsize < 8 else expected
    # Whether classes that are no numbers may be is a question to the grid's own proof.
    if isinstance(pool, FittedPool):
        unknown = np.asarray(np.isnan(cells.reshape(len(cells), -1)).any(axis=1))
        nowhere = np.repeat(unknown[:, None], expected.shape[1], axis=1)
        return _gap(found, rounded, pool.reach(cells), nowhere)
    name = pool.name
    no_numbers = np.asarray(np.isnan(cells.reshape(*expected.shape, -1)).any(axis=-1))
    if name in OF_PROBABILITIES:
        gap = _largest(np.abs(_probabilities(found, entry) - _probabilities(rounded, entry)))
        # The logit of what is nearly sure is rounding alone; the logarithm of what is unlikely is not.
        return gap if entry.head.alone else max(gap, _gap(found, rounded, 1.0, no_numbers))
    scale = float(np.abs(cells[np.isfinite(cells)]).max(initial=0.0))
    if name not in LINEAR:
        scale = max(scale, 1.0) / min(pool.parameter or 1.0, 1.0)
    return _gap(found, rounded, scale, no_numbers)


def _probabilities(logits: np.ndarray, entry: Pooling) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        return activate(logits.T, "sigmoid" if entry.head.alone else "softmax")


def _gap(found: np.ndarray, expected: np.ndarray, least: float, no_numbers: np.ndarray) -> float:
    """Largest difference relative to the largest value; infinities must be the same, and NaN only where cells are."""
    finite = np.isfinite(expected)
    same = np.array_equal(found[~finite], expected[~finite], equal_nan=True) and np.isfinite(found[finite]).all()
    if not same or (np.isnan(expected) & ~no_numbers).any():
        return float("inf")
    scale = max(float(np.abs(expected[finite]).max(initial=0.0)), least)
    gap = float(np.abs(found[finite] - expected[finite]).max(initial=0.0))
    return gap / scale if scale > 0 else gap


def _largest(gaps: np.ndarray) -> float:
    worst = float(gaps.max(initial=0.0))
    return worst if np.isfinite(worst) else float("inf")


def _whole_runs(
    vendor: LoadedModel, made: RepooledGraph, whole: onnx.ModelProto
) -> tuple[Iterator[tuple[str, Arrays, str, Arrays | None]], str]:
    """The whole model on the proof's inputs: as the file spells it, and under the runtime's optimization."""
    own = {name for entry in made.poolings for name in entry.head.outputs}
    kept = [value.name for value in vendor.proto.graph.output if value.name not in own]
    names = [name for entry in made.poolings for name in (entry.head.logits, entry.grid)]

    def runs() -> Iterator[tuple[str, Arrays, str, Arrays | None]]:
        # One model after the other, so that the weights of one are in memory at a time.
        first = _session(vendor, vendor.proto, optimize=False)
        known: list[tuple[str, dict[str, np.ndarray], list[Any]]] = []
        asked = [value.name for value in vendor.proto.graph.output]
        for label, feeds, spare in proof_inputs(vendor, ()):
            if spare and known:
                break
            try:
                known.append((label, feeds, first.run(asked, feeds)))
            except Exception:  # noqa: BLE001, S112 - a size that the vendor's own graph does not take
                continue
        del first
        second = _session(vendor, whole, optimize=False)
        answers = []
        for label, feeds, before in known:
            try:
                found = dict(zip([*names, *kept], second.run([*names, *kept], feeds), strict=True))
            except Exception as error:
                raise ModelError(
                    f"{vendor.name}: the repooled model fails where the original runs ({label}): {explain(error)}"
                ) from error
            pairs = zip(asked, before, strict=True)
            moved = [name for name, array in pairs if name in kept and difference(array, found[name]) > 0]
            answers.append(
                (label, feeds, found, f"output '{moved[0]}', which keeps its pool, changed" if moved else "")
            )
        del second
        logits = [entry.head.logits for entry in made.poolings]
        third = _session(vendor, _with_outputs(made.model, logits), optimize=True)
        for label, feeds, found, moved_text in answers:
            optimized = dict(zip(logits, third.run(logits, feeds), strict=True))
            yield label, found, moved_text, optimized

    return runs(), "the whole model, on random inputs of every size of value"


def _with_outputs(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    found = onnx.ModelProto()
    found.CopyFrom(proto)
    known = {value.name for value in found.graph.output}
    found.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return found


def _head_runs(
    vendor: LoadedModel, made: RepooledGraph, whole: onnx.ModelProto
) -> Iterator[tuple[str, Arrays, str, Arrays | None]]:
    """The heads alone, on made-up maps: of either sign, and none below 0 and large enough for what saturates."""
    trace = made.analysis.trace
    for entry in made.poolings:
        sources = independent(whole, [grid.source for head in entry.lifted for grid in head.features], trace)
        names = [entry.head.logits, entry.grid]
        model = cut_out(whole, sources, names, trace, vendor.name)
        load_small_external_data(model, vendor.folder)
        session = cpu_session(model, vendor.folder)
        plain = {name: random_input(pooled_map(name, trace), seed) for seed, name in enumerate(sources)}
        large = {
            name: array if array.dtype.kind in "iub" else (np.abs(array) * _LARGE).astype(array.dtype)
            for name, array in plain.items()
        }
        for label, feeds in (("made-up maps", plain), ("large made-up maps", large)):
            try:
                found = dict(zip(names, session.run(names, feeds), strict=True))
            except Exception as error:
                raise ModelError(f"{vendor.name}: the head alone does not run: {explain(error)}") from error
            yield label, found, "", None


def _session(vendor: LoadedModel, proto: onnx.ModelProto, *, optimize: bool) -> Any:
    loaded = replace(vendor, proto=proto)
    loaded.require_weights()
    light, weights = light_copy(proto)
    load_small_external_data(light, loaded.folder)
    return make_session(
        light.SerializeToString(),
        choose_providers("cpu"),
        optimize=optimize,
        external_data_folder=loaded.folder.resolve() if loaded.folder and has_external_data(proto) else None,
        name=loaded.name,
        weights=weights,
    )


def same_answers(source: LoadedModel, anew: LoadedModel, made: RepooledGraph) -> bool:
    """Whether a file gives the logits that repooling by this version gives, on the proof's inputs.

    Raises:
        ModelError: one of them does not load, or neither runs.
    """
    names = [entry.head.logits for entry in made.poolings]
    first, second = (_session(loaded, _with_outputs(loaded.proto, names), optimize=False) for loaded in (source, anew))
    ran = False
    for _, feeds, _ in proof_inputs(anew, ()):
        try:
            true = second.run(names, feeds)
        except Exception:  # noqa: BLE001, S112 - a size that the vendor's own graph does not take
            continue
        try:
            claimed = first.run(names, feeds)
        except Exception as error:
            raise ModelError(f"it does not run: {explain(error)}") from error
        ran = True
        for entry, one, other in zip(made.poolings, claimed, true, strict=True):
            gap = difference(other, one)
            if not gap <= 2 * TOLERANCE.get(entry.dtype.itemsize, TOLERANCE[4]):
                return False
    if not ran:
        raise ModelError("it runs on none of the inputs that were tried")
    return True
