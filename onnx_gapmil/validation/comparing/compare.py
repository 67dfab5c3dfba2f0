"""`compare`: two models and images in; a folder with the figures, the tables and the report out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.sharding import machine
from onnx_gapmil.data.unjudged import with_unjudged
from onnx_gapmil.files.guarding import protect, watched_reads
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.files.serial import to_json
from onnx_gapmil.files.urls import said
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.running.shards import MARK, ShardResult, require_division
from onnx_gapmil.validation.comparing.columns import PairColumns
from onnx_gapmil.validation.comparing.dividing import places_of, shots_of, unit_of
from onnx_gapmil.validation.comparing.gallery import build_gallery
from onnx_gapmil.validation.comparing.page.report import Report, write_report
from onnx_gapmil.validation.comparing.result import comparison_of
from onnx_gapmil.validation.comparing.resuming import identity, open_journal
from onnx_gapmil.validation.comparing.running import records_of, run
from onnx_gapmil.validation.comparing.sides import open_sides, prepare_sides
from onnx_gapmil.validation.comparing.tables import write_classes, write_images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onnx_gapmil.running.shards import Shard
    from onnx_gapmil.validation.comparing.records import Record
    from onnx_gapmil.validation.comparing.request import CompareRequest
    from onnx_gapmil.validation.comparing.result import Comparison
    from onnx_gapmil.validation.comparing.running import Progress
    from onnx_gapmil.validation.comparing.sides import Sides

    Announce = Callable[[Sides, int, int, str], None]

VERB = "compare"
RESULTS = ("compare.json", "images.parquet", "classes.parquet", "report.html")


def compare(
    request: CompareRequest,
    output: Path,
    *,
    gallery: int = 60,
    page_classes: int | None = None,
    restart: bool = False,
    announce: Announce = lambda *_: None,
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
        page_classes: of each of these and of either model the classes whose cells the report keeps; the most telling
            12 at most if None.
        restart: begin anew, even if an unfinished run could go on.
        announce: is told what was decided, how many images an earlier run has compared, how many there are, and why an
            earlier run is not gone on with, before the next image is run.
        progress: is told now and then how far it is.

    Raises:
        InputError: a model, the data, labels, preprocessing, provider or folder will not do, or it cannot be told which
            class of one model is which of the other.
        UnsupportedHeadError: a model has no head that can be lifted.
    """
    with watched_reads():
        _protect(request)
        require_division(output, RESULTS)
        old, new = open_sides(request)
        with locked_folder(output, "another comparison"):
            sides = prepare_sides(request, old, new)
            unit = unit_of(sides, request.batch)
            journal, earlier, why = open_journal(output, sides, unit, restart=restart)
            with journal:
                announce(sides, len(earlier.records()), len(sides.shots), why)
                places = places_of(sides, unit, None)
                done = run(sides, journal, earlier, places, unit=unit, batch=request.batch, progress=progress)
                found = write_results(sides, records_of(done), output, gallery, request.batch, page_classes)
                journal.clear()
            return found


def compare_shard(
    request: CompareRequest,
    output: Path,
    shard: Shard,
    *,
    restart: bool = False,
    announce: Announce = lambda *_: None,
    progress: Callable[[Progress], None] = lambda _: None,
    opened: Sides | None = None,
) -> tuple[ShardResult, Sides]:
    """Compare two models on a part of the images: whole batches of the very comparison that `compare` would run.

    The folder gets the records of the shard's images, in ``shard/``, and at the end ``shard.json``.

    Args:
        request: as of the whole comparison.
        output: the shard's own result folder; made if need be.
        shard: which part.
        restart: begin anew, whatever is there.
        announce: see `compare`; the images are the shard's.
        progress: is told now and then how far it is.
        opened: what an earlier shard of the same request opened in this process, where one did.

    Returns:
        What ``shard.json`` says, and what was opened.

    Raises:
        InputError: as `compare` does; or the folder holds another shard, or a whole comparison.
    """
    with watched_reads():
        _protect(request)
        require_division(output, RESULTS, shard)
        with locked_folder(output, "another comparison"):
            sides = prepare_sides(request, *open_sides(request)) if opened is None else opened
            unit = unit_of(sides, request.batch)
            journal, earlier, why = open_journal(output, sides, unit, restart=restart, shard=shard)
            (output / MARK).unlink(missing_ok=True)  # until it is finished again
            with journal:
                places = places_of(sides, unit, shard)
                total = sum(len(shots_of(sides, unit, place)) for place in places)
                announce(sides, len(earlier.records()), total, why)
                done = run(sides, journal, earlier, places, unit=unit, batch=request.batch, progress=progress)
            result = ShardResult(
                verb=VERB,
                shard=str(shard),
                images=len(sides.shots),
                done=done.images,
                failed=done.failed,
                folder=said(output),
                machine=machine(),
                identity=identity(sides, unit, stamped=False),
                details={"request": to_json(request)},
            )
            result.save(output)
    return result, sides


def write_results(
    sides: Sides,
    records: Sequence[Record],
    output: Path,
    gallery: int,
    batch: int | None,
    page_classes: int | None = None,
) -> Comparison:
    """Write what a comparison has found.

    Args:
        sides: what was compared.
        records: of all images, in order.
        output: the result folder.
        gallery: images to show in the report.
        batch: images at a time, as it was asked for.
        page_classes: see `compare`.
    """
    columns = PairColumns.of(records)
    slices = with_unjudged(columns.slices(), (sample.columns for sample in sides.data.samples))
    found = comparison_of(sides, columns, slices)
    write_images(output / "images.parquet", records, sides, slices, len(columns))
    if sides.labelled:
        write_classes(output / "classes.parquet", found.classes)
    else:
        (output / "classes.parquet").unlink(missing_ok=True)
    shown = build_gallery(sides, records, columns, gallery, batch, page_classes)
    write_report(output / "report.html", Report(found, shown))
    write_whole(output / "compare.json", f"{json_text(found.to_json(), indent=2)}\n".encode())
    return found


def _protect(request: CompareRequest) -> None:
    """What is read must not be written over; a threshold may be a number."""
    given = [request.data, request.labels]
    given += [path for side in (request.old, request.new) for path in (side.names, side.class_map)]
    levels = (Path(side.thresholds) for side in (request.old, request.new) if side.thresholds is not None)
    given += [path for path in levels if path.is_file()]
    protect(path for path in given if path is not None)
