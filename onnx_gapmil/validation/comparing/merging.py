"""Shards of a comparison put together: the whole comparison, as one run would have written it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.guarding import protect
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.files.packed import PlacedBatches
from onnx_gapmil.files.serial import from_json
from onnx_gapmil.running.shards import MARK, require_division, require_same, unreadable
from onnx_gapmil.validation.comparing.compare import RESULTS, write_results
from onnx_gapmil.validation.comparing.dividing import places_of, unit_of
from onnx_gapmil.validation.comparing.request import CompareRequest
from onnx_gapmil.validation.comparing.resuming import Journal, batches_of, identity
from onnx_gapmil.validation.comparing.running import Done, failures, records_of
from onnx_gapmil.validation.comparing.sides import open_sides, prepare_sides

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnx_gapmil.running.shards import FinishedShard
    from onnx_gapmil.validation.comparing.records import Record
    from onnx_gapmil.validation.comparing.result import Comparison
    from onnx_gapmil.validation.comparing.sides import Sides


def merge_comparison(
    shards: Sequence[FinishedShard],
    output: Path,
    *,
    gallery: int = 60,
    page_classes: int | None = None,
    data: Path | str | None = None,
    request: CompareRequest | None = None,
) -> Comparison:
    """Write the whole comparison: all figures from the shards' records; the gallery's images are run once more.

    Args:
        shards: all of them, by number; see `find_shards`.
        output: the result folder; made if need be.
        gallery: images to show in the report.
        page_classes: see `onnx_gapmil.validation.comparing.compare.compare`.
        data: where the images lie, if it is not where the first shard had them.
        request: what was asked for, with all that it names; what the shards say of it if None.

    Raises:
        InputError: models or images are not those that the shards were made with, a shard's records cannot be read, or
            the folder will not do.
    """
    request = _request_of(shards[0]) if request is None else request
    request = replace(request, data=data or request.data)
    protect(each.folder / MARK for each in shards)
    require_division(output, RESULTS)
    old, new = open_sides(request)
    with locked_folder(output, "another comparison"):
        sides = prepare_sides(request, old, new)
        unit = unit_of(sides, request.batch)
        require_same(shards[0], identity(sides, unit, stamped=False))
        whole: PlacedBatches[Record] = PlacedBatches()
        for each in shards:
            _add_lines(each, sides, unit, whole)
        records = whole.records()
        done = Done(whole, len(records), failures(records))
        return write_results(sides, records_of(done), output, gallery, request.batch, page_classes)


def _add_lines(shard: FinishedShard, sides: Sides, unit: int, whole: PlacedBatches[Record]) -> None:
    """Put the records of a shard's lines to the whole.

    Raises:
        InputError: some are not there.
    """
    found = Journal(shard.journal).find()
    places = places_of(sides, unit, shard.shard)
    if found is None:
        raise unreadable(shard)
    held = batches_of(found, sides, unit, places)
    if len(held) < len(places):
        raise unreadable(shard)
    for place, batch in held.items():
        whole.add(place, batch)


def _request_of(shard: FinishedShard) -> CompareRequest:
    try:
        return from_json(CompareRequest, shard.result.details["request"])
    except (KeyError, ValueError) as error:
        raise InputError(f"{shard.folder} does not say what was asked for ({error}); run the shard anew.") from error
