"""`merge`: the result folders of all shards of a run in; the results of the whole run out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.merging import merge_audit
from onnx_gapmil.auditing.preparation import Request
from onnx_gapmil.auditing.sharding import VERB as AUDIT
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.guarding import watched_reads
from onnx_gapmil.prediction.merging import MergedPredictions, merge_predictions
from onnx_gapmil.prediction.predicting import VERB as PREDICT
from onnx_gapmil.running.shards import find_shards, machines_note
from onnx_gapmil.validation.comparing.compare import VERB as COMPARE
from onnx_gapmil.validation.comparing.merging import merge_comparison
from onnx_gapmil.validation.comparing.request import CompareRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from onnx_gapmil.auditing.summary import AuditSummary
    from onnx_gapmil.validation.comparing.result import Comparison


@dataclass(frozen=True)
class Merged:
    """What shards were put together to.

    Attributes:
        result: what the verb gives by itself.
        names: of the classes of an audit, by number.
    """

    result: AuditSummary | Comparison | MergedPredictions
    names: Sequence[str] = ()


def merge(
    folders: Sequence[Path],
    output: Path,
    *,
    gallery: int | None = None,
    page_classes: int | None = None,
    model: Path | None = None,
    data: Path | str | None = None,
    asked: Request | CompareRequest | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Merged:
    """Put the shards of an audit, a comparison or a prediction together.

    Args:
        folders: the result folders of all shards, in any order.
        output: the result folder of the whole; made if need be.
        gallery: images in the report; None for as many as the verb shows by itself.
        page_classes: of each of these the classes whose cells the report keeps; None for as many as the verb keeps.
        model: of an audit, where the model lies if it is not where the shards had it.
        data: of an audit or a comparison, the same of the images.
        asked: of either, what all shards were asked for, by whoever knows it: shards name URLs without their secrets.
        note: is told what else is to be said.

    Raises:
        InputError: a shard is missing, there twice, not finished, or of another run; or model, data or folder will not
            do.
    """
    with watched_reads():
        shards = find_shards(folders)
        if any(each.folder.resolve() == output.resolve() for each in shards):
            raise InputError(f"{output} is the folder of a shard; choose another one for the whole.")
        if said := machines_note(shards):
            note(said)
        verb = shards[0].result.verb
        if verb == AUDIT:
            most = 300 if gallery is None else gallery
            own = asked if isinstance(asked, Request) else None
            found = merge_audit(
                shards, output, gallery=most, page_classes=page_classes, model=model, data=data, request=own
            )
            return Merged(*found)
        if verb == COMPARE:
            most = 60 if gallery is None else gallery
            pair = asked if isinstance(asked, CompareRequest) else None
            return Merged(
                merge_comparison(shards, output, gallery=most, page_classes=page_classes, data=data, request=pair)
            )
        if verb == PREDICT:
            return Merged(merge_predictions(shards, output))
        raise InputError(f"{shards[0].folder} is a shard of {verb}, which cannot be put together.")
