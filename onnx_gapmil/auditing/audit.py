"""`audit`: a model and labelled images in; a folder with the summary, the tables and the report out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from onnx_gapmil.auditing.gallery import build_gallery
from onnx_gapmil.auditing.measuring import Progress, open_journal, run
from onnx_gapmil.auditing.page import write_report
from onnx_gapmil.auditing.preparation import Request, Subject
from onnx_gapmil.auditing.summary import SCHEMA_VERSION, AuditSummary, summarise_run
from onnx_gapmil.auditing.tables import write_classes, write_images
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx_gapmil.auditing.measuring import Run
    from onnx_gapmil.auditing.preparation import Exhibit


def audit(
    request: Request,
    output: Path,
    *,
    gallery: int = 300,
    restart: bool = False,
    announce: Callable[[Subject, Exhibit, int], None] = lambda *_: None,
    progress: Callable[[Progress], None] = lambda _: None,
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

    Raises:
        InputError: model, data set, labels, preprocessing, provider or folder will not do.
        UnsupportedHeadError: the model has no head that can be lifted.
    """
    subject = Subject(request)
    journal, found = open_journal(request, subject, output, restart=restart)
    with journal:
        done = run(
            request, subject, journal, found, lambda exhibit, resumed: announce(subject, exhibit, resumed), progress
        )
        summary = summarise_run(done)
        write_images(output / "images.parquet", subject, done.records)
        write_classes(output / "classes.parquet", summary.classes, subject)
        write_report(output / "report.html", payload(done, summary, gallery))
        text = json.dumps(summary.to_json(), indent=2, allow_nan=False) + "\n"
        write_whole(output / "summary.json", text.encode())
        journal.clear()
    return summary


def payload(run: Run, summary: AuditSummary, gallery: int) -> dict[str, Any]:
    """What ``report.html`` is made of; see `onnx_gapmil.auditing.page.render_report`."""
    shown, named = build_gallery(run, gallery)
    for row in summary.classes:
        named |= {row["index"], *(index for index, _ in row["most_confused"])}
    named |= {index for record in run.records if "error" not in record for index, _ in record["top"][:1]}
    subject = run.subject
    return {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "summary": summary.to_json(),
        "names": {str(index): subject.name(index) for index in sorted(named)},
        "activation": "sigmoid" if subject.independent else "softmax",
        "classes": list(summary.classes),
        "reliability": (summary.measures.get("calibration") or {}).get("bins"),
        "gallery": shown,
    }
