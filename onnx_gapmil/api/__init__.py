"""The functions and values that a user calls: all that is public, and nothing else is.

What the command line does, these do without the terminal: the same verbs, with the same words for the same things.
One file a verb.
"""

from __future__ import annotations

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.api.audit import audit
from onnx_gapmil.api.bench import bench
from onnx_gapmil.api.check import check
from onnx_gapmil.api.compare import compare
from onnx_gapmil.api.fit_auxiliary import fit_auxiliary
from onnx_gapmil.api.fit_pool import fit_pool
from onnx_gapmil.api.merge import merge
from onnx_gapmil.api.predict import predict
from onnx_gapmil.api.repool import repool
from onnx_gapmil.api.rewrite import rewrite
from onnx_gapmil.api.verify import verify
from onnx_gapmil.api.view import view
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.benchmarking.plan import BenchPlan
from onnx_gapmil.benchmarking.results import BenchReport
from onnx_gapmil.data.opening import open_data
from onnx_gapmil.data.types import DataSet
from onnx_gapmil.errors import (
    DataError,
    GapmilError,
    ImageError,
    InputError,
    LabelsError,
    ModelError,
    PreprocessError,
    ProviderError,
)
from onnx_gapmil.images.decode import read_image
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.resolve import load_preprocess
from onnx_gapmil.lift.verdict import Refusal, UnsupportedHeadError, Verdict
from onnx_gapmil.ort.doctor import Diagnosis, diagnose
from onnx_gapmil.prediction.answers import ImagePrediction, Predictions
from onnx_gapmil.prediction.classifier import Classifier
from onnx_gapmil.prediction.head_answer import HeadPrediction
from onnx_gapmil.prediction.merging import MergedPredictions
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.inspection import Inspection, inspect
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
from onnx_gapmil.rewriting.repool_result import Repool
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.running.grid_session import GridSession
from onnx_gapmil.running.prediction_grid import PredictionGrid
from onnx_gapmil.running.shards import ShardResult
from onnx_gapmil.validation.checking.policy import Policy
from onnx_gapmil.validation.checking.result import CheckReport
from onnx_gapmil.validation.comparing.result import Comparison
from onnx_gapmil.validation.refitting.auxiliary_result import AuxiliaryFit
from onnx_gapmil.validation.refitting.result import PoolFit

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
