"""`audit`: a model and labelled images in; a folder with the summary, the tables and the report out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.auditing.gallery import build_gallery
from onnx_gapmil.auditing.measuring import Progress, run
from onnx_gapmil.auditing.page import Report, write_report
from onnx_gapmil.auditing.preparation import Request, classifier_of
from onnx_gapmil.auditing.records import measured
from onnx_gapmil.auditing.resuming import open_journal
from onnx_gapmil.auditing.summarising import summarise_run
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.auditing.tables import write_classes, write_images
from onnx_gapmil.files.guarding import protect, require_replaceable, watched_reads
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.files.writing import require_writable, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx_gapmil.auditing.measuring import Run
    from onnx_gapmil.auditing.preparation import PreparedData
    from onnx_gapmil.prediction.classifier import Classifier

#: What an audit writes, beside its journal.
RESULTS = ("summary.json", "images.parquet", "classes.parquet", "report.html")


def audit(
    request: Request,
    output: Path,
    *,
    gallery: int = 300,
    restart: bool = False,
    announce: Callable[[Classifier, PreparedData, int], None] = lambda *_: None,
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
        restart: begin anew, even if an unfinished run could go on.
        announce: is told what was decided (preprocessing, classes) and how many images an earlier run has measured,
            before the next one is run.
        progress: is told after every batch.
        note: is told what has changed since an unfinished run, and what becomes of that.

    Raises:
        InputError: model, data set, labels, preprocessing, provider or folder will not do.
        UnsupportedHeadError: the model has no head that can be lifted.
    """
    with watched_reads():
        protect(path for path in (request.data, request.labels, request.names, request.class_map) if path is not None)
        require_writable(output)
        for name in RESULTS:
            require_replaceable(output / name)
        classifier = classifier_of(request)
        with locked_folder(output, "another audit"):
            return _audited(request, classifier, output, gallery, restart, announce, progress, note)


def _audited(
    request: Request,
    classifier: Classifier,
    output: Path,
    gallery: int,
    restart: bool,
    announce: Callable[[Classifier, PreparedData, int], None],
    progress: Callable[[Progress], None],
    note: Callable[[str], None],
) -> AuditSummary:
    journal, found = open_journal(request, classifier, output, restart=restart, note=note)
    with journal:
        done = run(
            request,
            classifier,
            journal,
            found,
            lambda prepared, resumed: announce(classifier, prepared, resumed),
            progress,
            note,
        )
        summary = summarise_run(done)
        write_images(output / "images.parquet", done.records, classifier.class_names.name)
        write_classes(output / "classes.parquet", summary.classes, classifier.class_names.name)
        write_report(output / "report.html", report_of(done, summary, gallery))
        write_whole(output / "summary.json", f"{json_text(summary.to_json(), indent=2)}\n".encode())
        journal.clear()
    return summary


def report_of(run: Run, summary: AuditSummary, most: int) -> Report:
    """What ``report.html`` is made of.

    Args:
        run: the audit.
        summary: of it.
        most: images in the gallery, at the most.
    """
    gallery = build_gallery(run, most)
    named = {index for image in gallery.images for index in image.classes}
    for row in summary.classes:
        named |= {row.index, *(index for index, _ in row.most_confused)}
    named |= {record.top[0][0] for record in measured(run.records)}
    return Report(
        summary=summary,
        names={index: run.classifier.class_names.name(index) for index in sorted(named)},
        activation="sigmoid" if run.classifier.independent else "softmax",
        gallery=gallery,
    )
