"""A model rewritten in memory, as `predict`, `audit` and `GridSession` do: its sum and places are proved once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.files.cache import recall, remember
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.graph.loading import limited_for
from onnx_gapmil.images.places import Places
from onnx_gapmil.ort.quiet import onnxruntime_module
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.proof.place_proof import prove_places
from onnx_gapmil.rewriting.proof.report import ProofError
from onnx_gapmil.rewriting.proof.whole_model import prove
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from onnx_gapmil.graph.loading import ModelSource
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.rewriting.proof.whole_grids import WholeGrids
    from onnx_gapmil.rewriting.result import Rewrite


def rewrite_in_memory(model: ModelSource, *, emit: Emit | str | None = None) -> Rewrite:
    """Rewrite a model and prove its sum and places, unless that was done on this machine before.

    What was proved is kept in the user's cache folder (`onnx_gapmil.files.cache`), by the file's SHA-256, what it is
    to give, and the versions of this package, ONNX, ONNX Runtime and NumPy. A model above 1.5 GB is not run.

    Args:
        model: path of an ``.onnx`` file, a ModelProto, or a model that was read already.
        emit: what the graph is to give beside the logits.

    Raises:
        ModelError: the model cannot be read or run.
        UnsupportedHeadError: no output has a head that can be lifted.
        ProofError: the mean over cells is not the logits, or an original output changed.
    """
    with limited_for(model):
        return _rewritten(model, emit)


def _rewritten(model: ModelSource, emit: Emit | str | None) -> Rewrite:
    made = rewrite_model(model, emit=emit)
    trace, whole = made.trace, made.whole
    if trace is None or whole is None or not trace.measured:
        return made
    versions = (__version__, onnx.__version__, onnxruntime_module().__version__, np.__version__)
    key = ("proof", made.source.sha256, *versions, ",".join(made.heads[0].emit.words))
    known = _read(recall(*key), made)
    if known is None:
        known = _proved(made, whole, trace)
        remember(json_text({output: places.to_json() for output, places in known.items()}), *key)
    return made.with_places(known)


def _proved(made: Rewrite, whole: WholeGrids, trace: Trace) -> dict[str, Places]:
    report = prove(made.source, made.model, made.heads, whole=whole)
    if not report.passed:
        raise ProofError(
            f"{made.source.name}: the model as rewritten in memory failed its proof: {' '.join(report.reasons())}",
            report,
        )
    proved = replace(made.source, proto=made.model)
    found = prove_places(proved, made.heads, lift=whole.make(), whole=whole, trace=trace)
    return {output: entry.places for output, entry in found.items()}


def _read(text: str | None, made: Rewrite) -> dict[str, Places] | None:
    """What was kept; None where nothing was, or not what is kept here."""
    if text is None:
        return None
    try:
        entries = json.loads(text)
        return {head.output: Places.from_json(entries[head.output]) for head in made.heads}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
