"""What an opened graph gives at the original size, held against the vendor's."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.errors import GapmilError, ModelError
from onnx_gapmil.files.cache import recall, remember
from onnx_gapmil.graph.light import light_copy
from onnx_gapmil.graph.loading import load_small_external_data
from onnx_gapmil.ort.cpu import cpu_session
from onnx_gapmil.ort.errors import run_error
from onnx_gapmil.ort.limits import trial_run
from onnx_gapmil.ort.quiet import onnxruntime_module
from onnx_gapmil.rewriting.proof.inputs import proof_inputs
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
from onnx_gapmil.rewriting.proof.tolerances import QUANTIZED_TOLERANCE, TOLERANCE
from onnx_gapmil.rewriting.sizing.record import said_size
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.rewriting.sizing.record import Size

#: So many random inputs of different scales are run.
_RUNS = 3
_ROUNDS = frozenset({"QuantizeLinear", "QLinearConv", "ConvInteger", "DynamicQuantizeLinear"})


def residual_at_original(vendor: LoadedModel, opened: LoadedModel, size: Size) -> float:
    """Largest difference of any output, relative to that output's largest value; 0 where all bits are equal.

    Args:
        vendor: the model as it is.
        opened: the changed graph, declared at the original size.
        size: what it is opened for, for messages.

    Raises:
        ProofError: it is more than rounding explains.
        ModelError: one of them cannot be run.
    """
    versions = (__version__, onnx.__version__, onnxruntime_module().__version__, np.__version__)
    key = ("opened", vendor.sha256, *versions, *(node.SerializeToString().hex()[:200] for node in _new(vendor, opened)))
    known = recall(*key)
    if known is not None:
        return float(known)
    found, allowed = _measured(vendor, opened)
    if not found <= allowed:
        message = (
            f"{vendor.name}: opened for --size {said_size(size)}, its graph does not give the vendor's outputs at the "
            f"original size: the largest difference is {found:.2g} of the largest value, and {allowed:.2g} is rounding."
        )
        raise ProofError(message, ProofReport.of_failures([message]))
    remember(repr(found), *key)
    return found


def _new(vendor: LoadedModel, opened: LoadedModel) -> list[onnx.NodeProto]:
    """The nodes that are not the vendor's."""
    known = {node.SerializeToString() for node in vendor.proto.graph.node}
    return [node for node in opened.proto.graph.node if node.SerializeToString() not in known]


def _measured(vendor: LoadedModel, opened: LoadedModel) -> tuple[float, float]:
    """The residual, and what rounding explains."""
    sessions = []
    for loaded in (vendor, opened):
        proto, weights = light_copy(loaded.proto)
        load_small_external_data(proto, loaded.folder)
        sessions.append((cpu_session(proto, loaded.folder, weights=weights), weights))
    worst, width, ran = 0.0, 8, False
    for _, feeds, spare in itertools.islice(proof_inputs(vendor, ()), _RUNS):
        if spare and ran:
            break
        try:
            with trial_run():
                theirs, ours = (session.run(None, feeds) for session, _ in sessions)
        except GapmilError:
            raise
        except Exception as error:
            raise run_error(error, f"{vendor.name}: a run at the original size") from error
        ran = True
        for first, second in zip(theirs, ours, strict=True):
            worst = max(worst, _gap(first, second))
            if isinstance(first, np.ndarray) and first.dtype.kind == "f":
                width = min(width, first.dtype.itemsize)
    if not ran:
        raise ModelError(f"{vendor.name} runs at no input that could be made up, so it cannot be opened for a size.")
    rounds = any(node.op_type in _ROUNDS for node in vendor.proto.graph.node)
    return worst, QUANTIZED_TOLERANCE if rounds else TOLERANCE[width]


def _gap(theirs: object, ours: object) -> float:
    """0 where two outputs are equal bit for bit; infinite where they are of another kind, or not finite elsewhere."""
    if not isinstance(theirs, np.ndarray) or not isinstance(ours, np.ndarray) or theirs.dtype.kind not in "fiu":
        return 0.0 if np.array_equal(np.asarray(theirs), np.asarray(ours)) else np.inf
    if theirs.shape != ours.shape or theirs.dtype != ours.dtype:
        return np.inf
    if theirs.tobytes() == ours.tobytes():
        return 0.0
    first, second = theirs.astype(np.float64), ours.astype(np.float64)
    if not np.array_equal(np.isfinite(first), np.isfinite(second)):
        return np.inf
    seen = np.isfinite(first)
    scale = np.abs(first[seen]).max(initial=0.0)
    return float(np.abs(first[seen] - second[seen]).max(initial=0.0) / (scale or 1.0))
