"""What an audit decides before its first image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.auditing import Request
from onnx_gapmil.auditing.journal import Decisions
from onnx_gapmil.auditing.preparation import classifier_of, prepare
from onnx_gapmil.errors import DataError
from tests.helpers.audited_reports import saved, write_labels
from tests.helpers.support import raw_pixels, text_model, weights

NAMES = ["zero", "one", "two", "three"]


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    """Four photos labelled 1 to 3 for a model of four classes, whose offset only answers can tell."""
    model = text_model(
        "c = Conv(x, w)\n p = GlobalAveragePool(c)\n y = Flatten(p)",
        x="float[N,3,4,4] x",
        y="float[N,4] y",
        init={"w": weights(4, 3, 1, 1)},
    )
    for place in range(4):
        Image.fromarray(np.full((4, 4, 3), 60 * place, np.uint8)).save(tmp_path / f"{place}.png")
    data = write_labels(tmp_path, [{"image": f"{place}.png", "label": 1 + place % 3} for place in range(4)])
    return Request(model=saved(model, tmp_path), data=data)


def test_an_offset_that_is_asked_for_is_taken(request_: Request) -> None:
    request = Request(request_.model, request_.data, offset=-1)
    prepared = prepare(classifier_of(request), request)
    assert [sample.labels for sample in prepared.samples] == [(0,), (1,), (2,), (0,)]
    assert prepared.class_map.offset == -1
    assert prepared.ranking is None
    assert "model.preprocess.json" in prepared.preprocess.source


def test_an_offset_that_only_answers_can_tell_is_tried(request_: Request) -> None:
    prepared = prepare(classifier_of(request_), request_)
    assert "found out by the model's answers to 4 images" in prepared.class_map.source
    assert prepared.class_map.offset in (0, -1)


def test_what_an_earlier_run_decided_is_not_decided_anew(request_: Request) -> None:
    decided = Decisions(
        preprocess=raw_pixels(4, 4),
        source="an earlier run",
        assumed=True,
        offset=-1,
        class_map_source="said so",
        samples="",
    )
    prepared = prepare(classifier_of(request_), request_, decided)
    assert (prepared.preprocess.preprocess, prepared.preprocess.source) == (raw_pixels(4, 4), "an earlier run")
    assert prepared.preprocess.assumed
    assert (prepared.class_map.offset, prepared.class_map.source) == (-1, "said so")
    assert [sample.labels for sample in prepared.samples] == [(0,), (1,), (2,), (0,)]


def test_a_label_that_no_class_has_is_told(request_: Request) -> None:
    request = Request(request_.model, request_.data, offset=7)
    with pytest.raises(DataError):
        prepare(classifier_of(request), request)


def test_what_labelled_images_do_not_tell_is_a_guess(request_: Request) -> None:
    """By a model that answers at random no preprocessing is found: the default is kept, and that is guessed."""
    request = Request(request_.model, request_.data, offset=-1, preprocess="auto")
    prepared = prepare(classifier_of(request), request)
    assert prepared.ranking is not None
    assert not prepared.ranking.conclusive
    assert prepared.preprocess.guessed == ("color", "values", "resize")
    assert prepared.preprocess.guess == "preprocessing guessed: color, values, resize"
