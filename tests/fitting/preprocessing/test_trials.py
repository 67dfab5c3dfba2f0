"""A search runs the model once for each input that is new, and scores it under every offset that can be."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnx_gapmil.errors import ImageError, InputError
from onnx_gapmil.fitting.preprocessing.candidates import Candidate
from onnx_gapmil.fitting.preprocessing.scoring import WRONG
from onnx_gapmil.fitting.preprocessing.trials import Trials
from onnx_gapmil.running.prediction_grid import PredictionGrid
from tests.helpers.support import raw_pixels

PLAIN = Candidate("plain", raw_pixels(2, 2))
DOUBLED = Candidate("doubled", replace(raw_pixels(2, 2), scale=2.0))
#: Another rule that prepares these photos as the first one does.
SAME = Candidate("same", replace(raw_pixels(2, 2), resize="letterbox"))


class Session:
    """A model whose answer to a photo that is k throughout is class k, in the whole image and in every cell."""

    def __init__(self, classes: int = 5) -> None:
        self.classes = classes
        self.batches: list[int] = []

    def __call__(self, batch: np.ndarray) -> PredictionGrid:
        self.batches.append(len(batch))
        logits = np.full((len(batch), self.classes), -9.0)
        for row, photo in enumerate(batch):
            logits[row, int(photo.flat[0]) % self.classes] = 9.0
        return PredictionGrid("y", logits, np.broadcast_to(logits[:, :, None, None], (*logits.shape, 2, 2)))


def photos(*values: float) -> Any:
    """Photos of one value each, scaled as the candidate says; None cannot be prepared."""

    def prepare(number: int, preprocess: Any) -> np.ndarray:
        if values[number] < 0:
            raise ImageError("too long and thin")
        return np.full((3, 2, 2), values[number] * preprocess.scale, np.float32)

    return SimpleNamespace(prepare=prepare)


def trials(session: Session, values: tuple[float, ...], labels: tuple[int, ...], **options: Any) -> Trials:
    settings = {"offsets": (0,), "batch_size": 2, "progress": None} | options
    return Trials(session, photos(*values), [frozenset({label}) for label in labels], **settings)


def test_each_new_input_is_run_once_in_batches_no_larger_than_asked() -> None:
    session, seen = Session(), []
    tried = trials(session, (0, 1, 2), (0, 1, 2), progress=seen.append)
    (entry,) = tried.entries(PLAIN, range(3))
    assert [found.top1 for found in entry.outcomes] == [True] * 3
    assert (session.batches, seen, tried.forward_passes) == ([2, 1], [2, 3], 3)
    tried.entries(PLAIN, range(3))
    tried.entries(SAME, range(3))
    assert tried.forward_passes == 3, "the same bytes need no second run"
    (wrong,) = tried.entries(DOUBLED, range(3))
    assert [found.top1 for found in wrong.outcomes] == [True, False, False]
    assert tried.forward_passes == 5, "twice 0 is 0; twice 1 is what another photo is, which says nothing of this one"


def test_only_offsets_under_which_every_label_is_a_class_are_tried() -> None:
    tried = trials(Session(5), (1, 4), (0, 3), offsets=(0, 1, 2, -1, 1))
    found = {entry.offset: [one.top1 for one in entry.outcomes] for entry in tried.entries(PLAIN, range(2))}
    assert found == {0: [False, False], 1: [True, True]}
    assert tried.offsets == (0, 1)


def test_labels_that_fit_under_no_offset_are_told_with_the_models_classes() -> None:
    with pytest.raises(InputError, match=r"labels run from 2 to 9, and the model has 5 classes.*\[0, 1\]"):
        trials(Session(5), (0, 1), (2, 9), offsets=(0, 1)).entries(PLAIN, range(2))


def test_a_model_of_one_logit_has_two_answers() -> None:
    session = Session(1)
    tried = trials(session, (0, 0), (0, 1))
    (entry,) = tried.entries(PLAIN, range(2))
    assert [found.top1 for found in entry.outcomes] == [False, True]
    assert tried.chance(0) == 0.5


def test_a_photo_that_a_rule_cannot_prepare_is_wrong_and_costs_no_run() -> None:
    session = Session()
    (entry,) = trials(session, (0, -1, 2), (0, 1, 2)).entries(PLAIN, range(3))
    assert [found.top1 for found in entry.outcomes] == [True, False, True]
    assert entry.outcomes[1] == WRONG
    assert sum(session.batches) == 2


def test_chance_is_the_share_of_right_classes() -> None:
    tried = Trials(Session(4), photos(0, 1), [frozenset({0}), frozenset({1, 2, 3})], (0,), 8, None)
    tried.entries(PLAIN, range(2))
    assert (tried.chance(0), tried.chance(1)) == (0.25, 0.75)
