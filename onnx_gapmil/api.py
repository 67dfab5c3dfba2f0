"""The functions and values that a user calls: all that is public, and nothing else is.

What the command line does, these do without the terminal: the same verbs, with the same words for the same things.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.auditing.audit import audit as run_audit
from onnx_gapmil.auditing.preparation import Request
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.benchmarking.benchmark import bench as run_bench
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
from onnx_gapmil.files.guarding import watched_reads
from onnx_gapmil.images.decode import read_image
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.resolve import load_preprocess
from onnx_gapmil.lift.verdict import Refusal, UnsupportedHeadError, Verdict
from onnx_gapmil.ort.doctor import Diagnosis, diagnose
from onnx_gapmil.prediction.answers import HeadPrediction, ImagePrediction, Predictions
from onnx_gapmil.prediction.classifier import Classifier
from onnx_gapmil.prediction.predicting import PredictionRun
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.inspection import Inspection, inspect
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.rewriting.verbs import rewrite, verify
from onnx_gapmil.running.grid_session import GridSession
from onnx_gapmil.running.prediction_grid import PredictionGrid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

__all__ = [
    "Aggregator",
    "AuditSummary",
    "BenchPlan",
    "BenchReport",
    "Classifier",
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
    "ModelError",
    "PredictionGrid",
    "Predictions",
    "Preprocess",
    "PreprocessError",
    "ProofError",
    "ProofReport",
    "ProviderError",
    "Refusal",
    "Rewrite",
    "UnsupportedHeadError",
    "Verdict",
    "audit",
    "bench",
    "diagnose",
    "inspect",
    "load_preprocess",
    "open_data",
    "predict",
    "read_image",
    "rewrite",
    "verify",
]


def predict(
    model: str | Path | onnx.ModelProto,
    images: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    preprocess: Preprocess | str | Path | None = None,
    names: str | Path | Sequence[str] | None = None,
    head: str | None = None,
    provider: str = "auto",
    batch: int | None = None,
    top: int = 5,
    pictures: bool = True,
    save: Emit | str | None = None,
) -> Predictions:
    """Say which part of each photo speaks for which class.

    One photo in a notebook is simpler by `Classifier.predict`, which also keeps the photo and draws overlays.

    Args:
        model: path of an ``.onnx`` file, or a ModelProto. A model that was not rewritten is rewritten in memory.
        images: files, folders or globs.
        output: a folder for ``predictions.json``, pictures and arrays; None writes nothing.
        preprocess: how photos become inputs: a `Preprocess`, a preset's name, or a JSON file; looked for beside the
            model and in it if None, else guessed.
        names: class names: a file, or one for each logit; looked for beside the model if None.
        head: the output to use, of a model with several; all lifted ones if None.
        provider: ``auto`` (CUDA if it works, else CPU), ``cuda``, ``cpu``, ``tensorrt``, ...
        batch: photos at a time; None keeps the hardware busy.
        top: classes listed at image level.
        pictures: write a PNG for each photo and head into ``output``.
        save: what an NPZ for each photo in ``output`` holds beside logits and cell rectangles, such as ``"grid"``;
            None writes none.

    Returns:
        One `ImagePrediction` for each photo that could be read, in order, with logits (K,) and grid (K, rows,
        columns), and the error of each that could not.

    Raises:
        InputError: model, images, preprocessing, names, provider or folder will not do; see the errors below it.
        UnsupportedHeadError: no output has a head that can be lifted.
    """
    paths = [images] if isinstance(images, str | Path) else images
    with (
        watched_reads(),
        closing(
            PredictionRun(
                model,
                [str(path) for path in paths],
                Path(output) if output is not None else None,
                preprocess=preprocess,
                names=names,
                head=head,
                provider=provider,
                batch=batch,
                top=top,
                pictures=pictures and output is not None,
                arrays=Emit.of(save) if save is not None and output is not None else None,
            )
        ) as run,
    ):
        return run.all()


def audit(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    labels: str | Path | None = None,
    names: str | Path | None = None,
    class_map: str | Path | None = None,
    label_offset: int | None = None,
    preprocess: str | Path | None = None,
    provider: str = "auto",
    head: str | None = None,
    batch: int | None = None,
    gallery: int = 300,
    restart: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> AuditSummary:
    """Measure what a model sees in labelled images, and write a report.

    A run that was stopped goes on where it was when it is called again with the same arguments.

    Args:
        model: path of an ``.onnx`` file.
        data: a folder of classes, a CSV or JSON-lines file, or a COCO, Pascal VOC or ILSVRC data set; see `open_data`.
        output: the folder for ``summary.json``, ``report.html``, ``images.parquet`` and ``classes.parquet``.
        labels: a label file for the images of the folder ``data``.
        names: a file of the model's class names; looked for beside the model if None.
        class_map: a file that translates labels to classes.
        label_offset: class = label + offset, for labels that are numbers; found out if None.
        preprocess: a preset's name, a JSON file, or ``auto``: found out from a few dozen of the labelled images.
        provider: where to run.
        head: the output to audit, of a model with several; the first lifted one if None.
        batch: images at a time.
        gallery: images to show in the report, the most telling first.
        restart: begin anew, even if an unfinished run could go on.
        progress: called after every batch with the images done and all images.

    Returns:
        The content of ``summary.json``.

    Raises:
        InputError: model, data, labels, names, preprocessing, provider or folder will not do.
        UnsupportedHeadError: the model has no head that can be lifted.
    """
    request = Request(
        model=Path(model),
        data=Path(data),
        labels=_path(labels),
        names=_path(names),
        class_map=_path(class_map),
        offset=label_offset,
        preprocess=str(preprocess) if preprocess is not None else None,
        provider=provider,
        head=head,
        batch=batch,
    )
    told = progress if progress is not None else lambda _done, _total: None
    return run_audit(
        request, Path(output), gallery=gallery, restart=restart, progress=lambda found: told(found.done, found.total)
    )


def _path(value: str | Path | None) -> Path | None:
    return Path(value) if value is not None else None


def bench(model: str | Path | onnx.ModelProto, plan: BenchPlan | None = None) -> BenchReport:
    """Measure what the prediction grid of a model costs on this machine: time, memory and multiply-adds.

    Original and rewritten graphs run in turn, so that the ratio holds on a busy machine too. Ctrl-C ends it, and the
    report has what was measured until then.

    Args:
        model: the vendor's model, not rewritten.
        plan: what to measure: emissions, batch sizes, providers, precisions, for how long.

    Raises:
        InputError: the plan does not fit the model, or the model was rewritten before.
        UnsupportedHeadError: no output has a head that can be lifted.
    """
    return run_bench(model, plan)
