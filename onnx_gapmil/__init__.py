"""See which part of an image speaks for which class, given nothing but an ``.onnx`` classifier.

Nearly every image classifier ends in global average pooling and a linear head, so its logits are the mean of the
head applied to every cell of the last feature grid: it is a multiple-instance learner (arXiv 2606.14555). This
package finds that head, rewrites the graph to emit the prediction grid, proves it, and runs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from onnx_gapmil.aggregate.aggregator import Aggregator
    from onnx_gapmil.errors import (
        GapmilError,
        ImageError,
        InputError,
        LabelsError,
        ModelError,
        PreprocessError,
        ProviderError,
    )
    from onnx_gapmil.images.preprocess import Preprocess
    from onnx_gapmil.lift.verdict import Refusal, UnsupportedHeadError, Verdict
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.rewriting.inspection import Inspection, inspect
    from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
    from onnx_gapmil.rewriting.result import Rewrite
    from onnx_gapmil.rewriting.verbs import rewrite, verify
    from onnx_gapmil.running.grid_session import GridSession
    from onnx_gapmil.running.prediction_grid import PredictionGrid

#: Public name -> module. Imported on first use: ``onnx-gapmil --help`` must not wait for ONNX Runtime.
_PUBLIC = {
    "Aggregator": "aggregate.aggregator",
    "Emit": "rewriting.emission.emit",
    "GapmilError": "errors",
    "GridSession": "running.grid_session",
    "ImageError": "errors",
    "InputError": "errors",
    "Inspection": "rewriting.inspection",
    "LabelsError": "errors",
    "ModelError": "errors",
    "PredictionGrid": "running.prediction_grid",
    "Preprocess": "images.preprocess",
    "PreprocessError": "errors",
    "ProofError": "rewriting.proof.report",
    "ProofReport": "rewriting.proof.report",
    "ProviderError": "errors",
    "Refusal": "lift.verdict",
    "Rewrite": "rewriting.result",
    "UnsupportedHeadError": "lift.verdict",
    "Verdict": "lift.verdict",
    "inspect": "rewriting.inspection",
    "rewrite": "rewriting.verbs",
    "verify": "rewriting.verbs",
}

__all__ = [
    "Aggregator",
    "Emit",
    "GapmilError",
    "GridSession",
    "ImageError",
    "InputError",
    "Inspection",
    "LabelsError",
    "ModelError",
    "PredictionGrid",
    "Preprocess",
    "PreprocessError",
    "ProofError",
    "ProofReport",
    "ProviderError",
    "Refusal",
    "Rewrite",
    "UnsupportedHeadError",
    "Verdict",
    "__version__",
    "inspect",
    "rewrite",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"onnx_gapmil.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'onnx_gapmil' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
