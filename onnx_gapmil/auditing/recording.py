"""One image's record: what the model answered, and what was measured on its grid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import activate
from onnx_gapmil.aggregate.two_classes import with_two_classes
from onnx_gapmil.auditing.multi_label import answered_by
from onnx_gapmil.auditing.records import Failure, ImageRecord, Record
from onnx_gapmil.data import check_sample, read_mask
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.memory import shared
from onnx_gapmil.metrics import measure_image
from onnx_gapmil.metrics.accuracy import first_classes, label_ranks
from onnx_gapmil.metrics.image_cells import ImageCells
from onnx_gapmil.metrics.pooled_ranks import pooled_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.aggregate.reading import Reading
    from onnx_gapmil.data import Sample
    from onnx_gapmil.images.places import Places
    from onnx_gapmil.running.pipeline import BatchAnswered, Photo

_TOP = 5


def record_batch(
    samples: Sequence[Sample],
    answered: BatchAnswered,
    *,
    head: int,
    reading: Reading,
    arranged: bool,
    places: Places,
    judged: Sequence[int] = (),
    stitched: bool = False,
    by_size: bool = False,
) -> list[Record]:
    """Measure a batch.

    Args:
        samples: those of the batch, in order.
        answered: what the model said of them.
        head: which of its heads is measured.
        reading: how its logits are read.
        arranged: whether rows and columns of the grid are known; without them no place is measured.
        places: where its cells look, in pixels of the input.
        judged: the classes of a multi-label head whose scores are kept.
        stitched: whether the grid is stitched of shifted runs, so that its mean is not that of the model's own cells.
        by_size: keep what sizes are compared by.

    Returns:
        A record for each sample; a failure for an image that cannot be read, or whose boxes or mask do not fit it.
    """
    records: list[Record] = []
    row = 0
    for sample, entry in zip(samples, answered.entries, strict=True):
        if isinstance(entry, Exception):
            records.append(Failure(sample.name, str(entry)))
            continue
        grids = answered.grids[head]
        if grids.grid is None:
            raise TypeError("an audit needs the prediction grid of each image")
        shares = grids.placeless_share(independent=reading.multi_label)
        try:
            answer = (grids.logits[row], grids.grid[row])
            # The mean of the model's own cells; a repooled model's answer is by another pool.
            mean = (grids.logits if grids.mean is None else grids.mean)[row] if stitched else None
            found = _record(
                sample,
                entry,
                *answer,
                reading=reading,
                arranged=arranged,
                places=places,
                judged=judged,
                mean=mean,
                by_size=by_size,
            )
            if shares is not None and np.isfinite(shares[row]):
                found = replace(found, measures=replace(found.measures, placeless_share=float(shares[row])))
            records.append(found)
        except DataError as error:
            records.append(Failure(sample.name, str(error)))
        row += 1
    return records


def _record(
    sample: Sample,
    photo: Photo,
    logits: npt.NDArray[Any],
    grid: npt.NDArray[Any],
    *,
    reading: Reading,
    arranged: bool,
    places: Places,
    judged: Sequence[int],
    mean: npt.NDArray[Any] | None,
    by_size: bool,
) -> ImageRecord:
    height, width = photo.geometry.image_size
    checked = check_sample(sample, (height, width))
    scores = with_two_classes(logits)
    # Thresholds are taken off in float64.
    values = with_two_classes(grid) if reading.multi_label or len(grid) == 1 else grid
    if not (np.isfinite(scores).all() and np.isfinite(values).all()):
        raise DataError(f"{sample.name}: the model's answer is not finite (overflow or NaN).")
    probabilities = activate(scores, "sigmoid" if reading.multi_label else "softmax")
    above, cells = reading.above(scores), ImageCells(reading.above(values))
    order = first_classes(above, _TOP)
    aggregated = _ranks(cells, reading, checked.labels)
    answered = answered_by(reading, scores, values, judged)
    if mean is not None:
        by_mean = with_two_classes(mean)
        aggregated["mean"] = tuple(label_ranks(reading.above(by_mean), checked.labels).tolist())
        if answered is not None and "mean" in answered.pooled:
            answered = replace(answered, pooled={**answered.pooled, "mean": tuple(by_mean[list(judged)].tolist())})
    mask = read_mask(checked.mask, (height, width)) if checked.mask is not None else None
    return ImageRecord(
        image=sample.name,
        size=(width, height),
        top=tuple((int(index), float(probabilities[index])) for index in order),
        aggregators={name: shared(ranks) for name, ranks in aggregated.items()},
        measures=measure_image(
            above,
            cells,
            labels=checked.labels,
            geometry=photo.geometry.of_cells(places, (grid.shape[1], grid.shape[2])),
            boxes=checked.boxes,
            mask=mask,
            probabilities=probabilities,
            arranged=arranged,
            multi_label=reading.multi_label,
            ladder=by_size,
        ),
        answered=answered,
    )


def _ranks(cells: ImageCells, reading: Reading, labels: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """By aggregator, the rank of each label."""
    if not reading.multi_label:
        return pooled_ranks(cells, labels)
    pooled = reading.by_each_aggregator(cells.grid)
    ranks = label_ranks(np.stack(list(pooled.values())), labels)
    return {name: tuple(own.tolist()) for name, own in zip(pooled, ranks, strict=True)}
