"""Run candidates on photos; nothing is decoded, resized or run twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import ImageError, InputError
from onnx_gapmil.files.wording import count
from onnx_gapmil.fitting.preprocessing.candidates import Candidate
from onnx_gapmil.fitting.preprocessing.photos import Photos
from onnx_gapmil.fitting.preprocessing.scoring import WRONG, Outcome, Score, outcome
from onnx_gapmil.running.prediction_grid import PredictionGrid


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate under one offset, and what came of it, in the order of the photos."""

    candidate: Candidate
    offset: int
    outcomes: tuple[Outcome, ...]

    @property
    def score(self) -> Score:
        """The means over the images that were tried."""
        return Score.of(self.outcomes)


class Trials:
    """The one place where a search runs the model.

    Args:
        run: a batch in, one head's logits and grid out.
        photos: of the search.
        labels: of each photo, before any offset.
        offsets: that may be the right one.
        batch_size: photos in one run.
        progress: called after each run with `forward_passes`.
        independent: whether each class is present by itself.

    Attributes:
        photos: as given.
        forward_passes: photos that were run so far.
    """

    def __init__(
        self,
        run: Callable[[npt.NDArray[Any]], PredictionGrid],
        photos: Photos,
        labels: Sequence[frozenset[int]],
        offsets: Sequence[int],
        batch_size: int,
        progress: Callable[[int], None] | None,
        *,
        independent: bool = False,
    ) -> None:
        self.photos = photos
        self.forward_passes = 0
        self._run = run
        self._labels = labels
        self._asked = tuple(dict.fromkeys(offsets))
        self._batch_size = batch_size
        self._progress = progress
        self._independent = independent
        self._classes = 0
        self._offsets: tuple[int, ...] = ()
        # By photo and the bytes of its input: two rules often prepare a photo alike.
        self._known: dict[tuple[int, bytes], dict[int, Outcome]] = {}
        self._inputs: dict[tuple[Candidate, int], bytes | None] = {}

    @property
    def offsets(self) -> tuple[int, ...]:
        """Those under which every label is a class of the model; known once `entries` was called."""
        return self._offsets

    def chance(self, number: int) -> float:
        """The probability of guessing one of a photo's right classes."""
        return len(self._labels[number]) / max(self._classes, 2)

    def entries(self, candidate: Candidate, numbers: Sequence[int]) -> list[Entry]:
        """Try one candidate on some photos: an entry for each usable offset.

        Raises:
            InputError: there is no usable offset.
        """
        self._run_missing(candidate, numbers)
        by_photo = [self._outcomes(candidate, number) for number in numbers]
        return [
            Entry(candidate, offset, tuple(found.get(offset, WRONG) for found in by_photo)) for offset in self._offsets
        ]

    def _outcomes(self, candidate: Candidate, number: int) -> dict[int, Outcome]:
        digest = self._inputs[candidate, number]
        return {} if digest is None else self._known[number, digest]

    def _run_missing(self, candidate: Candidate, numbers: Sequence[int]) -> None:
        waiting: list[tuple[int, bytes, npt.NDArray[Any]]] = []
        for number in numbers:
            if (candidate, number) in self._inputs:
                continue
            try:
                array = self.photos.prepare(number, candidate.preprocess)
            except ImageError:  # too long and thin for this rule: it could not be classified under it either
                self._inputs[candidate, number] = None
                continue
            digest = hashlib.blake2b(array.tobytes(), digest_size=16).digest()
            self._inputs[candidate, number] = digest
            if (number, digest) not in self._known:
                waiting.append((number, digest, array))
            if len(waiting) == self._batch_size:
                self._run_batch(waiting)
                waiting = []
        if waiting:
            self._run_batch(waiting)

    def _run_batch(self, waiting: Sequence[tuple[int, bytes, npt.NDArray[Any]]]) -> None:
        found = self._run(np.stack([array for _, _, array in waiting]))
        if found.grid is None:
            raise ValueError("the session has to emit the prediction grid")
        if not self._offsets:
            self._find_offsets(found.logits.shape[1])
        for row, (number, digest, _) in enumerate(waiting):
            self._known[number, digest] = {
                offset: outcome(
                    found.logits[row],
                    found.grid[row],
                    {label + offset for label in self._labels[number]},
                    independent=self._independent,
                )
                for offset in self._offsets
            }
        self.forward_passes += len(waiting)
        if self._progress is not None:
            self._progress(self.forward_passes)

    def _find_offsets(self, classes: int) -> None:
        """Keep the offsets under which every label is a class; a model of one class has two answers."""
        self._classes = classes
        lowest = min(min(labels) for labels in self._labels)
        highest = max(max(labels) for labels in self._labels)
        self._offsets = tuple(
            offset for offset in self._asked if lowest + offset >= 0 and highest + offset < max(classes, 2)
        )
        if not self._offsets:
            raise InputError(
                f"The labels run from {lowest} to {highest}, and the model has {count(classes, 'class')}, numbered "
                f"from 0: under no offset of {list(self._asked)} they fit. Give the labels as the model numbers its "
                "classes."
            )
