"""`audit`: a model and labelled images in; a folder with the summary, the tables and the report out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.auditing.confusions import confusions_of
from onnx_gapmil.auditing.gallery import build_gallery, told_model
from onnx_gapmil.auditing.measuring import Progress, measure, run_of
from onnx_gapmil.auditing.page import Report, write_report
from onnx_gapmil.auditing.preparation import Request, classifier_of
from onnx_gapmil.auditing.resuming import open_journal
from onnx_gapmil.auditing.sharding import shard_result
from onnx_gapmil.auditing.standing import standing_of
from onnx_gapmil.auditing.summarising import summarise_run
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.auditing.tables import write_classes, write_images
from onnx_gapmil.files.guarding import protect, watched_reads
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.running.shards import MARK, require_division

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_gapmil.auditing.by_size import SizeFigures
    from onnx_gapmil.auditing.measuring import Run
    from onnx_gapmil.auditing.preparation import PreparedData
    from onnx_gapmil.auditing.standing import Standing
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.running.shards import Shard, ShardResult

    Announce = Callable[[Classifier, PreparedData, int, int], None]

#: What an audit writes, beside its journal.
RESULTS = ("summary.json", "images.parquet", "classes.parquet", "report.html")


def audit(
    request: Request,
    output: Path,
    *,
    gallery: int = 300,
    page_classes: int | None = None,
    restart: bool = False,
    announce: Announce = lambda *_: None,
    progress: Callable[[Progress], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> AuditSummary:
    """Measure what a model sees in labelled images.

    The folder gets ``summary.json``, ``images.parquet`` (a row for each image), ``classes.parquet`` (a row for each
    class that occurs) and ``report.html``. While the audit runs it also holds a journal, by which a run that was
    stopped or killed goes on where it was; the result is that of an unbroken run.

    Args:
        request: model, data and how to read them.
        output: the result folder; made if need be.
        gallery: images to show in the report.
        page_classes: of each of these the classes whose cells the report keeps; the most telling 32 at most if None.
        restart: begin anew, even if an unfinished run could go on.
        announce: is told what was decided (preprocessing, classes), how many images an earlier run has measured, and
            how many there are, before the next one is run.
        progress: is told after every batch.
        note: is told what has changed since an unfinished run, and what becomes of that.

    Raises:
        InputError: model, data set, labels, preprocessing, provider or folder will not do.
        UnsupportedHeadError: the model has no head that can be lifted.
    """
    return measure_audit(request, output, gallery, restart, announce, progress, note, page_classes=page_classes)[0]


def measure_audit(
    request: Request,
    output: Path,
    gallery: int,
    restart: bool,
    announce: Announce,
    progress: Callable[[Progress], None],
    note: Callable[[str], None],
    *,
    by_size: Callable[[Run], tuple[SizeFigures, ...]] = lambda _: (),
    keep: bool = False,
    page_classes: int | None = None,
) -> tuple[AuditSummary, Run]:
    """As `audit`, with what was measured.

    Args:
        request: see `audit`, as for what follows.
        output: the result folder.
        gallery: images to show in the report.
        restart: begin anew.
        announce: is told what was decided.
        progress: is told after every batch.
        note: is told what has changed.
        by_size: of the run, the rows that compare it with others.
        keep: leave the journal, so that the same run is known again until the runs beside it are done.
        page_classes: see `audit`.

    Raises:
        InputError: see `audit`.
    """
    with watched_reads():
        protect(path for path in _files(request) if path is not None)
        require_division(output, RESULTS)
        classifier = classifier_of(request)
        with locked_folder(output, "another audit"):
            journal, found = open_journal(request, classifier, output, restart=restart, note=note)
            with journal:
                told = partial(announce, classifier)
                measured = measure(request, classifier, journal, found, told, progress, note)
                del found  # of many images, what an earlier run said of each takes its memory
                done = run_of(request, classifier, measured)
                summary = write_results(done, output, gallery, by_size(done), page_classes)
                if not keep:
                    journal.clear()
            return summary, done


@dataclass(frozen=True)
class Opened:
    """Model and data of a request, opened by one shard for the next ones in the same process.

    Attributes:
        classifier: the model.
        prepared: the data set.
    """

    classifier: Classifier
    prepared: PreparedData


def audit_shard(
    request: Request,
    output: Path,
    shard: Shard,
    *,
    restart: bool = False,
    announce: Announce = lambda *_: None,
    progress: Callable[[Progress], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
    opened: Opened | None = None,
) -> tuple[ShardResult, Opened]:
    """Measure a part of a data set: whole batches of the very audit that `audit` would run.

    The folder gets the records of the shard's images, in ``shard/``, and at the end ``shard.json``. A shard that was
    stopped goes on where it was; of a finished one nothing is measured again unless its images changed.

    Args:
        request: as of the whole audit.
        output: the shard's own result folder; made if need be.
        shard: which part.
        restart: begin anew, whatever is there.
        announce: see `audit`; the images are the shard's.
        progress: is told after every batch.
        note: see `audit`.
        opened: what an earlier shard of the same request opened in this process, where one did.

    Returns:
        What ``shard.json`` says, and what was opened.

    Raises:
        InputError: as `audit` does; or the folder holds another shard, or a whole audit.
    """
    with watched_reads():
        protect(path for path in _files(request) if path is not None)
        require_division(output, RESULTS, shard)
        classifier = classifier_of(request) if opened is None else opened.classifier
        given = None if opened is None else opened.prepared
        with locked_folder(output, "another audit"):
            journal, found = open_journal(request, classifier, output, restart=restart, note=note, shard=shard)
            (output / MARK).unlink(missing_ok=True)  # until it is finished again
            with journal:
                told = partial(announce, classifier)
                measured = measure(request, classifier, journal, found, told, progress, note, shard, given)
            result = shard_result(request, classifier, measured, shard, output)
            result.save(output)
    return result, Opened(classifier, measured.prepared)


def _files(request: Request) -> list[Path | str | None]:
    """What is read, and must not be written over; a threshold may be a number."""
    levels = Path(request.thresholds) if request.thresholds is not None else None
    given = levels if levels is not None and levels.is_file() else None
    return [request.data, request.labels, request.names, request.class_map, given]


def write_results(
    done: Run, output: Path, gallery: int, sizes: tuple[SizeFigures, ...] = (), page_classes: int | None = None
) -> AuditSummary:
    """Write what an audit has found.

    Args:
        done: the audit.
        output: the result folder.
        gallery: images to show in the report.
        sizes: rows that compare it with audits at other sizes.
        page_classes: see `audit`.
    """
    name_of = done.classifier.class_names.name
    standing = standing_of(done)
    summary = replace(summarise_run(done, standing), sizes=sizes)
    write_images(output / "images.parquet", done.records, name_of, standing, len(done.columns))
    write_classes(output / "classes.parquet", summary.classes, name_of, summary.multi_label)
    write_report(output / "report.html", report_of(done, summary, standing, gallery, page_classes))
    write_whole(output / "summary.json", f"{json_text(summary.to_json(), indent=2)}\n".encode())
    return summary


def report_of(
    run: Run, summary: AuditSummary, standing: Standing, most: int, page_classes: int | None = None
) -> Report:
    """What ``report.html`` is made of.

    Args:
        run: the audit.
        summary: of it.
        standing: where its images stand among all.
        most: images in the gallery, at the most.
        page_classes: see `audit`.
    """
    gallery = build_gallery(run, most, standing, page_classes)
    named = {index for image in gallery.images for index in image.classes}
    for row in summary.classes:
        named |= {row.index, *(index for index, _ in row.most_confused)}
    named |= set(np.unique(run.columns.first).tolist())
    named |= {index for swap in summary.likely_swaps for index in swap.classes}
    # Of several labels at once no answer is the one, so that none is taken for another.
    images = run.columns.measures.images
    confusable = images.among([]) if summary.multi_label is not None else images
    return Report(
        summary=summary,
        confusions=confusions_of(confusable),
        names={index: run.classifier.class_names.name(index) for index in sorted(named)},
        activation="sigmoid" if run.classifier.independent else "softmax",
        gallery=gallery,
        model=told_model(run.classifier, run.request, run.prepared.preprocess),
    )
