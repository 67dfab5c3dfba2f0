"""From the records of a run to what a multi-label head is measured by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.auditing.columns import split
from onnx_gapmil.metrics.multilabel import (
    Answered,
    MultiLabelFigures,
    mean_average_precision,
    multilabel_figures,
    truth_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.aggregate.reading import Reading
    from onnx_gapmil.auditing.columns import RunColumns
    from onnx_gapmil.data import Sample
    from onnx_gapmil.metrics.intervals import Interval

#: With more classes than these, scores by other aggregators are not kept.
MOST_POOLED = 200


def judged_classes(samples: Sequence[Sample]) -> tuple[int, ...]:
    """The classes that label an image of the data set: of others nobody says where they are."""
    return tuple(sorted({label for sample in samples for label in sample.labels}))


def answered_by(
    reading: Reading, logits: npt.NDArray[np.float64], grid: npt.NDArray[np.float64], judged: Sequence[int]
) -> Answered | None:
    """What a multi-label head says of one image; None of another head.

    Args:
        reading: of its logits.
        logits: (K,).
        grid: (K, H, W).
        judged: the classes whose scores are kept.
    """
    if not reading.multi_label:
        return None
    columns = list(judged)
    pooled = {}
    if len(columns) <= MOST_POOLED:
        pooled = {
            name: tuple(reading.pooled(aggregator, grid[columns]).tolist()) for name, aggregator in AGGREGATORS.items()
        }
    present = np.flatnonzero(reading.present(logits)).tolist()
    return Answered(tuple(present), tuple(logits[columns].tolist()), pooled)


class MultiLabelRun:
    """The records of a multi-label head, by class.

    Args:
        reading: of its logits.
        records: of the run.
        judged: the classes whose scores they have.
        total: classes of the model.
    """

    def __init__(self, reading: Reading, records: RunColumns, judged: Sequence[int], *, total: int) -> None:
        self._reading, self._records = reading, records
        seen = set(np.unique(records.labels).tolist())
        self._columns = [column for column, index in enumerate(judged) if index in seen]
        self._classes = [judged[column] for column in self._columns]
        self._total = total
        self.known = reading.multi_label and records.answered.images == len(records) and bool(self._classes)
        self._labels: list[tuple[int, ...]] = []
        if self.known:
            self._labels = list(split(records.labels, records.label_counts))

    def figures(self) -> tuple[MultiLabelFigures | None, dict[str, Interval]]:
        """Its figures and their intervals; None of another head, or where no image has a label."""
        if not self.known:
            return None, {}
        levels = self._reading.scores(self._reading.levels(self._total))
        return multilabel_figures(
            self._labels,
            list(split(self._records.answered.present, self._records.answered.counts)),
            self._records.answered.scores[:, self._columns],
            self._classes,
            [float(levels[index]) for index in self._classes],
            total=self._total,
        )

    def precision(self, aggregator: str) -> float | None:
        """Mean average precision with the cells pooled by an aggregator; None where that is not kept."""
        rows = self._records.answered.pooled.get(aggregator)
        if not self.known or rows is None or len(rows) < len(self._labels):
            return None
        return mean_average_precision(rows[:, self._columns], truth_of(self._labels, self._classes))
