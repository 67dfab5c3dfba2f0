"""All records of a run in columns: one pass over them gives what summary, slices and page ask of all."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.auditing.records import Failure, Record
from onnx_gapmil.files.columns import Columns, ColumnsBuilder, Growing
from onnx_gapmil.files.packed import PackedList
from onnx_gapmil.metrics.causes import CAUSES
from onnx_gapmil.metrics.columns import MeasuredImages, MeasuresBuilder

if TYPE_CHECKING:
    from onnx_gapmil.files.columns import Kind, Numbers
    from onnx_gapmil.metrics.multilabel import Answered

#: Of every image that was measured, be it labelled or not.
_FIELDS: dict[str, Kind] = {
    "measures.right": "b",
    "measures.cause": CAUSES,
    "measures.foreground.cell_share": "d",
    "measures.object_share": "d",
    "measures.placeless_share": "d",
}


@dataclass(frozen=True)
class AnsweredColumns:
    """What a multi-label head says of images; see `Answered`.

    Attributes:
        images: that it was kept of.
        present: of each image, the classes that are there, one behind the other.
        counts: (images,), how many these are.
        scores: (images, judged classes).
        pooled: by aggregator the same, of the images that it was kept of.
    """

    images: int
    present: Numbers
    counts: Numbers
    scores: npt.NDArray[np.float64]
    pooled: Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class RunColumns:
    """The records of a run; all but `measured` are of the images that were measured, in the data set's order.

    Attributes:
        measured: (records,), whether each is of such an image.
        failures: the others.
        names: of the images.
        labelled: (images,), whether each has a label.
        labels: the labels of all, one behind the other.
        label_counts: (images,), how many each has.
        sizes: (images, 2), width and height of the photos.
        first: the model's first class of each.
        probability: of that.
        numbers: of each, by dotted path in its record.
        measures: what the figures are made of, of those that have a label.
        ranks: by aggregator the ranks of their labels, one behind the other.
        answered: of a multi-label head, what it says.
    """

    measured: npt.NDArray[np.bool_]
    failures: tuple[Failure, ...]
    names: PackedList[str]
    labelled: npt.NDArray[np.bool_]
    labels: Numbers
    label_counts: Numbers
    sizes: Numbers
    first: Numbers
    probability: Numbers
    numbers: Columns
    measures: MeasuredImages
    ranks: Columns
    answered: AnsweredColumns

    def __len__(self) -> int:
        return len(self.labelled)

    @property
    def records(self) -> npt.NDArray[np.intp]:
        """(images,), the place of each image's record."""
        return np.flatnonzero(self.measured)

    @classmethod
    def of(cls, records: Iterable[Record] | RunColumns) -> RunColumns:
        """Of records in the data set's order; of what is one already, itself."""
        if isinstance(records, RunColumns):
            return records
        flags, failures, names = Growing("b"), list[Failure](), PackedList[str]()
        flat = {name: Growing("i") for name in ("labels", "counts", "sizes", "first")}
        probability, ranks = Growing("d"), defaultdict[str, Growing](lambda: Growing("i"))
        numbers, measures, answered = ColumnsBuilder(_FIELDS), MeasuresBuilder(), _AnsweredBuilder()
        for record in records:
            flags.extend((not isinstance(record, Failure),))
            if isinstance(record, Failure):
                failures.append(record)
                continue
            labels = record.measures.labels
            names.append(record.image)
            flat["labels"].extend(labels)
            flat["counts"].extend((len(labels),))
            flat["sizes"].extend(record.size)
            flat["first"].extend((record.top[0][0],))
            probability.extend((record.top[0][1],))
            numbers.add(record)
            answered.add(record.answered)
            if labels:
                measures.add(record.measures)
                for name, own in record.aggregators.items():
                    ranks[name].extend(own)
        counts = flat["counts"].built()
        return cls(
            measured=flags.built() == 1,
            failures=tuple(failures),
            names=names,
            labelled=counts > 0,
            labels=flat["labels"].built(),
            label_counts=counts,
            sizes=flat["sizes"].built().reshape(-1, 2),
            first=flat["first"].built(),
            probability=probability.built(),
            numbers=numbers.columns(),
            measures=measures.built(),
            ranks=Columns({name: values.built() for name, values in ranks.items()}),
            answered=answered.built(),
        )


class _AnsweredBuilder:
    def __init__(self) -> None:
        self._images = 0
        self._present, self._counts = Growing("i"), Growing("i")
        self._scores = array("d")
        self._pooled: dict[str, array[float]] = {}

    def add(self, answered: Answered | None) -> None:
        if answered is None:
            return
        self._images += 1
        self._present.extend(answered.present)
        self._counts.extend((len(answered.present),))
        self._scores.extend(answered.scores)
        for name, scores in answered.pooled.items():
            self._pooled.setdefault(name, array("d")).extend(scores)

    def built(self) -> AnsweredColumns:
        classes = len(self._scores) // max(1, self._images)
        return AnsweredColumns(
            self._images,
            self._present.built(),
            self._counts.built(),
            _by_class(self._scores, classes),
            {name: _by_class(scores, classes) for name, scores in self._pooled.items()},
        )


def _by_class(scores: array[float], classes: int) -> npt.NDArray[Any]:
    return np.frombuffer(scores).reshape(-1, classes) if classes else np.empty((0, 0))


def split(values: Numbers, counts: Numbers) -> Iterable[tuple[int, ...]]:
    """What lies one behind the other, image by image."""
    start = 0
    for count in counts.tolist():
        yield tuple(values[start : start + count].tolist())
        start += count
