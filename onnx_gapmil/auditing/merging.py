"""Shards of an audit put together: the whole audit, as one run would have written it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.auditing.audit import RESULTS, write_results
from onnx_gapmil.auditing.journal import Journal
from onnx_gapmil.auditing.line_places import LinePlaces
from onnx_gapmil.auditing.measuring import Measured, failures, run_of
from onnx_gapmil.auditing.preparation import classifier_of, prepare
from onnx_gapmil.auditing.resuming import Earlier
from onnx_gapmil.auditing.sharding import identity_of, request_of
from onnx_gapmil.files.guarding import protect
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.files.packed import PlacedBatches
from onnx_gapmil.running.pipeline import batch_size
from onnx_gapmil.running.shards import MARK, require_division, require_same, unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnx_gapmil.auditing.preparation import Request
    from onnx_gapmil.auditing.summary import AuditSummary
    from onnx_gapmil.running.shards import FinishedShard


def merge_audit(
    shards: Sequence[FinishedShard],
    output: Path,
    *,
    gallery: int = 300,
    page_classes: int | None = None,
    model: Path | None = None,
    data: Path | str | None = None,
    request: Request | None = None,
) -> tuple[AuditSummary, Sequence[str]]:
    """Write the whole audit: all figures from the shards' records; the images of the gallery are run once more.

    Args:
        shards: all of them, by number; see `find_shards`.
        output: the result folder; made if need be.
        gallery: images to show in the report.
        page_classes: see `onnx_gapmil.auditing.audit.audit`.
        model: where the model lies, if it is not where the first shard had it.
        data: the same of the data set.
        request: what was asked for, with all that it names; what the shards say of it if None.

    Returns:
        What `audit` gives, and the names of the classes.

    Raises:
        InputError: model or data set are not those that the shards were measured with, a shard's records cannot be
            read, or the folder will not do.
    """
    request = request_of(shards[0].result, model, data) if request is None else request
    protect(each.folder / MARK for each in shards)
    require_division(output, RESULTS)
    classifier = classifier_of(request)
    with locked_folder(output, "another audit"):
        found = Journal(shards[0].journal).find()
        if found is None:
            raise unreadable(shards[0])
        prepared = prepare(classifier, request, found.settings.resolved)
        require_same(shards[0], identity_of(request, classifier, prepared))
        whole = Earlier(prepared, PlacedBatches(), batch_size(classifier.session, request.batch))
        for each in shards:
            _add_batches(each, whole)
        records = whole.batches.records()
        measured = Measured(prepared, whole.batches, len(records), failures(records))
        summary = write_results(run_of(request, classifier, measured), output, gallery, page_classes=page_classes)
    return summary, classifier.class_names.names or ()


def _add_batches(shard: FinishedShard, whole: Earlier) -> None:
    """Put the records of a shard's batches to the whole.

    Raises:
        InputError: one is not there.
    """
    found = Journal(shard.journal).find()
    if found is None:
        raise unreadable(shard)
    wanted = Earlier(whole.prepared, PlacedBatches(), whole.size, shard.shard).places
    places = LinePlaces(wanted, whole.names)
    for names, batch in zip(found.images, found.batches, strict=True):
        place = places.of(names)
        if place is not None:
            whole.batches.add(place, batch)
    if not all(place in whole.batches for place in wanted):
        raise unreadable(shard)
