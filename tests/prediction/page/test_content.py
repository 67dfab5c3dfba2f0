"""What a page says of a model: proofs that were run, proofs that a file claims, and what was asked for."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from onnx_gapmil import Classifier, Preprocess, rewrite
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.serial import to_json
from onnx_gapmil.prediction.page.content import page_model, page_photo
from tests.helpers.support import text_model, weights
from tests.helpers.view_pages import DIGITS, KERAS, pixel_model, pixels


def test_in_memory_sum_and_place_were_run_and_cell_was_not() -> None:
    (head,) = page_model(Classifier(DIGITS)).heads
    states = {line.name: (line.passed, line.text) for line in head.proofs}
    assert [*states] == ["sum", "cell", "place"]
    assert states["sum"][0] is True
    assert "(allowed 2e-05)" in states["sum"][1]
    assert states["cell"] == (None, "not run here: rewrite runs it")
    assert states["place"][0] is True
    assert states["place"][1].startswith("by stripes of the image, rows to ")


def test_what_a_rewritten_file_claims_is_told_as_its_claim(tmp_path: Path) -> None:
    rewrite(DIGITS, tmp_path / "digits.gapmil.onnx")
    (head,) = page_model(Classifier(tmp_path / "digits.gapmil.onnx")).heads
    assert {line.text for line in head.proofs} == {"passed, by the file's own record"}
    assert {line.passed for line in head.proofs} == {None}


def test_arguments_are_repeated_as_python_without_folders(tmp_path: Path) -> None:
    model = Classifier(DIGITS)
    told = page_model(
        model, {"preprocess": tmp_path / "p.json", "names": str(tmp_path / "n.txt"), "head": "a/b", "thresholds": None}
    )
    assert told.arguments == ("preprocess='p.json'", "names='n.txt'", "head='a/b'")
    assert told.imports == ()
    assert str(DIGITS.parent) not in repr(told)
    plain = Preprocess("NCHW", "RGB", (96, 96), "squash", 1.0, "bilinear", 1.0, (0.0,) * 3, (1.0,) * 3, "float32")
    given = page_model(model, {"preprocess": plain, "class_token": "auto"})
    assert given.imports == ("Preprocess",)
    assert eval(given.arguments[0].removeprefix("preprocess="), {"Preprocess": Preprocess}) == plain  # noqa: S307
    assert given.arguments[1] == "class_token='auto'"


@pytest.mark.parametrize("side", [7, 14])
def test_a_photo_with_a_thousand_classes_takes_less_than_300_kb(side: int) -> None:
    """The worst for a JPEG: noise, which does not shrink."""
    model = pixel_model(1000, side, tail="Softmax<axis=1>")
    noise = np.random.default_rng(1).integers(0, 255, (1500, 2000, 3), dtype=np.uint8)
    entry = page_photo([model.predict(noise)], "noise.png")
    assert len(json_text(to_json(entry), compact=True)) < 300_000
    assert (entry.answers[0][0].values.classes is None) == (side == 7)
    assert entry.full == (2000, 1500)


def test_the_window_is_where_the_cells_lie_in_the_photo() -> None:
    found = Classifier(KERAS).predict(pixels(96))
    (answer,) = page_photo([found], "x").answers[0]
    places = found.places
    assert places is not None
    x0, y0, x1, y1 = answer.window
    rows, columns = answer.grid
    left, top = 96 * (x0 + (x1 - x0) * 3 / columns), 96 * (y0 + (y1 - y0) * 5 / rows)
    np.testing.assert_allclose(places[5, 3, :2], [left, top], atol=1e-3)


def test_features_are_left_out_beside_classes() -> None:
    """An output that another is made of has no classes; Python counts it all the same."""
    body = "f = GlobalAveragePool(x)  q = Flatten(f)  e = Gemm<transB=1>(q, v)  y = Gemm<transB=1>(e, w, b)"
    init = {"v": weights(6, 3, seed=2), "w": weights(4, 6), "b": weights(4)}
    model = text_model(body, x="float[N,3,5,5] x", y="float[N,6] e, float[N,4] y", init=init)
    plain = Preprocess("NCHW", "RGB", (5, 5), "squash", 1.0, "nearest", 1.0, (0.0,) * 3, (1.0,) * 3, "float32")
    classifier = Classifier(model, preprocess=plain)
    found = classifier.predict(pixels(5))
    of_classes = [head.output for head in found.heads if not head.features_of]
    assert of_classes == ["y"]
    (head,) = page_model(classifier).heads
    assert (head.output, found.heads[head.place].output) == ("y", "y")
    (answer,) = page_photo([found], "x").answers[0]
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(answer.values.logits), "<f4"), found.heads[head.place].logits
    )
