"""`audit_sizes`: a model audited at several input sizes, or with a stitched grid, into one folder of results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.audit import measure_audit
from onnx_gapmil.auditing.by_size import Measured, figures_by_size
from onnx_gapmil.auditing.journal import Journal
from onnx_gapmil.auditing.records import measured
from onnx_gapmil.auditing.resuming import JOURNAL
from onnx_gapmil.errors import InputError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.rewriting.resized import at_size
from onnx_gapmil.rewriting.sizing.edges import edge_note
from onnx_gapmil.rewriting.sizing.record import Size, parse_size, said_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_gapmil.auditing.audit import Announce
    from onnx_gapmil.auditing.measuring import Progress, Run
    from onnx_gapmil.auditing.preparation import Request
    from onnx_gapmil.auditing.summary import AuditSummary

#: More sizes than these are no question that a person asks at once.
_MOST = 12


def parse_sizes(asked: Size | int | str | list[Size | int | str] | None) -> tuple[Size, ...]:
    """``"224,320x448"`` as ((224, 224), (320, 448)), each once; none of None.

    Args:
        asked: a text, a size (a tuple is one: height and width), or a list of sizes.

    Raises:
        InputError: one of them is no size, or there are very many.
    """
    words: list[Size | int | str] = []
    for word in asked if isinstance(asked, list) else [asked]:
        words += word.split(",") if isinstance(word, str) else [] if word is None else [word]
    found = [size for size in map(parse_size, words) if size is not None]
    if len(found) > _MOST:
        raise InputError(f"--size {asked!r}: {len(found)} sizes; {_MOST} at the most are audited at once.")
    return tuple(dict.fromkeys(found))


def alone(request: Request, sizes: tuple[Size, ...]) -> Request:
    """The request of the one run that a shard is a part of.

    Raises:
        InputError: several runs were asked for.
    """
    if len(sizes) > 1 or request.stitch > 1:
        raise InputError(
            "A shard is a part of one run; several sizes, and a stitched grid beside the model's own, are several. "
            "Run and merge the shards of each size by itself (--size 224), without --stitch."
        )
    return replace(request, size=sizes[0] if sizes else None)


def audit_sizes(
    request: Request,
    sizes: tuple[Size, ...],
    output: Path,
    *,
    gallery: int = 300,
    page_classes: int | None = None,
    restart: bool = False,
    announce: Announce = lambda *_: None,
    progress: Callable[[Progress], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> AuditSummary:
    """As `onnx_gapmil.auditing.audit.audit`, at several sizes, or with a stitched grid beside the model's own.

    The folder has the results of the first size (stitched, if that was asked for), and in its summary a row for each;
    those of the others lie in folders below it. A run that was stopped goes on where it was.

    Args:
        request: what was asked for, with `Request.stitch`; its own size is replaced.
        sizes: (height, width) each; none stands for the model's own.
        output: the result folder.
        gallery: images to show in each report.
        page_classes: see `audit`.
        restart: begin anew.
        announce: see `audit`, as for what follows; it is told of each run.
        progress: is told after every batch.
        note: is told what has changed.

    Raises:
        InputError: see `audit`; or the model cannot be brought to one of the sizes, which is said before any is run.
    """
    wanted: list[tuple[Size | None, int]] = [(size, request.stitch) for size in sizes or (None,)]
    rows = wanted if request.stitch == 1 else [(wanted[0][0], 1), *wanted]
    if len(rows) == 1:
        only = alone(request, sizes)
        return measure_audit(only, output, gallery, restart, announce, progress, note, page_classes=page_classes)[0]
    source = load_model(request.model)
    for size, _ in wanted:
        at_size(source, size)
    done: dict[tuple[Size | None, int], Measured] = {}
    offset = request.offset
    for size, stitch in rows:
        if (size, stitch) == wanted[0]:
            continue
        folder = _folder(size, stitch)
        own = replace(request, size=size, stitch=stitch, by_size=True, offset=offset)
        _, run = measure_audit(
            own, output / folder, gallery, restart, announce, progress, note, keep=True, page_classes=page_classes
        )
        done[size, stitch] = _measured(run, folder)
        if request.class_map is None:  # found out once, so that all sizes are read alike
            offset = run.prepared.class_map.offset

    def beside(run: Run) -> tuple[Measured, ...]:
        return tuple(done.get(row) or _measured(run, "") for row in rows)

    main = replace(request, size=wanted[0][0], by_size=True, offset=offset)
    summary, _ = measure_audit(
        main,
        output,
        gallery,
        restart,
        announce,
        progress,
        note,
        by_size=lambda run: figures_by_size(beside(run)),
        page_classes=page_classes,
    )
    for measured_ in done.values():
        Journal(output / measured_.folder / JOURNAL).clear()
    return summary


def _folder(size: Size | None, stitch: int) -> str:
    words = [*([said_size(size)] if size is not None else []), *(["stitched"] if stitch > 1 else [])]
    return "-".join(words) or "plain"


def _measured(run: Run, folder: str) -> Measured:
    head, size = run.classifier.head, run.prepared.preprocess.preprocess.size
    rows, columns = (int(side) if isinstance(side, int) else 0 for side in head.grid_shape[2:4])
    return Measured(
        size=size,
        stitch=run.classifier.session.stitch,
        grid=(rows, columns),
        folder=folder,
        records=measured(run.records),
        note=edge_note(size, head.places),
    )
