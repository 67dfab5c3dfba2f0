"""A model rewritten in memory, as `predict`, `audit` and `GridSession` do: its sum and places are proved once."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.files.cache import recall, remember
from onnx_gapmil.files.identity import stamp
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.graph.loading import limited_for
from onnx_gapmil.graph.weights import weight_files
from onnx_gapmil.images.places import Places
from onnx_gapmil.ort.quiet import onnxruntime_module
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.proof.checks import Figure
from onnx_gapmil.rewriting.proof.place_proof import TOO_LARGE, prove_places
from onnx_gapmil.rewriting.proof.remembered import RememberedProof
from onnx_gapmil.rewriting.proof.whole_model import prove
from onnx_gapmil.rewriting.record import token_mode
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.sizing.record import SIZE_KEY
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.graph.loading import LoadedModel, ModelSource
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.rewriting.proof.whole_grids import WholeGrids
    from onnx_gapmil.rewriting.result import Rewrite

    Proved = tuple[RememberedProof, Mapping[str, Places]]

#: What is kept, and by what proof; another number is another key.
_FORMAT = "3"


def rewrite_in_memory(
    model: ModelSource, *, emit: Emit | str | None = None, class_token: ClassTokenWish | None = None
) -> Rewrite:
    """Rewrite a model and prove its sum and places, unless that was done on this machine before.

    What was proved is kept in the user's cache folder (`onnx_gapmil.files.cache`), by the file's SHA-256, the sizes and
    times of its external data, what it is to give, and the versions of this package, ONNX, ONNX Runtime and NumPy; it
    is ``remembered`` of what is returned. A model above 1.5 GB is not run.

    Args:
        model: path of an ``.onnx`` file, a ModelProto, or a model that was read already.
        emit: what the graph is to give beside the logits.
        class_token: lift heads that read a class token; None refuses them.

    Raises:
        ModelError: the model cannot be read or run.
        UnsupportedHeadError: no output has a head that can be lifted.
        ProofError: the mean over cells is not the logits, or an original output changed.
    """
    with limited_for(model):
        return _rewritten(model, emit, class_token)


def _rewritten(model: ModelSource, emit: Emit | str | None, class_token: ClassTokenWish | None) -> Rewrite:
    made = rewrite_model(model, emit=emit, class_token=class_token)
    trace, whole = made.trace, made.whole
    if trace is None or whole is None:
        return made
    if not trace.measured:
        left_out = {head.output: Figure(skipped=TOO_LARGE) for head in made.heads}
        return replace(made, remembered=RememberedProof(left_out, left_out, 0.0, cached=False))
    versions = (_FORMAT, __version__, onnx.__version__, onnxruntime_module().__version__, np.__version__)
    key: tuple[str, ...] = (
        "proof",
        made.source.sha256,
        _external(made.source),
        *versions,
        ",".join(made.heads[0].emit.words),
    )
    if (mode := token_mode(made.heads)) is not None:
        key = (*key, f"class token {mode}")
    if (sized := made.source.metadata.get(SIZE_KEY)) is not None:
        key = (*key, f"size {sized}")
    known = _read(recall(*key), made)
    if known is None:
        known = _proved(made, whole, trace)
        remember(_text(*known), *key)
    proof, places = known
    return replace(made.with_places(places), remembered=proof)


def _proved(made: Rewrite, whole: WholeGrids, trace: Trace) -> Proved:
    start = time.perf_counter()
    report = prove(made.source, made.model, made.heads, whole=whole)
    report.require_passed(f"{made.source.name}: the model as rewritten in memory")
    proved = replace(made.source, proto=made.model)
    found = prove_places(proved, made.heads, lift=whole.make(), whole=whole, trace=trace)
    figures = {output: entry.figure(output) for output, entry in found.items()}
    sums = next(check for check in report.checks if check.name == "sum")
    proof = RememberedProof(sums.figures, figures, time.perf_counter() - start, cached=False)
    return proof, {output: entry.places for output, entry in found.items()}


def _external(source: LoadedModel) -> str:
    """What tells weights in other files from those that were proved, without reading them."""
    if source.folder is None:
        return ""
    return ";".join(f"{name} {stamp(source.folder / name)}" for name in weight_files(source.proto))


def _text(proof: RememberedProof, places: Mapping[str, Places]) -> str:
    """What is kept."""
    entries = {
        output: {"sum": asdict(figure), "place": asdict(proof.places[output]), "places": places[output].to_json()}
        for output, figure in proof.sums.items()
    }
    return json_text({"seconds": proof.seconds, "heads": entries})


def _read(text: str | None, made: Rewrite) -> Proved | None:
    """What was kept; None where nothing was, or not what is kept here."""
    if text is None:
        return None
    try:
        kept = json.loads(text)
        entries = {head.output: kept["heads"][head.output] for head in made.heads}
        sums, figures = (
            {output: _figure(entry[name]) for output, entry in entries.items()} for name in ("sum", "place")
        )
        places = {output: Places.from_json(entry["places"]) for output, entry in entries.items()}
        return RememberedProof(sums, figures, float(kept["seconds"]), cached=True), places
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _figure(entry: Mapping[str, Any]) -> Figure:
    measure, allowed = (None if entry[name] is None else float(entry[name]) for name in ("measure", "allowed"))
    failures = tuple(str(said) for said in entry["failures"])
    return Figure(measure, allowed, str(entry["skipped"]), failures, str(entry["detail"]))
