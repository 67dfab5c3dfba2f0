"""`Classifier` against the vendor's own session, fed with a preprocessing that is written out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil import Classifier, ImageError, InputError, LabelsError, Preprocess, rewrite
from tests.helpers.scene_data import MODEL, SCENES, entries, pixels, vendor_answers
from tests.helpers.support import raw_pixels, text_model, weights

NAMES = MODEL.with_suffix(".labels.txt").read_text("utf-8").split()


@pytest.fixture(scope="module")
def digits() -> Classifier:
    return Classifier(MODEL, provider="cpu")


def test_logits_are_the_vendors_and_the_mean_of_the_grid(digits: Classifier) -> None:
    names = [entry["image"] for entry in entries()]
    found = digits.predict([SCENES / name for name in names])
    np.testing.assert_allclose([answer.logits for answer in found], vendor_answers(), atol=2e-4)
    for answer in found:
        assert answer.grid is not None
        assert answer.grid.shape == (10, 12, 12)
        np.testing.assert_allclose(answer.grid.mean(axis=(1, 2)), answer.logits, atol=1e-4)


def test_a_path_and_its_pixels_get_one_answer(digits: Classifier) -> None:
    by_path, by_pixels = digits.predict(SCENES / "scene_03.png"), digits.predict(pixels(SCENES / "scene_03.png"))
    np.testing.assert_array_equal(by_path.logits, by_pixels.logits)
    assert (by_path.image, by_pixels.image) == (SCENES / "scene_03.png", None)


def test_a_stream_gives_what_single_photos_give_and_errors_in_their_place(digits: Classifier, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    paths = [SCENES / "scene_00.png", bad, SCENES / "scene_01.png"]
    first, error, last = digits.stream(paths, batch=2)
    assert isinstance(error, ImageError)
    for found, path in ((first, paths[0]), (last, paths[2])):
        np.testing.assert_allclose(found.logits, digits.predict(path).logits, rtol=1e-5, atol=1e-5)
        assert found.photo is None, "pixels are kept only where somebody draws them"


def test_places_are_the_equal_parts_of_a_squashed_photo(digits: Classifier) -> None:
    photo = np.asarray(Image.fromarray(pixels(SCENES / "scene_00.png")).resize((240, 120)))
    places = digits.predict(photo).places
    assert places is not None
    assert places.shape == (12, 12, 4)
    np.testing.assert_allclose(places[2, 5], [100, 20, 120, 30])


def test_the_table_has_every_class_once_and_every_cell_once(digits: Classifier) -> None:
    found = digits.predict(SCENES / "scene_00.png")
    rows = found.table().to_pylist()
    logits, grid = found.logits.astype(np.float64), found.grid
    assert grid is not None
    assert [row["index"] for row in rows] == np.argsort(-logits, kind="stable").tolist()
    assert [row["name"] for row in rows] == [NAMES[row["index"]] for row in rows]
    assert [row["score"] for row in rows] == [row["logit"] for row in rows], "this model ends in its logits"
    assert {row["index"]: row["cells"] for row in rows if row["cells"]} == dict(
        zip(*(part.tolist() for part in np.unique(grid.argmax(axis=0), return_counts=True)), strict=True)
    )
    for row in rows:
        assert row["best_logit"] == grid[row["index"]].max() == grid[row["index"], row["best_row"], row["best_column"]]


def test_an_overlay_is_of_the_photos_size_and_of_the_class_that_was_asked_for(digits: Classifier) -> None:
    found = digits.predict(SCENES / "scene_00.png")
    best = int(found.logits.argmax())
    drawn = found.overlay()
    assert (drawn.shape, drawn.dtype) == ((96, 96, 3), np.uint8)
    np.testing.assert_array_equal(drawn, found.overlay(best))
    assert (found.overlay((best + 1) % 10) != drawn).any()
    for index in (-1, 10):
        with pytest.raises(InputError, match=rf"class {index} was asked for, and 'logits' has 10, from 0"):
            found.overlay(index)


@pytest.mark.parametrize("names", [NAMES, MODEL.with_suffix(".labels.txt"), str(MODEL.with_suffix(".labels.txt"))])
def test_names_may_be_given_or_lie_beside_the_model(digits: Classifier, names: object) -> None:
    given = Classifier(MODEL, names=names, provider="cpu").predict(SCENES / "scene_00.png")  # type: ignore[arg-type]
    beside = digits.predict(SCENES / "scene_00.png")
    assert list(given.names or ()) == list(beside.names or ()) == NAMES
    assert [entry.label for entry in given.heads[0].top] == [entry.label for entry in beside.heads[0].top]


def test_as_many_names_as_logits_are_needed() -> None:
    with pytest.raises(LabelsError):
        Classifier(MODEL, names=NAMES[:9], provider="cpu")


def test_a_rewrite_is_taken_as_it_is(digits: Classifier) -> None:
    made = rewrite(MODEL, write=False)
    again = Classifier(made, provider="cpu")
    assert again.rewrite is made
    np.testing.assert_array_equal(
        again.predict(SCENES / "scene_02.png").logits, digits.predict(SCENES / "scene_02.png").logits
    )


# --- models of other kinds ------------------------------------------------------------------------------------------

TWO = """p = GlobalAveragePool(x)  f = Flatten(p)
    many = Gemm<transB=1>(f, v)  one = Gemm<transB=1>(f, w)  yes = Sigmoid(one)"""


def two_heads(**options: object) -> Classifier:
    init = {"v": weights(5, 3), "w": weights(1, 3)}
    model = text_model(TWO, x="float[N,3,4,4] x", y="float[N,5] many, float[N,1] yes", init=init)
    return Classifier(model, preprocess=raw_pixels(4, 4), provider="cpu", **options)  # type: ignore[arg-type]


def test_of_several_heads_all_are_described_and_the_first_counts() -> None:
    model = two_heads()
    found = model.predict(np.zeros((4, 4, 3), np.uint8))
    assert [head.output for head in found.heads] == ["many", "yes"]
    assert (model.logits, model.classes, model.head.output) == (5, 5, "many")
    np.testing.assert_array_equal(found.logits, found.heads[0].logits)


def test_a_head_that_is_asked_for_is_alone() -> None:
    model = two_heads(head="yes")
    found = model.predict(np.full((4, 4, 3), 9, np.uint8))
    assert [head.output for head in found.heads] == ["yes"]
    assert (model.logits, model.classes) == (1, 2), "one logit answers yes or no"
    expected = weights(1, 3).astype(np.float64).sum() * 9
    assert found.logits[0] == pytest.approx(expected, rel=1e-5)


def test_an_output_that_was_not_lifted_is_told_which_were() -> None:
    with pytest.raises(InputError, match="has no lifted output 'maybe'; it has 'many', 'yes'"):
        two_heads(head="maybe")


def test_a_preprocessing_that_does_not_fit_the_input_is_an_error() -> None:
    grey = Preprocess("NCHW", "GRAY", (4, 4), "squash", 1.0, "bilinear", 1.0, (0.0,), (1.0,), "float32")
    with pytest.raises(InputError):
        Classifier(text_model("p = GlobalAveragePool(x)  y = Flatten(p)", x="float[N,3,4,4] x"), preprocess=grey)


def test_it_says_of_itself_what_it_is_in_five_lines(digits: Classifier) -> None:
    lines = repr(digits).splitlines()
    assert lines[0] == f"Classifier of {MODEL}"
    assert [line.split()[0] for line in lines[1:]] == ["head", "preprocessing", "classes", "running"]
    assert len(repr(digits.predict(SCENES / "scene_00.png")).splitlines()) == 5
