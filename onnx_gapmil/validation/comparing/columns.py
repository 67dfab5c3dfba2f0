"""All records of a comparison in columns: in one pass, what figures, slices and page ask of all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.data.slices import slices_of
from onnx_gapmil.files.columns import Columns, ColumnsBuilder, Growing
from onnx_gapmil.files.packed import PackedList

if TYPE_CHECKING:
    from onnx_gapmil.data.slices import Slices
    from onnx_gapmil.files.columns import Kind, Numbers
    from onnx_gapmil.validation.comparing.records import PairRecord, Record

_FIELDS: dict[str, Kind] = {
    **{f"{side}.rank": "i" for side in ("old", "new")},
    **dict.fromkeys(("agree", "unaligned", "same_present"), "b"),
    "shared": "d",
    **{f"{kind}.{name}": "d" for kind in ("logits", "probabilities") for name in ("mean", "max")},
    "grids.averaged": "b",
    **{f"grids.{name}": "d" for name in ("correlation", "winners_changed", "moved", "on_object")},
}


@dataclass(frozen=True)
class PairColumns:
    """The records of a run; all but `compared` are of the images that were compared, in the data set's order.

    Attributes:
        compared: (records,), whether each is of such an image.
        failures: the others.
        names: of the images.
        known: of each, what slices are made by.
        numbers: of each, by dotted path in its record.
        labels: of all, in the old model's classes, one behind the other.
        label_counts: (images,), how many each has.
        answers: (images,), the new model's first class.
    """

    compared: npt.NDArray[np.bool_]
    failures: tuple[Failure, ...]
    names: PackedList[str]
    known: PackedList[tuple[tuple[str, str], ...]]
    numbers: Columns
    labels: Numbers
    label_counts: Numbers
    answers: Numbers

    def __len__(self) -> int:
        return len(self.answers)

    @classmethod
    def of(cls, records: Iterable[Record] | PairColumns) -> PairColumns:
        """Of records in the data set's order; of what is one already, itself."""
        if isinstance(records, PairColumns):
            return records
        flags, failures, names = Growing("b"), list[Failure](), PackedList[str]()
        known, numbers = PackedList[tuple[tuple[str, str], ...]](), ColumnsBuilder(_FIELDS)
        labels, counts, answers = Growing("i"), Growing("i"), Growing("i")
        for record in records:
            flags.extend((not isinstance(record, Failure),))
            if isinstance(record, Failure):
                failures.append(record)
                continue
            names.append(record.image)
            known.append(record.columns)
            numbers.add(record)
            labels.extend(record.old.labels)
            counts.extend((len(record.old.labels),))
            answers.extend((record.new.top[0][0],))
        return cls(
            compared=flags.built() == 1,
            failures=tuple(failures),
            names=names,
            known=known,
            numbers=numbers.columns(),
            labels=labels.built(),
            label_counts=counts.built(),
            answers=answers.built(),
        )

    def slices(self) -> Slices:
        """Which images make which slice."""
        return slices_of(self.known, self.names)


def numbers_of(records: Iterable[PairRecord] | PairColumns | Columns) -> Columns:
    """The numbers of images that were compared, whatever holds them."""
    return records if isinstance(records, Columns) else PairColumns.of(records).numbers


def fixed(numbers: Columns) -> npt.NDArray[np.bool_]:
    """(images,), whether the new model alone is right."""
    right: npt.NDArray[np.bool_] = (numbers["old.rank"] >= 1) & (numbers["new.rank"] == 0)
    return right


def broken(numbers: Columns) -> npt.NDArray[np.bool_]:
    """(images,), whether the old model alone is right."""
    wrong: npt.NDArray[np.bool_] = (numbers["old.rank"] == 0) & (numbers["new.rank"] >= 1)
    return wrong
