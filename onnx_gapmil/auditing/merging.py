"""Shards of an audit put together: the whole audit, as one run would have written it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.auditing.audit import RESULTS, write_results
from onnx_gapmil.auditing.journal import Journal
from onnx_gapmil.auditing.measuring import Measured, failures, run_of
from onnx_gapmil.auditing.preparation import classifier_of, prepare
from onnx_gapmil.auditing.resuming import Earlier
from onnx_gapmil.auditing.sharding import identity_of, request_of
from onnx_gapmil.files.guarding import protect
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.running.pipeline import batch_size
from onnx_gapmil.running.shards import MARK, require_division, require_same, unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnx_gapmil.auditing.records import Record
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
) -> tuple[AuditSummary, Sequence[str]]:
    """Write the whole audit: all figures from the shards' records; the images of the gallery are run once more.

    Args:
        shards: all of them, by number; see `find_shards`.
        output: the result folder; made if need be.
        gallery: images to show in the report.
        page_classes: see `onnx_gapmil.auditing.audit.audit`.
        model: where the model lies, if it is not where the first shard had it.
        data: the same of the data set.

    Returns:
        What `audit` gives, and the names of the classes.

    Raises:
        InputError: model or data set are not those that the shards were measured with, a shard's records cannot be
            read, or the folder will not do.
    """
    request = request_of(shards[0].result, model, data)
    protect(each.folder / MARK for each in shards)
    require_division(output, RESULTS)
    classifier = classifier_of(request)
    with locked_folder(output, "another audit"):
        found = Journal(shards[0].journal).find()
        if found is None:
            raise unreadable(shards[0])
        prepared = prepare(classifier, request, found.settings.resolved)
        require_same(shards[0], identity_of(request, classifier, prepared))
        whole = Earlier(prepared, {}, batch_size(classifier.session, request.batch))
        batches: dict[int, tuple[Record, ...]] = {}
        for each in shards:
            batches |= _batches(each, whole)
        images, failed = sum(map(len, batches.values())), sum(map(failures, batches.values()))
        measured = Measured(prepared, batches, images, failed)
        summary = write_results(run_of(request, classifier, measured), output, gallery, page_classes=page_classes)
    return summary, classifier.class_names.names or ()


def _batches(shard: FinishedShard, whole: Earlier) -> dict[int, tuple[Record, ...]]:
    """The records of a shard's batches, by place.

    Raises:
        InputError: one is not there.
    """
    found = Journal(shard.journal).find()
    if found is None:
        raise unreadable(shard)
    wanted = list(Earlier(whole.prepared, {}, whole.size, shard.shard).places)
    places = {tuple(sample.name for sample in whole.of(place)): place for place in wanted}
    batches: dict[int, tuple[Record, ...]] = {}
    for batch in found.batches:
        place = places.get(tuple(record.image for record in batch))
        if place is not None:
            batches[place] = batch
    if len(batches) < len(wanted):
        raise unreadable(shard)
    return batches
