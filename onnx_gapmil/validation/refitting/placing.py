"""Where two grids of one model see the objects of the same images: boxes and the pointing game, paired by object."""

from __future__ import annotations

from contextlib import closing
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.auditing.recording import record_batch
from onnx_gapmil.auditing.records import ImageRecord
from onnx_gapmil.files.packed import Chosen
from onnx_gapmil.metrics.boxes import IOU, IOUS, thresholds_of
from onnx_gapmil.metrics.clustered import clustered_mean
from onnx_gapmil.metrics.localization import box_accuracy, held_out_hits
from onnx_gapmil.metrics.paired import interval_of_equal
from onnx_gapmil.running.pipeline import iterate_batches
from onnx_gapmil.validation.refitting.auxiliary_result import Localized, Placed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.aggregate.reading import Reading
    from onnx_gapmil.data import Sample
    from onnx_gapmil.images.preprocess import Preprocess
    from onnx_gapmil.metrics.boxes import BoxHits
    from onnx_gapmil.running.grid_session import GridSession

Groups = npt.NDArray[np.intp]


def localized(
    session: GridSession,
    heads: tuple[int, int],
    preprocess: Preprocess,
    samples: Sequence[Sample],
    groups: Groups,
    reading: Reading,
    *,
    batch: int | None,
) -> Localized | None:
    """Measure two grids.

    Args:
        session: the model.
        heads: which of its heads: the vendor's, and the finer one.
        preprocess: how photos become inputs.
        samples: images with boxes.
        groups: the group of each: whole groups are drawn for the intervals, and an image's objects stay together.
        reading: how logits are read.
        batch: images at a time.

    Returns:
        None where the network sees no object of these images.
    """
    found: tuple[list[list[BoxHits]], list[list[BoxHits]]] = ([], [])
    points: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    own: list[int] = []
    places = [session.heads[head].at(preprocess.size).places for head in heads]
    paths = Chosen(samples, None, attrgetter("image"))
    batches = iterate_batches(session, preprocess, paths, batch=batch, outputs=("grid",))
    start = 0
    with closing(batches):
        for answered in batches:
            part = samples[start : start + len(answered.entries)]
            pair = [
                record_batch(
                    part,
                    answered,
                    head=head,
                    reading=reading,
                    arranged=True,
                    places=seen,
                )
                for head, seen in zip(heads, places, strict=True)
            ]
            for place, records in enumerate(zip(*pair, strict=True)):
                if not all(isinstance(record, ImageRecord) and record.measures.localization for record in records):
                    continue
                own.append(int(groups[start + place]))
                for which, record in enumerate(records):
                    assert isinstance(record, ImageRecord)  # noqa: S101 - told by the line above
                    found[which].append(list(record.measures.localization or ()))
                    game = record.measures.pointing
                    points[which].append((game.hits, game.games) if game is not None else (0, 0))
            start += len(part)
    if not own:
        return None
    images = np.array(own, dtype=np.intp)
    objects = np.repeat(images, [len(hits) for hits in found[0]])
    flat = [[hit for hits in each for hit in hits] for each in found]
    accuracies = [box_accuracy(hits)[0] for hits in flat]
    shares = [held_out_hits(thresholds_of([hit.grid for hit in hits])) for hits in flat]
    half = IOUS.index(IOU)
    hits, games = (np.array([[row[at] for row in each] for each in points], dtype=np.float64) for at in (0, 1))
    played = np.repeat(np.arange(len(images)), games[0].astype(np.intp))
    won = [row[played] / games[0][played] for row in hits]
    return Localized(
        images=len(images),
        objects=len(objects),
        boxes=_placed(shares[0].mean(axis=1), shares[1].mean(axis=1), objects),
        half=_placed(shares[0][:, half], shares[1][:, half], objects),
        pointing=_placed(won[0], won[1], images[played]),
        thresholds=(accuracies[0].grid.threshold, accuracies[1].grid.threshold),
    )


def _placed(vendor: npt.NDArray[Any], finer: npt.NDArray[Any], groups: Groups) -> Placed:
    difference = np.asarray(finer, dtype=np.float64) - np.asarray(vendor, dtype=np.float64)
    if (difference == difference[0]).all():
        interval = interval_of_equal(float(difference[0]), len(np.unique(groups)), -1.0, 1.0)
    else:
        interval = clustered_mean(difference, groups)
    return Placed(float(np.mean(vendor)), float(np.mean(finer)), float(difference.mean()), interval)
