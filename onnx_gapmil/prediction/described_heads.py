"""The heads that a classifier describes: their records, names of their classes, how their logits are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from onnx_gapmil.aggregate.reading import Reading
from onnx_gapmil.data.choosing import choose_classes, read_thresholds
from onnx_gapmil.errors import InputError
from onnx_gapmil.prediction.describe import Describer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.data.class_names import ClassNames
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.rewriting.record import HeadRecord


@dataclass(frozen=True)
class DescribedHead:
    """One of a session's heads, with what its numbers mean.

    Attributes:
        place: which of the session's heads it is.
        record: what is known of it.
        names: of its classes.
        reading: how its logits are read.
    """

    place: int
    record: HeadRecord
    names: ClassNames
    reading: Reading

    def choose(self, classes: Sequence[str | int]) -> tuple[int, ...]:
        """The numbers of classes that are asked for.

        Raises:
            InputError: it has no such class.
        """
        count = max(2, channels(self.record))
        return choose_classes(classes, count, self.names.names, f"output '{self.record.output}'")

    def describer(self, top: int, saved: Emit | None, chosen: tuple[int, ...] | None) -> Describer:
        """What puts its answers into words.

        Args:
            top: classes listed at image level.
            saved: arrays that each answer is to hold for a file; None for none.
            chosen: the classes that are asked for; None for all.
        """
        return Describer(self.record, self.names.names, max(1, top), saved, reading=self.reading, chosen=chosen)


def choose_of_heads(
    heads: Sequence[DescribedHead], classes: Sequence[str | int] | None
) -> tuple[tuple[int, ...] | None, ...]:
    """The numbers of classes that are asked for, for each head; None for all of a head's classes.

    They are of every head that has all of them.

    Raises:
        InputError: no head has all of them.
    """
    if classes is None:
        return tuple(None for _ in heads)
    chosen: list[tuple[int, ...] | None] = []
    errors: list[InputError] = []
    for head in heads:
        try:
            chosen.append(head.choose(classes))
        except InputError as error:
            chosen.append(None)
            errors.append(error)
    if len(errors) == len(heads):
        raise errors[0]
    return tuple(chosen)


def reading_of(
    record: HeadRecord, names: ClassNames, thresholds: float | str | Path | Sequence[float] | None = None
) -> Reading:
    """How a head's logits are read: one of many classes, two by one logit, or multi-label with its thresholds.

    Args:
        record: of the head.
        names: of its classes, which a file of thresholds may name.
        thresholds: probabilities above which a class is present: a number, a file, or one for each class; the reading
            that its activation tells if None.

    Raises:
        InputError: the thresholds do not fit its classes.
    """
    count, of = channels(record), f"output '{record.output}'"
    if isinstance(thresholds, str | Path | int | float):
        thresholds = read_thresholds(thresholds, max(2, count), names.names, of)
    try:
        return Reading.of(record.activation, count, thresholds)
    except InputError as error:
        raise InputError(f"{of}: {error}") from error


def channels(head: HeadRecord) -> int:
    """K, the number of a head's logits."""
    return int(cast("int", head.grid_shape[1]))
