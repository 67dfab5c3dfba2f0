"""`Classifier`: from a photo to grid, names, places, table and overlay, against NumPy and the vendor's own session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from onnx_gapmil import Classifier, Emit, ImageError, InputError, LabelsError, PreprocessError, rewrite
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.prediction.answers import ImagePrediction
from tests.helpers.support import text_model, weights

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
MODEL, SCENE = SAMPLES / "digits_torch_legacy.onnx", SAMPLES / "scenes" / "scene_06.png"
W, B = weights(4, 3), weights(4)
#: The photo itself is the feature map: a grid of 3 x 5 pixels, each a cell.
TINY = "f = GlobalAveragePool(x)  q = Flatten(f)  y = Gemm<transB=1>(q, w, b)"
PLAIN = Preprocess("NCHW", "RGB", (3, 5), "squash", 1.0, "nearest", 1.0, (0.0,) * 3, (1.0,) * 3, "float32")
PIXELS = np.random.default_rng(5).integers(0, 255, (3, 5, 3), dtype=np.uint8)


def tiny(body: str = TINY, **options: object) -> onnx.ModelProto:
    return text_model(body, **({"x": "float[N,3,3,5] x", "y": "float[N,4] y", "init": {"w": W, "b": B}} | options))


@pytest.fixture(scope="module")
def digits() -> Classifier:
    return Classifier(MODEL)


@pytest.fixture(scope="module")
def found(digits: Classifier) -> ImagePrediction:
    return digits.predict(SCENE)


def test_grid_and_logits_are_the_head_applied_to_pixels() -> None:
    answer = Classifier(tiny(), preprocess=PLAIN).predict(PIXELS)
    expected = np.einsum("kc,hwc->khw", W.astype(np.float64), PIXELS) + B[:, None, None]
    np.testing.assert_allclose(answer.grid, expected, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(answer.logits, expected.mean(axis=(1, 2)), rtol=1e-5, atol=1e-3)
    assert answer.names is None
    assert answer.image is None


def test_logits_are_those_of_the_vendors_own_session(digits: Classifier, found: ImagePrediction) -> None:
    with Image.open(SCENE) as image:
        pixels = np.asarray(image.convert("RGB"))
    prepared, _ = digits.preprocess.preprocess.apply(pixels)
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: prepared[None]})
    np.testing.assert_allclose(found.logits, expected[0], rtol=1e-4, atol=1e-4)


def test_places_are_the_cells_rectangles_in_the_photo() -> None:
    """The photo is twice as wide as the input: a cell covers 2 x 1 pixels of it."""
    wide = np.repeat(PIXELS, 2, axis=1)
    places = Classifier(tiny(), preprocess=PLAIN).predict(wide).places
    assert places is not None
    assert places.shape == (3, 5, 4)
    np.testing.assert_array_equal(places[1, 3], [6, 1, 8, 2])


def test_a_network_that_crops_its_input_has_its_cells_where_it_looks() -> None:
    """Rows 4 to 20 and columns 8 to 24 of 24 x 24 pixels, in patches of 4: a photo twice as large, 2 pixels each."""
    crop = "c = Slice(x, starts, ends, axes)  f = Conv<kernel_shape=[4,4], strides=[4,4]>(c, k)"
    body = f"{crop}  p = GlobalAveragePool(f)  q = Flatten(p)  y = Gemm<transB=1>(q, w, b)"
    bounds = {"starts": np.array([4, 8]), "ends": np.array([20, 24]), "axes": np.array([2, 3])}
    model = tiny(body, x="float[N,3,24,24] x", init={"w": W, "b": B, "k": np.ones((3, 3, 4, 4), np.float32)} | bounds)
    preprocess = Preprocess("NCHW", "RGB", (24, 24), "squash", 1.0, "nearest", 1.0, (0.0,) * 3, (1.0,) * 3, "float32")
    photo = np.random.default_rng(3).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    found = Classifier(model, preprocess=preprocess).predict(photo)
    assert found.places is not None
    assert found.places.shape == (4, 4, 4)
    np.testing.assert_allclose(found.places[0, 0], [16, 8, 24, 16])
    np.testing.assert_allclose(found.places[3, 1], [24, 32, 32, 40])
    for box in found.heads[0].boxes:
        assert box.box[0] >= 16
        assert 8 <= box.box[1] <= box.box[3] <= 40
    changed = photo.copy()
    changed[32:40, 24:32] = 255 - changed[32:40, 24:32]
    again = Classifier(model, preprocess=preprocess).predict(changed)
    moved = np.abs(again.grid - found.grid).sum(axis=0)
    assert np.argwhere(moved > 1e-3).tolist() == [[3, 1]]


def test_table_lists_every_class_by_its_logit_and_its_cells() -> None:
    answer = Classifier(tiny(), preprocess=PLAIN, names=["a", "b", "c", "d"]).predict(PIXELS)
    grid = np.einsum("kc,hwc->khw", W.astype(np.float64), PIXELS) + B[:, None, None]
    order = np.argsort(-grid.mean(axis=(1, 2)))
    rows = answer.table().to_pylist()
    assert [row["index"] for row in rows] == order.tolist()
    assert [row["name"] for row in rows] == ["abcd"[index] for index in order]
    for row in rows:
        own = grid[row["index"]]
        assert row["cells"] == int((grid.argmax(axis=0) == row["index"]).sum())
        assert (row["best_row"], row["best_column"]) == np.unravel_index(own.argmax(), own.shape)
        assert row["best_logit"] == pytest.approx(own.max(), rel=1e-5)


def test_overlay_has_the_photos_size_and_is_strongest_at_the_best_cell() -> None:
    grey = np.full((60, 100, 3), 128, np.uint8)
    grey[20:40, 80:100] = 255  # cell (1, 4) alone is white
    picture = Classifier(tiny(init={"w": np.abs(W), "b": B}), preprocess=PLAIN).predict(grey).overlay(2)
    assert picture.shape == grey.shape
    assert picture.dtype == np.uint8
    # viridis ends in yellow: red and green high, blue low
    assert picture[30, 90, :2].min() > 180
    assert picture[30, 90, 2] < 120
    assert (picture[30, 90].astype(int) != picture[30, 10]).any()


def test_a_head_of_several_is_chosen_and_names_go_where_they_fit() -> None:
    both = tiny(
        f"{TINY}  z = Gemm<transB=1>(q, v)", y="float[N,4] y, float[N,2] z", init={"w": W, "b": B, "v": weights(2, 3)}
    )
    classifier = Classifier(both, preprocess=PLAIN, names=list("abcd"))
    first, second = classifier.predict(PIXELS).heads
    assert (first.output, second.output) == ("y", "z")
    assert first.name(3) == "d"
    assert second.name(1) == "class 1"
    chosen = Classifier(both, preprocess=PLAIN, head="z", names=["no", "yes"])
    (only,) = chosen.predict(PIXELS).heads
    assert only.output == chosen.head.output == "z"
    assert {only.name(0), only.name(1)} == {"no", "yes"}
    with pytest.raises(InputError, match="no head 'w'; its heads are 'y', 'z'"):
        Classifier(both, preprocess=PLAIN, head="w")


def test_one_logit_is_two_classes() -> None:
    one = tiny(y="float[N,1] y", init={"w": W[:1], "b": B[:1]})
    classifier = Classifier(one, preprocess=PLAIN, names=["cat"])
    assert (classifier.logits, classifier.classes) == (1, 2)
    assert classifier.class_names.names == ("not cat", "cat")
    assert Classifier(one, preprocess=PLAIN, names=["fine", "cat"]).class_names.names == ("fine", "cat")
    found = classifier.predict(PIXELS)
    assert found.names == ("not cat", "cat")
    assert found.grid.shape == (2, 3, 5)
    assert {entry.label for entry in found.heads[0].top} == {"not cat", "cat"}


def test_several_photos_give_a_list_and_streaming_gives_the_same(digits: Classifier, found: ImagePrediction) -> None:
    again, other = digits.predict([SCENE, SAMPLES / "scenes" / "scene_00.png"])
    np.testing.assert_array_equal(again.grid, found.grid)
    assert other.image == SAMPLES / "scenes" / "scene_00.png"
    streamed = list(digits.stream([SCENE, SAMPLES / "none.png"]))
    assert isinstance(streamed[1], ImageError)
    assert isinstance(streamed[0], ImagePrediction)
    np.testing.assert_allclose(streamed[0].grid, found.grid, rtol=1e-5, atol=1e-4)


def test_a_rewritten_file_and_a_rewrite_answer_as_the_model(tmp_path: Path) -> None:
    onnx.save(tiny(), tmp_path / "m.onnx")
    made = rewrite(tmp_path / "m.onnx")
    expected = Classifier(tmp_path / "m.onnx", preprocess=PLAIN).predict(PIXELS).grid
    for model in (made, tmp_path / "m.gapmil.onnx"):
        np.testing.assert_array_equal(Classifier(model, preprocess=PLAIN).predict(PIXELS).grid, expected)


def test_repr_is_five_lines_that_say_what_it_is(digits: Classifier, found: ImagePrediction) -> None:
    assert len(repr(digits).splitlines()) == 5
    lines = repr(found).splitlines()
    assert len(lines) == 5
    assert lines[0] == f"ImagePrediction of {SCENE} (96 x 96)"
    assert "two 2.32, seven 1.50, zero 1.02" in lines[2]
    assert lines[3].startswith("  12 x 12 cells  eight 25, seven 23, two 22")


def test_wrong_pixels_names_and_preprocessing_are_told() -> None:
    classifier = Classifier(tiny(), preprocess=PLAIN)
    with pytest.raises(ImageError, match=r"a photo is an array \(H, W, 3\) of uint8, RGB, not \(3, 5\) of float64"):
        classifier.predict(np.zeros((3, 5)))
    with pytest.raises(LabelsError, match="2 class names were given, and the model has 4 classes"):
        Classifier(tiny(), preprocess=PLAIN, names=["a", "b"])
    with pytest.raises(PreprocessError, match="'size' is"):
        Classifier(tiny(), preprocess=Preprocess.from_json({**PLAIN.to_json(), "size": [4, 4]}))


def test_what_was_not_kept_is_not_drawn(digits: Classifier) -> None:
    (streamed,) = digits.stream([SCENE])
    assert isinstance(streamed, ImagePrediction)
    with pytest.raises(InputError, match="the photo and its grid were not kept"):
        streamed.overlay()
    with pytest.raises(InputError, match="the photo and its grid were not kept"):
        digits.render(streamed)


def test_overlay_takes_a_class_by_its_name(found: ImagePrediction) -> None:
    assert found.names is not None
    assert np.array_equal(found.overlay(found.names[1]), found.overlay(1))
    with pytest.raises(InputError, match="is no class"):
        found.overlay("no such name")


def test_a_class_that_is_not_there_has_no_overlay(found: ImagePrediction) -> None:
    with pytest.raises(InputError, match=r"class 10 was asked for, and 'logits' has 10, from 0"):
        found.overlay(10)


def test_what_the_graph_gives_can_be_chosen() -> None:
    classifier = Classifier(tiny(), preprocess=PLAIN, emit=Emit(features=False, argmax=True))
    batch = PIXELS.transpose(2, 0, 1)[None].astype(np.float32)
    (answer,) = classifier.session.run(batch)
    np.testing.assert_array_equal(answer.argmax, answer.grid.argmax(axis=1))


# --- arrays ---------------------------------------------------------------------------------------------------------

CLIP = """
  r = Reshape(x, fold)  p = GlobalAveragePool(r)  f = Flatten(p)  z = Gemm<transB=1>(f, w, b)
  s = Reshape(z, back)  y = ReduceMean<axes=[1], keepdims=0>(s)
"""


def clip() -> onnx.ModelProto:
    init = {"w": W, "b": B, "fold": np.array([-1, 3, 6, 5]), "back": np.array([-1, 4, 4])}
    return tiny(CLIP, x="float[N,4,3,6,5] x", init=init)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("given", ["array", "by_name", "npy", "npz"])
def test_an_array_goes_in_as_it_is(tmp_path: Path, given: str, batched: bool) -> None:
    x = np.random.default_rng(1).standard_normal((4, 3, 6, 5)).astype(np.float32)
    array = x[None] if batched else x
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", x=array)
    images = {"array": array, "by_name": {"x": array}, "npy": tmp_path / "a.npy", "npz": str(tmp_path / "a.npz")}
    found = Classifier(clip()).predict(images[given])  # type: ignore[call-overload]
    expected = np.einsum("kc,tchw->kthw", W.astype(np.float64), x) + B[:, None, None, None]
    assert found.grid is not None
    np.testing.assert_allclose(found.grid, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.logits, expected.mean(axis=(1, 2, 3)), rtol=1e-4, atol=1e-4)
    assert (found.geometry, found.photo, found.places, found.inputs) == (None, None, None, {"x": (1, 4, 3, 6, 5)})
    best = found.heads[0].winners[0]
    assert best.best_cell == np.unravel_index(expected[best.index].argmax(), (4, 6, 5))
    assert (expected.argmax(axis=0) == best.index).sum() == best.cells
    assert found.heads[0].boxes == ()
    told = found.to_json()
    assert (told["size"], told["inputs"]) == (None, {"x": [1, 4, 3, 6, 5]})
    assert told["heads"][0]["places"]["frames"] == {"first": 0.5, "step": 1.0}
    table = found.table().to_pydict()
    frames = expected.reshape(4, -1).argmax(axis=1)[table["index"]] // 30
    assert table["best_first"] == frames.tolist()
    assert "4 x 6 x 5 cells" in repr(found)
    with pytest.raises(InputError, match="nothing to draw"):
        found.overlay()


def test_arrays_and_photos_of_one_model_agree() -> None:
    """Pixels are preprocessed; the same as an array are not."""
    classifier = Classifier(tiny(), preprocess=PLAIN)
    photo, array = classifier.predict(PIXELS), classifier.predict(PIXELS.transpose(2, 0, 1).astype(np.float32))
    np.testing.assert_array_equal(photo.grid, array.grid)
    assert photo.geometry is not None
    assert array.geometry is None


def test_a_model_that_takes_no_photo_says_so_when_it_gets_one() -> None:
    classifier = Classifier(clip())
    with pytest.raises(PreprocessError, match=r"an array \(.npy\) of that shape can"):
        classifier.predict(SCENE)
    with pytest.raises(PreprocessError, match="an image input has 4 axes"):
        Classifier(clip(), preprocess="imagenet")
    assert "none: arrays go in as they are" in repr(classifier)


def test_a_photo_alone_is_not_enough_for_two_inputs() -> None:
    body = TINY.replace("y = Gemm", "z = Gemm") + "  s = MatMul(meta, v)  y = Identity(z)  other = Sigmoid(s)"
    init = {"w": W, "b": B, "v": weights(2, 4)}
    model = tiny(body, x="float[N,3,3,5] x, float[N,2] meta", y="float[N,4] y, float[N,4] other", init=init)
    classifier = Classifier(model)
    with pytest.raises(
        PreprocessError, match=r"takes 2 inputs, 'x' .* and 'meta' .*, and a photo is one: give an .npz"
    ):
        classifier.predict(SCENE)
    x = PIXELS.transpose(2, 0, 1)[None].astype(np.float32)
    found = classifier.predict({"x": x, "meta": np.zeros((1, 2), np.float32)})
    expected = np.einsum("kc,chw->khw", W.astype(np.float64), x[0]) + B[:, None, None]
    np.testing.assert_allclose(found.grid, expected, rtol=1e-4, atol=1e-3)  # type: ignore[arg-type]


def test_several_items_at_once_are_told() -> None:
    with pytest.raises(InputError, match="3 items were given, and one is described at a time"):
        Classifier(clip()).predict({"x": np.zeros((3, 4, 3, 6, 5), np.float32)})
