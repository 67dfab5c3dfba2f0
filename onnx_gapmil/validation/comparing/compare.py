"""`compare`: two models and images in; a folder with the figures, the tables and the report out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.data.slices import slices_of, with_unjudged
from onnx_gapmil.files.guarding import protect, require_replaceable, watched_reads
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.files.writing import require_writable, write_whole
from onnx_gapmil.validation.comparing.gallery import build_gallery
from onnx_gapmil.validation.comparing.page.report import Report, write_report
from onnx_gapmil.validation.comparing.records import compared
from onnx_gapmil.validation.comparing.result import comparison_of
from onnx_gapmil.validation.comparing.resuming import open_journal
from onnx_gapmil.validation.comparing.running import run, unit_of
from onnx_gapmil.validation.comparing.sides import open_sides, prepare_sides
from onnx_gapmil.validation.comparing.tables import write_classes, write_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_gapmil.validation.comparing.request import CompareRequest
    from onnx_gapmil.validation.comparing.result import Comparison
    from onnx_gapmil.validation.comparing.running import Progress
    from onnx_gapmil.validation.comparing.sides import Sides

RESULTS = ("compare.json", "images.parquet", "classes.parquet", "report.html")


def compare(
    request: CompareRequest,
    output: Path,
    *,
    gallery: int = 60,
    restart: bool = False,
    announce: Callable[[Sides, int, str], None] = lambda *_: None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Comparison:
    """Compare two models on the same images.

    The folder gets ``compare.json``, ``images.parquet`` (a row for each image), ``classes.parquet`` (with labels, a row
    for each class that occurs) and ``report.html``. While it runs it also holds a journal, by which a run that was
    stopped or killed goes on where it was; the result is that of an unbroken run.

    Args:
        request: both models and the images.
        output: the result folder; made if need be.
        gallery: images to show in the report, those that changed most.
        restart: begin anew, even if an unfinished run could go on.
        announce: is told what was decided, how many images an earlier run has compared, and why such a run is not gone
            on with, before the next image is run.
        progress: is told now and then how far it is.

    Raises:
        InputError: a model, the data, labels, preprocessing, provider or folder will not do, or it cannot be told which
            class of one model is which of the other.
        UnsupportedHeadError: a model has no head that can be lifted.
    """
    with watched_reads():
        given: list[Path | str | None] = [request.data, request.labels]
        given += [path for side in (request.old, request.new) for path in (side.names, side.class_map)]
        levels = (Path(side.thresholds) for side in (request.old, request.new) if side.thresholds is not None)
        given += [path for path in levels if path.is_file()]  # a threshold may be a number
        protect(path for path in given if path is not None)
        require_writable(output)
        for name in RESULTS:
            require_replaceable(output / name)
        old, new = open_sides(request)
        with locked_folder(output, "another comparison"):
            return _compared(request, prepare_sides(request, old, new), output, gallery, restart, announce, progress)


def _compared(
    request: CompareRequest,
    sides: Sides,
    output: Path,
    gallery: int,
    restart: bool,
    announce: Callable[[Sides, int, str], None],
    progress: Callable[[Progress], None],
) -> Comparison:
    unit = unit_of(sides, request.batch)
    journal, earlier, why = open_journal(output, sides, unit, restart=restart)
    with journal:
        announce(sides, len(earlier), why)
        records = run(sides, journal, earlier, unit=unit, batch=request.batch, progress=progress)
        good = compared(records)
        slices = slices_of([record.columns for record in good], [record.image for record in good])
        slices = with_unjudged(slices, (sample.columns for sample in sides.data.samples))
        found = comparison_of(sides, records, slices)
        write_images(output / "images.parquet", records, sides, slices)
        if sides.labelled:
            write_classes(output / "classes.parquet", found.classes)
        else:
            (output / "classes.parquet").unlink(missing_ok=True)
        write_report(output / "report.html", Report(found, build_gallery(sides, records, gallery, request.batch)))
        write_whole(output / "compare.json", f"{json_text(found.to_json(), indent=2)}\n".encode())
        journal.clear()
    return found
