"""`merge`: the shards of a run in, the results of the whole out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.api.arguments import path_of, place_of
from onnx_gapmil.api.places import takes_urls
from onnx_gapmil.validation.merging import merge as run_merge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.auditing.summary import AuditSummary
    from onnx_gapmil.prediction.merging import MergedPredictions
    from onnx_gapmil.validation.comparing.result import Comparison


@takes_urls(read=("folders", "model"), folder="output")
def merge(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    gallery: int | None = None,
    page_classes: int | None = None,
    model: str | Path | None = None,
    data: str | Path | None = None,
) -> AuditSummary | Comparison | MergedPredictions:
    """Put the shards of an audit, a comparison or a prediction together: the results of one run over all images.

    Args:
        folders: the result folders of all shards, in any order.
        output: the folder for the results of the whole.
        gallery: images to show in the report; None for as many as the verb shows.
        page_classes: of each of these the classes whose cells the report keeps; None for as many as the verb keeps.
        model: of an audit, where the model lies, if it is not where the shards had it.
        data: of an audit or a comparison, where the images lie, if they are not where the shards had them.

    Returns:
        What `audit` or `compare` returns; of predictions where they were written, and how many.

    Raises:
        InputError: a shard is missing, there twice, not finished, or of another run; or model, data or folder will not
            do.
    """
    merged = run_merge(
        [Path(folder) for folder in folders],
        Path(output),
        gallery=gallery,
        page_classes=page_classes,
        model=path_of(model),
        data=place_of(data),
    )
    return merged.result
