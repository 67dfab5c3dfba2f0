"""See which part of an image speaks for which class, given nothing but an ``.onnx`` classifier.

Nearly every image classifier ends in global average pooling and a linear head, so its logits are the mean of the
head applied to every cell of the last feature grid: it is a multiple-instance learner (arXiv 2606.14555). This
package finds that head, rewrites the graph to emit the prediction grid, proves it, and runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from onnx_gapmil.api import (
        Aggregator,
        AuditSummary,
        AuxiliaryFit,
        BenchPlan,
        BenchReport,
        CheckReport,
        Classifier,
        Comparison,
        DataError,
        DataSet,
        Diagnosis,
        Emit,
        GapmilError,
        GridSession,
        HeadPrediction,
        ImageError,
        ImagePrediction,
        InputError,
        Inspection,
        LabelsError,
        MergedPredictions,
        ModelError,
        Policy,
        PoolFit,
        PredictionGrid,
        Predictions,
        Preprocess,
        PreprocessError,
        ProofError,
        ProofReport,
        ProviderError,
        Refusal,
        Repool,
        Rewrite,
        ShardResult,
        UnsupportedHeadError,
        Verdict,
        audit,
        bench,
        check,
        compare,
        diagnose,
        fit_auxiliary,
        fit_pool,
        inspect,
        load_preprocess,
        merge,
        open_data,
        predict,
        read_image,
        repool,
        rewrite,
        verify,
        view,
    )

__all__ = [
    "Aggregator",
    "AuditSummary",
    "AuxiliaryFit",
    "BenchPlan",
    "BenchReport",
    "CheckReport",
    "Classifier",
    "Comparison",
    "DataError",
    "DataSet",
    "Diagnosis",
    "Emit",
    "GapmilError",
    "GridSession",
    "HeadPrediction",
    "ImageError",
    "ImagePrediction",
    "InputError",
    "Inspection",
    "LabelsError",
    "MergedPredictions",
    "ModelError",
    "Policy",
    "PoolFit",
    "PredictionGrid",
    "Predictions",
    "Preprocess",
    "PreprocessError",
    "ProofError",
    "ProofReport",
    "ProviderError",
    "Refusal",
    "Repool",
    "Rewrite",
    "ShardResult",
    "UnsupportedHeadError",
    "Verdict",
    "__version__",
    "audit",
    "bench",
    "check",
    "compare",
    "diagnose",
    "fit_auxiliary",
    "fit_pool",
    "inspect",
    "load_preprocess",
    "merge",
    "open_data",
    "predict",
    "read_image",
    "repool",
    "rewrite",
    "verify",
    "view",
]


def __getattr__(name: str) -> Any:
    """Import what is public on first use: ``onnx-gapmil --help`` must not wait for ONNX Runtime."""
    if name not in __all__:
        raise AttributeError(f"module 'onnx_gapmil' has no attribute '{name}'")
    from onnx_gapmil import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
