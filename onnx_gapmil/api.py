"""The functions and values that a user calls: all that is public, and nothing else is.

What the command line does, these do without the terminal: the same verbs, with the same words for the same things.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.auditing.audit import audit_shard
from onnx_gapmil.auditing.preparation import Request
from onnx_gapmil.auditing.sizes import alone, parse_sizes
from onnx_gapmil.auditing.sizes import audit_sizes as run_audit
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
from onnx_gapmil.files.remote import given_place
from onnx_gapmil.fitting.pooling.wish import parse_fit
from onnx_gapmil.images.decode import read_image
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.resolve import load_preprocess
from onnx_gapmil.lift.verdict import Refusal, UnsupportedHeadError, Verdict
from onnx_gapmil.ort.doctor import Diagnosis, diagnose
from onnx_gapmil.prediction.answers import ImagePrediction, Predictions
from onnx_gapmil.prediction.classifier import Classifier
from onnx_gapmil.prediction.head_answer import HeadPrediction
from onnx_gapmil.prediction.merging import MergedPredictions
from onnx_gapmil.prediction.page.written import PageWish
from onnx_gapmil.prediction.predicting import PredictionRun
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.inspection import Inspection, inspect
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
from onnx_gapmil.rewriting.repool_result import Repool
from onnx_gapmil.rewriting.repooling import repool
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.rewriting.sizing.record import parse_size
from onnx_gapmil.rewriting.verbs import verify as run_verify
from onnx_gapmil.running.grid_session import GridSession
from onnx_gapmil.running.prediction_grid import PredictionGrid
from onnx_gapmil.running.shards import Shard, ShardResult, shard_of
from onnx_gapmil.validation.certificate.certified import rewrite_certified
from onnx_gapmil.validation.certificate.replay import replay
from onnx_gapmil.validation.checking.check import check as run_check
from onnx_gapmil.validation.checking.measuring import DataRequest
from onnx_gapmil.validation.checking.policy import Policy
from onnx_gapmil.validation.checking.result import CheckReport
from onnx_gapmil.validation.comparing.compare import compare as run_compare
from onnx_gapmil.validation.comparing.compare import compare_shard
from onnx_gapmil.validation.comparing.request import CompareRequest, Side
from onnx_gapmil.validation.comparing.result import Comparison
from onnx_gapmil.validation.merging import merge as run_merge
from onnx_gapmil.validation.refitting.refit import refit
from onnx_gapmil.validation.refitting.request import FitRequest
from onnx_gapmil.validation.refitting.result import PoolFit
from onnx_gapmil.viewing.view import make_server, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import onnx

    from onnx_gapmil.graph.loading import ModelSource
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.lift.verdict import Readout

__all__ = [
    "Aggregator",
    "AuditSummary",
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


def rewrite(
    model: ModelSource,
    output: str | Path | None = None,
    *,
    readout: Readout = "contribution",
    emit: Emit | str | None = None,
    as_deployed: bool = True,
    write: bool = True,
    certificate: str | Path | None = None,
    head: str | None = None,
    class_token: ClassTokenWish | None = None,
    size: tuple[int, int] | int | str | None = None,
) -> Rewrite:
    """Rewrite a model so that it also emits its prediction grid, prove it, and write it.

    Args:
        model: path of an ``.onnx`` file, a ModelProto, or a model that was read already.
        output: where to write; ``MODEL.gapmil.onnx`` beside the model if None. A ModelProto is only written if
            this is given.
        readout: ``contribution`` (mean over cells = logits, always) or ``instance`` (the head applied to each cell).
        emit: what the graph is to give beside the logits, as an `Emit` or its text; features and grid if None. Nothing
            else is computed. The proof knows the whole grid all the same.
        as_deployed: compare the vendor's outputs under ONNX Runtime's optimization too, and do what keeps them equal;
            False leaves that out.
        write: False leaves the disk alone.
        certificate: where to write what was proved, bound to the files; None writes none.
        head: the output whose head alone is lifted, of a model with several; the new outputs then have no suffix.
        class_token: lift heads that read a class token (ViT, DeiT, CLIP, DINOv2): ``direct`` takes what each attention
            brought the token from each patch, ``through`` lets it pass the MLPs behind as well, ``auto`` is the one
            that measured better. None refuses them; heads without one are lifted as they are.
        size: (height, width) of the input in pixels, or one number for both, where it is not to be the model's own: a
            larger input has a finer grid. What the graph fixes is opened where its trunk allows it, and proved to be
            the vendor's at the original size.

    Returns:
        The rewritten model with its proof; the model itself, unwritten, if it was rewritten before.

    Raises:
        ModelError: the model cannot be read or run; or it was rewritten before, with other emissions than those asked
            for.
        UnsupportedHeadError: no output has a head that can be lifted; the refusal says why.
        ProofError: the rewritten model failed its proof; nothing is written.
        InputError: the place to write to will not do, ``emit`` asks for what a head has not, or there is nothing to
            certify.
    """
    return rewrite_certified(
        model,
        output,
        readout=readout,
        emit=emit,
        as_deployed=as_deployed,
        write=write,
        certificate=certificate,
        head=head,
        class_token=class_token,
        size=parse_size(size),
    )


def verify(
    original: ModelSource | None = None,
    rewritten: ModelSource | None = None,
    *,
    batches: Sequence[tuple[str, np.ndarray]] = (),
    provider: str = "auto",
    certificate: str | Path | None = None,
    head: str | None = None,
) -> ProofReport:
    """Prove that one file is the rewritten form of another, as they would be deployed; or replay a certificate.

    Args:
        original: the vendor's model; with a certificate a path, or None for the file that it names beside it.
        rewritten: the model that is claimed to be its rewritten form; with a certificate as ``original``.
        batches: further inputs as (name for people, array of the input's shape and dtype); random ones are always
            run. A certificate has its own.
        provider: where to run; ``auto``, ``cuda``, ``cpu``, ...
        certificate: what `rewrite` wrote: its claims are computed anew here and held against it.
        head: the output whose head alone is proved, of a model with several.

    Returns:
        What was measured; ``passed`` tells the result.

    Raises:
        InputError: the certificate is missing, torn or none; or models and inputs are not given as they must be.
        ModelError: one of them cannot be read or run, or the second is not a rewritten model, or of another one.
        ProofError: the numbers are right, and what the second's record says of them is not.
        ProviderError: the provider was asked for by name and is not really used.
    """
    if certificate is None:
        if original is None or rewritten is None:
            raise InputError("name the original and the rewritten model, or a certificate.")
        return run_verify(original, rewritten, batches=batches, provider=provider, head=head)
    paths = [model for model in (original, rewritten) if model is None or isinstance(model, str | Path)]
    if batches or head is not None or len(paths) != 2:
        raise InputError("a certificate is replayed on files, on its own inputs and as a whole.")
    first, second = (_path(path) for path in paths)
    return replay(Path(certificate), first, second, provider=provider)


def predict(
    model: str | Path | onnx.ModelProto,
    images: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    preprocess: Preprocess | str | Path | None = None,
    names: str | Path | Sequence[str] | None = None,
    head: str | None = None,
    classes: Sequence[str | int] | None = None,
    thresholds: float | str | Path | Sequence[float] | None = None,
    provider: str = "auto",
    batch: int | None = None,
    top: int = 5,
    pictures: bool = True,
    save: Emit | str | None = None,
    no_guess: bool = False,
    class_token: ClassTokenWish | None = None,
    size: tuple[int, int] | int | str | None = None,
    stitch: int = 1,
    tables: Sequence[str] = (),
    shard: Shard | str | None = None,
    page: bool = False,
    fast_decode: bool = False,
) -> Predictions:
    """Say which part of each photo speaks for which class.

    One photo in a notebook is simpler by `Classifier.predict`, which also keeps the photo and draws overlays.

    Args:
        model: path of an ``.onnx`` file, or a ModelProto. A model that was not rewritten is rewritten in memory.
        images: files, folders or globs.
        output: a folder for ``predictions.json``, pictures and arrays; None writes nothing.
        preprocess: how photos become inputs: a `Preprocess`, a preset's name, or a JSON file; looked for beside the
            model and in it if None, else guessed.
        names: class names: a file, or one for each class; looked for beside the model if None.
        head: the output to use, of a model with several; all lifted ones if None.
        classes: names or numbers of the classes to report and draw, whether they win anything or not; None for all.
        thresholds: probabilities above which a class of a multi-label head is present: a number, a file, or one for
            each class; 0.5 if None.
        provider: ``auto`` (CUDA if it works, else CPU), ``cuda``, ``cpu``, ``tensorrt``, ...
        batch: photos at a time; None keeps the hardware busy.
        top: classes listed at image level.
        pictures: write a PNG for each photo and head into ``output``.
        save: what an NPZ for each photo in ``output`` holds beside logits and cell rectangles, such as ``"grid"``;
            None writes none.
        no_guess: refuse a preprocessing that, in whole or in part, would be a guess.
        class_token: lift heads that read a class token; see `rewrite`. A rewritten or repooled file decides by itself.
        size: of the input, where it is not to be the model's own; see `rewrite`. Photos are resized and cropped by the
            same rule, to this size.
        stitch: 2 makes the grids twice as fine at the model's own size, of shifted runs; the answer stays that of the
            unshifted image, and is not the mean of a stitched grid.
        tables: what is written of all photos into ``output``: ``coco``, all boxes in ``predictions.coco.json``;
            ``parquet``, a row a photo in ``predictions.parquet``.
        shard: the part to do, as ``"0/4"``, into a folder of its own; `merge` then makes the whole of all parts.
        page: write ``predictions.html``, all photos on one page to point at, into ``output``.
        fast_decode: decode large JPEGs smaller than they are, which is quicker and not exact.

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
                classes=classes,
                thresholds=thresholds,
                provider=provider,
                batch=batch,
                top=top,
                pictures=pictures and output is not None,
                arrays=Emit.of(save) if save is not None and output is not None else None,
                no_guess=no_guess,
                class_token=class_token,
                size=parse_size(size),
                stitch=stitch,
                tables=tables,
                shard=shard_of(shard),
                page=PageWish() if page else None,
                fast_decode=fast_decode,
            )
        ) as run,
    ):
        return run.all()


def merge(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    gallery: int | None = None,
    page_classes: int | None = None,
    model: str | Path | None = None,
    data: str | Path | None = None,
) -> AuditSummary | Comparison | MergedPredictions:
    """Put the shards of an audit, a comparison or a prediction together: the results of one run over all images.

    Args:
        folders: the result folders of all shards, in any order.
        output: the folder for the results of the whole.
        gallery: images to show in the report; None for as many as the verb shows.
        page_classes: of each of these the classes whose cells the report keeps; None for as many as the verb keeps.
        model: of an audit, where the model lies, if it is not where the shards had it.
        data: of an audit or a comparison, where the images lie, if they are not where the shards had them.

    Returns:
        What `audit` or `compare` returns; of predictions where they were written, and how many.

    Raises:
        InputError: a shard is missing, there twice, not finished, or of another run; or model, data or folder will not
            do.
    """
    merged = run_merge(
        [Path(folder) for folder in folders],
        Path(output),
        gallery=gallery,
        page_classes=page_classes,
        model=_path(model),
        data=_path(data),
    )
    return merged.result


def view(
    model: str | Path,
    photos: str | Path | Sequence[str | Path] = (),
    *,
    new: str | Path | None = None,
    preprocess: str | Path | None = None,
    names: str | Path | None = None,
    head: str | None = None,
    thresholds: float | str | Path | None = None,
    preprocess_new: str | Path | None = None,
    names_new: str | Path | None = None,
    head_new: str | None = None,
    provider: str = "auto",
    class_token: ClassTokenWish | None = None,
    size: tuple[int, int] | int | str | None = None,
    no_guess: bool = False,
    port: int = 0,
    browser: bool = True,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a page on this machine to look and to touch, until the process is interrupted.

    It listens on 127.0.0.1 alone, and answers who knows the random token in its address alone.

    Args:
        model: path of an ``.onnx`` file.
        photos: files, folders or globs to begin with; others are dropped on the page.
        new: another model, which is shown beside it.
        preprocess: see `predict`, as for names, head, thresholds, provider, class_token and no_guess.
        names: of the first model.
        head: of the first model.
        thresholds: of the first model.
        preprocess_new: of the other model.
        names_new: of the other model.
        head_new: of the other model.
        provider: where to run.
        class_token: of both models.
        size: of the input of both models, where it is not to be their own; see `predict`.
        no_guess: refuse a preprocessing that would be a guess.
        port: to listen on; any that is free if 0.
        browser: open the page in the user's browser.
        ready: is called with the page's address, once it can be opened.

    Raises:
        InputError: model, photos, preprocessing, names, provider or port will not do; see the errors below it.
        UnsupportedHeadError: no output has a head that can be lifted.
        KeyboardInterrupt: the process was interrupted; the server is closed then.
    """
    both: dict[str, Any] = {"class_token": class_token, "size": parse_size(size), "no_guess": no_guess or None}
    own = {"preprocess": preprocess, "names": names, "head": head, "thresholds": thresholds, **both}
    other = {"preprocess": preprocess_new, "names": names_new, "head": head_new, **both}
    asked = [(model, own)] if new is None else [(model, own), (new, other)]
    given = [(path, {key: value for key, value in options.items() if value is not None}) for path, options in asked]
    paths = [photos] if isinstance(photos, str | Path) else photos
    with watched_reads():
        server = make_server(given, [str(path) for path in paths], provider=provider, port=port)
        serve(server, browser=browser, ready=ready)


@overload
def audit(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    shard: Shard | str,
    **options: Any,
) -> ShardResult: ...


@overload
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
    thresholds: float | str | Path | None = None,
    batch: int | None = None,
    gallery: int = 300,
    page_classes: int | None = None,
    restart: bool = False,
    no_guess: bool = False,
    progress: Callable[[int, int], None] | None = None,
    class_token: ClassTokenWish | None = None,
    size: tuple[int, int] | int | str | list[tuple[int, int] | int | str] | None = None,
    stitch: int = 1,
    fast_decode: bool = False,
) -> AuditSummary: ...


def audit(  # type: ignore[misc]  # of a shard, the other options are those of the whole
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
    thresholds: float | str | Path | None = None,
    batch: int | None = None,
    gallery: int = 300,
    page_classes: int | None = None,
    restart: bool = False,
    no_guess: bool = False,
    progress: Callable[[int, int], None] | None = None,
    class_token: ClassTokenWish | None = None,
    size: tuple[int, int] | int | str | list[tuple[int, int] | int | str] | None = None,
    stitch: int = 1,
    fast_decode: bool = False,
    shard: Shard | str | None = None,
) -> AuditSummary | ShardResult:
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
        thresholds: probabilities above which a class of a multi-label head is present: a number or a file; 0.5 if None.
        batch: images at a time.
        gallery: images to show in the report, the most telling first.
        page_classes: of each of these the classes whose cells the report keeps, to be touched there; the most telling
            32 at most if None.
        restart: begin anew, even if an unfinished run could go on.
        no_guess: refuse a preprocessing that would be a guess; what ``auto`` finds on labelled images is none.
        progress: called after every batch with the images done and all images.
        class_token: lift heads that read a class token; see `rewrite`. A rewritten or repooled file decides by itself.
        size: of the input, where it is not to be the model's own; several as a list, or as ``"224,448"``: the results
            are those of the first, with a row for each, and those of the others lie in folders below.
        stitch: 2 makes the grids twice as fine, of shifted runs; the model's own are measured beside them.
        fast_decode: decode large JPEGs smaller than they are, which is quicker and not exact.
        shard: the part to measure, as ``"0/4"``: whole batches of this very audit, into a folder of its own; `merge`
            then makes the whole of all parts.

    Returns:
        The content of ``summary.json``; of a shard that of ``shard.json``.

    Raises:
        InputError: model, data, labels, names, preprocessing, provider or folder will not do.
        UnsupportedHeadError: the model has no head that can be lifted.
    """
    request = Request(
        model=Path(model),
        data=given_place(data),
        labels=given_place(labels) if labels is not None else None,
        names=_path(names),
        class_map=_path(class_map),
        offset=label_offset,
        preprocess=str(preprocess) if preprocess is not None else None,
        provider=provider,
        head=head,
        thresholds=None if thresholds is None else str(thresholds),
        batch=batch,
        no_guess=no_guess,
        class_token=class_token,
        stitch=stitch,
        fast_decode=fast_decode,
    )
    told = progress if progress is not None else lambda _done, _total: None
    if (part := shard_of(shard)) is not None:
        return audit_shard(
            alone(request, parse_sizes(size)),
            Path(output),
            part,
            restart=restart,
            progress=lambda found: told(found.done, found.total),
        )
    return run_audit(
        request,
        parse_sizes(size),
        Path(output),
        gallery=gallery,
        page_classes=page_classes,
        restart=restart,
        progress=lambda found: told(found.done, found.total),
    )


@overload
def compare(
    old: str | Path,
    new: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    shard: Shard | str,
    **options: Any,
) -> ShardResult: ...


@overload
def compare(
    old: str | Path,
    new: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    labels: str | Path | None = None,
    unlabelled: bool = False,
    names: str | Path | None = None,
    names_new: str | Path | None = None,
    class_map: str | Path | None = None,
    class_map_new: str | Path | None = None,
    label_offset: int | None = None,
    label_offset_new: int | None = None,
    preprocess: str | Path | None = None,
    preprocess_new: str | Path | None = None,
    head: str | None = None,
    head_new: str | None = None,
    aggregator: Aggregator | str = "mean",
    aggregator_new: Aggregator | str | None = None,
    thresholds: float | str | Path | None = None,
    thresholds_new: float | str | Path | None = None,
    provider: str = "auto",
    batch: int | None = None,
    gallery: int = 60,
    page_classes: int | None = None,
    restart: bool = False,
    no_guess: bool = False,
    progress: Callable[[int, int], None] | None = None,
    class_token: ClassTokenWish | None = None,
    size: tuple[int, int] | int | str | None = None,
    size_new: tuple[int, int] | int | str | None = None,
    stitch: int = 1,
    stitch_new: int | None = None,
) -> Comparison: ...


def compare(  # type: ignore[misc]  # of a shard, the other options are those of the whole
    old: str | Path,
    new: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    labels: str | Path | None = None,
    unlabelled: bool = False,
    names: str | Path | None = None,
    names_new: str | Path | None = None,
    class_map: str | Path | None = None,
    class_map_new: str | Path | None = None,
    label_offset: int | None = None,
    label_offset_new: int | None = None,
    preprocess: str | Path | None = None,
    preprocess_new: str | Path | None = None,
    head: str | None = None,
    head_new: str | None = None,
    aggregator: Aggregator | str = "mean",
    aggregator_new: Aggregator | str | None = None,
    thresholds: float | str | Path | None = None,
    thresholds_new: float | str | Path | None = None,
    provider: str = "auto",
    batch: int | None = None,
    gallery: int = 60,
    page_classes: int | None = None,
    restart: bool = False,
    no_guess: bool = False,
    progress: Callable[[int, int], None] | None = None,
    class_token: ClassTokenWish | None = None,
    size: tuple[int, int] | int | str | None = None,
    size_new: tuple[int, int] | int | str | None = None,
    stitch: int = 1,
    stitch_new: int | None = None,
    shard: Shard | str | None = None,
) -> Comparison | ShardResult:
    """Compare two models, or two heads or aggregators of one, on the same images, and write a report.

    What the new side has no own of, it takes from the old one. A run that was stopped goes on where it was when it is
    called again with the same arguments.

    Args:
        old: path of the ``.onnx`` file that is there.
        new: path of the one that is to replace it; the same for two heads or aggregators.
        data: a labelled data set, see `open_data`; or images without labels: a file, a folder or a glob.
        output: the folder for ``compare.json``, ``report.html``, ``images.parquet`` and ``classes.parquet``.
        labels: a label file for the images of the folder ``data``.
        unlabelled: the images have no labels, or are to be compared without them.
        names: a file of class names; looked for beside the model if None.
        names_new: of the new model.
        class_map: a file that translates labels to classes.
        class_map_new: of the new model; of images without labels, from the old model's classes to the new one's.
        label_offset: class = label + offset, for labels that are numbers; found out if None.
        label_offset_new: of the new model.
        preprocess: a preset's name, a JSON file, or ``auto``; looked for beside each model if None.
        preprocess_new: of the new model.
        head: the output to compare, of a model with several; the first lifted one if None.
        head_new: of the new model.
        aggregator: what the answer is made of the cells by; ``mean`` is the model's own.
        aggregator_new: of the new side.
        thresholds: probabilities above which a class of a multi-label head is present: a number or a file; 0.5 if None.
        thresholds_new: of the new side.
        provider: where to run.
        batch: images at a time.
        gallery: images to show in the report, those that changed most.
        page_classes: of each of these, and of either model, the classes whose cells the report keeps, to be touched
            there; the most telling 12 at most if None.
        restart: begin anew, even if an unfinished run could go on.
        no_guess: refuse a preprocessing that would be a guess; what ``auto`` finds on labelled images is none.
        progress: called now and then with the images done and all images.
        class_token: lift heads that read a class token, of both; see `rewrite`. A rewritten or repooled file decides by
            itself.
        size: of the input, where it is not to be the model's own; see `rewrite`.
        size_new: of the new model's.
        stitch: 2 makes the grids twice as fine, of shifted runs; see `predict`.
        stitch_new: of the new model's.
        shard: the part to compare; see `audit`.

    Returns:
        The content of ``compare.json``; of a shard that of ``shard.json``.

    Raises:
        InputError: a model, data, labels, names, preprocessing, provider or folder will not do, or it cannot be told
            which class of one model is which of the other.
        UnsupportedHeadError: a model has no head that can be lifted.
    """
    first = Side(
        model=Path(old),
        names=_path(names),
        class_map=_path(class_map),
        offset=label_offset,
        preprocess=str(preprocess) if preprocess is not None else None,
        head=head,
        aggregator=_key(aggregator) or "mean",
        class_token=class_token,
        thresholds=None if thresholds is None else str(thresholds),
        size=parse_size(size),
        stitch=stitch,
    )
    second = first.replaced(
        Path(new),
        names=_path(names_new),
        class_map=_path(class_map_new),
        offset=label_offset_new,
        preprocess=str(preprocess_new) if preprocess_new is not None else None,
        head=head_new,
        aggregator=_key(aggregator_new),
        thresholds=None if thresholds_new is None else str(thresholds_new),
        size=parse_size(size_new),
        stitch=stitch_new,
    )
    request = CompareRequest(
        old=first,
        new=second,
        data=given_place(data),
        labels=given_place(labels) if labels is not None else None,
        unlabelled=unlabelled,
        provider=provider,
        batch=batch,
        no_guess=no_guess,
    )
    told = progress if progress is not None else lambda _done, _total: None
    if (part := shard_of(shard)) is not None:
        return compare_shard(
            request, Path(output), part, restart=restart, progress=lambda found: told(found.done, found.total)
        )
    return run_compare(
        request,
        Path(output),
        gallery=gallery,
        page_classes=page_classes,
        restart=restart,
        progress=lambda found: told(found.done, found.total),
    )


def check(
    model: str | Path,
    policy: Policy | str | Path,
    *,
    audit: str | Path | None = None,
    compare: str | Path | None = None,
    baseline: str | Path | None = None,
    data: str | Path | None = None,
    against: str | Path | None = None,
    output: str | Path = "gapmil_check",
    labels: str | Path | None = None,
    names: str | Path | None = None,
    class_map: str | Path | None = None,
    label_offset: int | None = None,
    preprocess: str | Path | None = None,
    head: str | None = None,
    thresholds: float | str | Path | None = None,
    provider: str = "auto",
    batch: int | None = None,
    no_guess: bool = False,
    allow_unjudged: bool = False,
    junit: str | Path | None = None,
    attestation: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    class_token: ClassTokenWish | None = None,
) -> CheckReport:
    """Judge a model by a policy: every rule passes, fails, warns or is not judged.

    Args:
        model: path of the ``.onnx`` file.
        policy: a `Policy`, or its TOML file.
        audit: results of `audit`: their folder, or ``summary.json``.
        compare: results of `compare` whose new side is the model: their folder, or ``compare.json``.
        baseline: ``summary.json`` of what the model must not fall behind, or its folder.
        data: labelled images: the audit is made first.
        against: with ``data``, the model that it is to replace: the comparison is made first, too.
        output: the folder for what is made.
        labels: a label file for the images of the folder ``data``.
        names: a file of class names.
        class_map: a file that translates labels to classes.
        label_offset: class = label + offset, for labels that are numbers.
        preprocess: a preset's name, a JSON file, or ``auto``.
        head: the output to judge, of a model with several.
        thresholds: probabilities above which a class of a multi-label head is present: a number or a file; 0.5 if None.
        provider: where to run.
        batch: images at a time.
        no_guess: refuse a preprocessing that is guessed, or was in the audit that is judged.
        allow_unjudged: let a rule that cannot be judged only warn.
        junit: where to write JUnit XML; None writes none.
        attestation: where to write an unsigned in-toto statement; None writes none.
        progress: called now and then with what is running, the images done and all images.
        class_token: lift a head that reads a class token, of both models; see `rewrite`.

    Returns:
        Every rule with its state; ``passed``, ``outcome`` and ``exit_code`` tell the result.

    Raises:
        InputError: a file is missing, torn or of another kind, or the policy is wrong.
        UnsupportedHeadError: data are given, and the model has no head that can be lifted.
    """
    if against is not None and data is None:
        raise InputError("a model is compared with another on data, which are not given.")
    stated = str(preprocess) if preprocess is not None else None
    request = None
    if data is not None:
        request = DataRequest(
            model=Path(model),
            data=given_place(data),
            output=Path(output),
            against=_path(against),
            labels=given_place(labels) if labels is not None else None,
            names=_path(names),
            class_map=_path(class_map),
            label_offset=label_offset,
            preprocess=stated,
            head=head,
            thresholds=None if thresholds is None else str(thresholds),
            provider=provider,
            batch=batch,
            no_guess=no_guess,
            class_token=class_token,
        )
    return run_check(
        Path(model),
        policy if isinstance(policy, Policy) else Path(policy),
        audit=_path(audit),
        compare=_path(compare),
        baseline=_path(baseline),
        request=request,
        head=head,
        preprocess=stated,
        no_guess=no_guess,
        allow_unjudged=allow_unjudged,
        junit=_path(junit),
        attestation=_path(attestation),
        progress=progress if progress is not None else lambda *_: None,
        class_token=class_token,
    )


def fit_pool(
    model: str | Path,
    data: str | Path,
    fit: str = "mix",
    output: str | Path | None = None,
    *,
    labels: str | Path | None = None,
    names: str | Path | None = None,
    class_map: str | Path | None = None,
    label_offset: int | None = None,
    preprocess: str | Path | None = None,
    provider: str = "auto",
    head: str | None = None,
    thresholds: float | str | Path | None = None,
    batch: int | None = None,
    no_guess: bool = False,
    class_token: ClassTokenWish | None = None,
    group: str | None = None,
    folds: int = 0,
    ridge: float | None = None,
    seed: int = 0,
    require_better: bool = False,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> PoolFit:
    """Fit a classifier's pool to one half of labelled images, judge it by the other, and write the model.

    The trunk stays as it is. The model is written, proved as `repool` proves it, unless the paired 95 % interval of
    what it gains over the vendor's (accuracy, or mean average precision of several labels at once) lies below 0.

    Args:
        model: path of an ``.onnx`` file.
        data: labelled images, as `audit` takes them, at least 20.
        fit: ``mix``: weights over aggregators; an aggregator, such as ``topk=0.05``: its temperature and class biases;
            ``flex``: a weight for each position; ``flex:channel`` or ``flex:softmax``: for each position and channel;
            ``head`` or ``head:AGGREGATOR``: the last linear layer, under an aggregator.
        output: where to write; ``MODEL.repooled.onnx`` beside the model if None.
        labels: see `audit`, as for what follows.
        names: of the classes.
        class_map: which class each label means.
        label_offset: class = label + offset.
        preprocess: how photos become inputs.
        provider: where to run.
        head: the output whose pool is fitted, of a model with several.
        thresholds: probabilities above which a class is present; a head of bare logits is read as multi-label by them.
        batch: images at a time.
        no_guess: refuse a preprocessing that would be a guess.
        class_token: lift heads that read a class token.
        group: column of the data whose images stay in one half; ``group``, where there is one, if None.
        folds: also judge by so many folds of all images; 0 does not.
        ridge: how strongly the fit is tied to where it began; found by folds of the fitted half if None.
        seed: of the split.
        require_better: write the model only where the interval lies above 0.
        force: write it whatever the interval says, and fit however few images there are for a weight.
        progress: called with the number of images that were run.

    Returns:
        The pool and its judgement; `PoolFit.reason` says why nothing was written.

    Raises:
        InputError: model, data, labels, preprocessing or place will not do, or there are too few images.
        UnsupportedHeadError: the head cannot be lifted, or its logits cannot be replaced.
        ProofError: the proof failed, and nothing is written.
    """
    request = FitRequest(
        data=Request(
            model=Path(model),
            data=Path(data),
            labels=_path(labels),
            names=_path(names),
            class_map=_path(class_map),
            offset=label_offset,
            preprocess=str(preprocess) if preprocess is not None else None,
            provider=provider,
            head=head,
            thresholds=None if thresholds is None else str(thresholds),
            batch=batch,
            no_guess=no_guess,
            class_token=class_token,
        ),
        wish=parse_fit(fit),
        output=_path(output),
        group=group,
        folds=folds,
        ridge=ridge,
        seed=seed,
        require_better=require_better,
        force=force,
    )
    return refit(request, progress=progress if progress is not None else lambda _: None)


def _key(aggregator: Aggregator | str | None) -> str | None:
    return aggregator.key if isinstance(aggregator, Aggregator) else aggregator


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
