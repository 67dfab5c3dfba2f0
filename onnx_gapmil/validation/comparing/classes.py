"""The figures of each class that labels an image: a row of ``classes.parquet``, a slice of ``compare.json``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.validation.comparing.columns import broken
from onnx_gapmil.validation.comparing.figures import PairFigures, figures_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.files.columns import Numbers
    from onnx_gapmil.validation.comparing.columns import PairColumns
    from onnx_gapmil.validation.comparing.sides import Sides


@dataclass(frozen=True)
class ClassFigures:
    """One class.

    Attributes:
        index: in the old model.
        name: of the old model's class.
        key: by which it is found among the slices: its name, with its number where two classes have one name.
        partner: its number in the new model; None where that lacks it.
        figures: of its images.
        answers: what the new model answers to those that it broke, as the old model's number, its name and how
            often; the most frequent first, three at most. A class that the old model lacks is left out.
    """

    index: int
    name: str
    key: str
    partner: int | None
    figures: PairFigures
    answers: tuple[tuple[int, str, int], ...]


def class_figures(records: PairColumns, sides: Sides) -> tuple[ClassFigures, ...]:
    """A row for each class that labels an image, by its number in the old model."""
    order = np.argsort(records.labels, kind="stable")
    owners = np.repeat(np.arange(len(records)), records.label_counts)[order]
    indexes, starts = np.unique(records.labels[order], return_index=True)
    members = dict(zip(indexes.tolist(), np.split(owners, starts[1:]), strict=True)) if len(order) else {}
    names = sides.old.classifier.class_names
    taken = Counter(names.name(index) for index in members)
    partners = dict(sides.alignment.pairs)
    return tuple(
        ClassFigures(
            index=index,
            name=names.name(index),
            key=names.name(index) if taken[names.name(index)] == 1 else f"{names.name(index)} ({index})",
            partner=partners.get(index),
            figures=figures_of(
                records.numbers.among(members[index]), unplaced=sides.unplaced, same=sides.same, brief=True
            ),
            answers=_answers(records, members[index], sides),
        )
        for index in sorted(members)
    )


def unjudged_classes(rows: Sequence[ClassFigures], sides: Sides) -> dict[str, int]:
    """Classes whose images all failed, by name, with how many images each labels."""
    known = {row.index for row in rows}
    name = sides.old.classifier.class_names.name
    found = Counter(label for shot in sides.shots if shot.old is not None for label in shot.old.labels)
    taken = {row.key for row in rows}
    return {
        name(index) if name(index) not in taken else f"{name(index)} ({index})": times
        for index, times in sorted(found.items())
        if index not in known
    }


def _answers(records: PairColumns, places: Numbers, sides: Sides) -> tuple[tuple[int, str, int], ...]:
    name = sides.old.classifier.class_names.name
    joint = np.asarray(sides.alignment.of_new())
    found = Counter(joint[records.answers[places[broken(records.numbers.among(places))]]].tolist())
    known = [(index, name(index), times) for index, times in found.items() if index < sides.alignment.old_count]
    return tuple(sorted(known, key=lambda entry: (-entry[2], entry[0]))[:3])
