"""What a comparison knows of one image: a line of its journal, a row of its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.files.serial import from_json


@dataclass(frozen=True)
class Answer:
    """What one model answers to an image.

    Attributes:
        top: its first five classes, in its own numbers, with their probabilities, best first.
        labels: the true classes in its own numbers; empty without labels.
        rank: of the best-ranked true class, from 0; None without labels.
    """

    top: tuple[tuple[int, float], ...]
    labels: tuple[int, ...]
    rank: int | None

    @property
    def right(self) -> bool | None:
        """Whether the first is a true one; None without labels."""
        return None if self.rank is None else self.rank < 1


@dataclass(frozen=True)
class Drift:
    """How far numbers of the aligned classes moved on one image: mean and largest of ``|new - old|``."""

    mean: float
    max: float


@dataclass(frozen=True)
class GridDrift:
    """How far the evidence moved on one image, on the common places of both grids; see ``docs/validation.md``.

    Attributes:
        cells: of the common places.
        averaged: whether a grid was averaged by area onto the cells of the coarser one.
        correlation: of the evidence of all aligned classes over all cells; None where a grid says the same everywhere.
        winners_changed: share of the cells that another class wins.
        moved: share of the evidence for the answer that lies in other cells; None where a model has none.
        on_object: by how much the share of the evidence on the object grew, below 0 where it shrank; None without a box
            or mask, or without evidence.
    """

    cells: int
    averaged: bool
    correlation: float | None
    winners_changed: float
    moved: float | None
    on_object: float | None


@dataclass(frozen=True)
class PairRecord:
    """An image that both models answered.

    Attributes:
        image: its name in the data set.
        size: (width, height) of the upright photo in pixels.
        old: the old model's answer.
        new: the new model's.
        agree: whether the first classes are the same.
        shared: share of the first five classes that both have.
        unaligned: whether an answer is a class that the other model lacks.
        logits: drift of the logits of aligned classes.
        probabilities: drift of their probabilities.
        grids: drift of the grids; None where their common places are not known.
        columns: (column, value) each: what is known of the image, by which slices are made.
        same_present: whether the same classes are present to both; None unless both are multi-label.
    """

    image: str
    size: tuple[int, int]
    old: Answer
    new: Answer
    agree: bool
    shared: float
    unaligned: bool
    logits: Drift
    probabilities: Drift
    grids: GridDrift | None
    columns: tuple[tuple[str, str], ...]
    same_present: bool | None = None

    @property
    def fixed(self) -> bool:
        """Whether the new model alone is right."""
        return self.old.right is False and self.new.right is True

    @property
    def broken(self) -> bool:
        """Whether the old model alone is right."""
        return self.old.right is True and self.new.right is False


Record = PairRecord | Failure


def read_record(value: object) -> Record:
    """A record from its JSON form.

    Raises:
        ValueError: it is none.
    """
    failed = isinstance(value, Mapping) and "error" in value
    return from_json(Failure, value) if failed else from_json(PairRecord, value)
