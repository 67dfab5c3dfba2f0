"""The proof of a finer output: the vendor's outputs untouched, its logits against NumPy, its grid lifted and proved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.light import light_copy
from onnx_gapmil.graph.loading import LoadedModel, has_external_data, load_small_external_data
from onnx_gapmil.ort.errors import explain
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.ort.session import make_session
from onnx_gapmil.rewriting.auxiliary.building import finer_axes
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.proof.comparison import difference
from onnx_gapmil.rewriting.proof.inputs import proof_inputs
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
from onnx_gapmil.rewriting.proof.tolerances import TOLERANCE
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import proof_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.rewriting.auxiliary.building import AuxiliaryGraph, AuxiliaryLayer
    from onnx_gapmil.rewriting.auxiliary.maps import AuxiliaryMap
    from onnx_gapmil.rewriting.record import HeadRecord

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AuxiliaryProof:
    """What was proved of a finer output.

    Attributes:
        grid: the proof of its grid, as `rewrite` proves it.
        head: what is known of the head of the new output, its places as they were proved.
        residual: the largest difference of its logits from the formula in float64 NumPy, relative to the largest.
        allowed: of that.
        optimized: the largest difference of an output of the vendor's under ONNX Runtime's optimization, relative to
            its largest value; without optimization they are equal bit for bit.
    """

    grid: ProofReport
    head: HeadRecord
    residual: float
    allowed: float
    optimized: float

    def to_json(self) -> dict[str, Any]:
        """As the report has it."""
        return {
            "logits": {"residual": self.residual, "allowed": self.allowed},
            "vendors_outputs": {"equal": True, "optimized": self.optimized},
            "grid": self.grid.to_json(),
        }


def finer_grid(
    head: LiftedHead, grid: Array, maps: Mapping[str, Array], layers: Sequence[AuxiliaryLayer], *, scores: bool
) -> Array:
    """The grid (N, K, H, W), by the formula in `onnx_gapmil.rewriting.auxiliary.building`; its mean are the logits.

    Args:
        head: the vendor's.
        grid: (N, K, h, w) of it.
        maps: by tensor, (N, C, H, W).
        layers: the finest first.
        scores: whether the maps count in the scores.
    """
    finest = layers[0].map
    beside = np.zeros((*grid.shape[:2], *maps[finest.tensor].shape[2:]))
    for layer in layers:
        answers = np.einsum("kc,nchw->nkhw", layer.weight.astype(np.float64), maps[layer.map.tensor])
        beside += _read(layer.map, finest, answers + layer.offset.astype(np.float64)[:, None, None])
    total = _read(head, finest, grid) + beside
    fine = total - total.mean(axis=(2, 3), keepdims=True) + grid.mean(axis=(2, 3), keepdims=True)
    return np.asarray(fine + (beside.mean(axis=(2, 3), keepdims=True) if scores else 0.0))


def _read(coarse: AuxiliaryMap | LiftedHead, finest: AuxiliaryMap, maps: Array) -> Array:
    """Maps of the traced size, or of another with as many times more cells."""
    found = maps
    for axis, line in zip((2, 3), finer_axes(coarse, finest), strict=True):
        cells = found.shape[axis]
        grown = replace(line, cells=cells, finer=line.finer + line.times * (cells - line.cells))
        found = found if line.same else grown.read(found, axis)
    return found


def prove_auxiliary(
    vendor: LoadedModel, made: AuxiliaryGraph, layers: Sequence[AuxiliaryLayer], *, scores: bool
) -> AuxiliaryProof:
    """Run the model, and lift its new output.

    Args:
        vendor: the model as its vendor wrote it.
        made: it with the new output.
        layers: what was built.
        scores: whether the maps count in the scores.

    Raises:
        ProofError: an output of the vendor's changed, the logits are others, or the new output's grid fails its proof
            or has no known places.
        ModelError: the model cannot be run.
    """
    residual = _compared(vendor, made, layers, scores=scores)
    allowed = TOLERANCE[4]
    if not residual <= allowed:
        raise _failed(
            f"{vendor.name}: the logits of '{made.output}' differ from NumPy's by {residual:.2g}; {allowed:.0e} is "
            "allowed."
        )
    finer = replace(vendor, proto=made.model, sha256="")
    lifted = rewrite_model(finer, emit=Emit(features=False), head=made.output)
    report = proof_of(lifted)
    if report is None:
        raise ModelError(f"{vendor.name} holds a rewritten model within a rewritten one.")
    report.require_passed(f"{vendor.name}: the grid of '{made.output}'")
    head = lifted.with_proof(report).heads[0]
    if not head.arranged or not head.places.known:
        why = head.places.reason or head.note
        raise ProofError(f"{vendor.name}: where the cells of '{made.output}' look is not confirmed: {why}.", report)
    return AuxiliaryProof(report, head, residual, allowed, _optimized(vendor, made))


def _compared(vendor: LoadedModel, made: AuxiliaryGraph, layers: Sequence[AuxiliaryLayer], *, scores: bool) -> float:
    """The largest difference of the new logits from NumPy's, on the proof's inputs.

    Raises:
        ProofError: an output of the vendor's changed.
        ModelError: nothing can be run.
    """
    names = [value.name for value in vendor.proto.graph.output]
    wanted = list(dict.fromkeys([made.logits, made.grid, *made.maps.values()]))
    whole = onnx.ModelProto()
    whole.CopyFrom(made.model)
    known = {value.name for value in whole.graph.output}
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in known)
    first, second = _session(vendor, vendor.proto, optimize=False), _session(vendor, whole, optimize=False)
    worst, ran = 0.0, False
    for label, feeds, spare in proof_inputs(vendor, ()):
        if spare and ran:
            break
        try:
            before = first.run(names, feeds)
        except Exception:  # noqa: BLE001, S112 - a size that the vendor's own graph does not take
            continue
        try:
            after = second.run([*names, *wanted], feeds)
        except Exception as error:
            raise ModelError(f"{vendor.name}: it fails where the original runs ({label}): {explain(error)}") from error
        ran = True
        found = dict(zip([*names, *wanted], after, strict=True))
        moved = [name for name, array in zip(names, before, strict=True) if difference(array, found[name]) > 0]
        if moved:
            raise _failed(f"{vendor.name}: output '{moved[0]}' changed ({label}).")
        arrays = {tensor: found[name].astype(np.float64) for tensor, name in made.maps.items()}
        grid = found[made.grid].astype(np.float64)
        expected = finer_grid(made.head, grid, arrays, layers, scores=scores)
        # Relative to the cells that are added up: the mean of many that cancel says nothing of their rounding.
        scale = max(float(np.abs(expected).max()), 1e-30)
        worst = max(worst, float(np.abs(found[made.logits] - expected.mean(axis=(2, 3))).max()) / scale)
    if not ran:
        raise ModelError(f"{vendor.name} runs on none of the inputs that were tried.")
    return worst


def _optimized(vendor: LoadedModel, made: AuxiliaryGraph) -> float:
    """The largest difference of the vendor's outputs under the runtime's optimization."""
    names = [value.name for value in vendor.proto.graph.output]
    first, second = _session(vendor, vendor.proto, optimize=True), _session(vendor, made.model, optimize=True)
    worst = 0.0
    for _, feeds, spare in proof_inputs(vendor, ()):
        if spare:
            break
        try:
            before = first.run(names, feeds)
        except Exception:  # noqa: BLE001, S112 - a size that the vendor's own graph does not take
            continue
        after = second.run(names, feeds)
        worst = max(worst, *(difference(one, other) for one, other in zip(before, after, strict=True)))
    return worst


def _failed(what: str) -> ProofError:
    return ProofError(what, ProofReport.of_failures([what]))


def _session(vendor: LoadedModel, proto: onnx.ModelProto, *, optimize: bool) -> Any:
    loaded = replace(vendor, proto=proto)
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
