"""What the picture of a real prediction says of model and preprocessing, and whom it draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.resolve import ResolvedPreprocess
from onnx_gapmil.prediction import drawing
from onnx_gapmil.prediction.classifier import Classifier
from onnx_gapmil.prediction.drawing import draw_prediction, in_short, origin, spelled_names
from onnx_gapmil.prediction.predicting import PredictionRun
from onnx_gapmil.show.drawing.sentences import Caption
from tests.helpers.support import text_model, weights

ROOT = Path(__file__).parents[2]
MODEL, SCENE = ROOT / "sample_models/digits_torch_legacy.onnx", ROOT / "sample_models/scenes/scene_06.png"
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(MODEL)


def captured(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What is handed on to be drawn."""
    given: dict[str, object] = {}

    def draw(*_arrays: object, **options: object) -> np.ndarray:
        given.update(options)
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(drawing, "render_prediction", draw)
    return given


def test_what_is_stated_is_said_with_its_source_and_without_folders(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = captured(monkeypatch)
    classifier.render(classifier.predict(SCENE))
    caption = given["caption"]
    assert isinstance(caption, Caption)
    assert (caption.title, caption.guessed, caption.notes) == ("scene_06.png", "", ())
    assert caption.model == "digits_torch_legacy.onnx · exact head"
    assert "96 × 96" in caption.preprocessing
    assert "digits_torch_legacy.preprocess.json" in caption.preprocessing
    assert str(ROOT) not in caption.preprocessing
    assert "/" not in caption.preprocessing.replace(") / (", "")


def test_a_guess_is_said(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    given = captured(monkeypatch)
    found = classifier.predict(SCENE)
    used = ResolvedPreprocess(classifier.preprocess.preprocess, "nothing states it.", True, ("color", "resize"))
    draw_prediction(found, found.heads[0], model="m", path=None, used=used)
    assert isinstance(given["caption"], Caption)
    assert given["caption"].guessed == "color, resize guessed"
    bare = ResolvedPreprocess(classifier.preprocess.preprocess, "nothing states it.", assumed=True)
    draw_prediction(found, found.heads[0], model="m", path=None, used=bare)
    assert given["caption"].guessed == "guessed"


def test_what_states_the_parts_is_said_in_short(classifier: Classifier) -> None:
    parts = {
        "values": "the graph's own first nodes (Cast, BatchNormalization of mean (104, 117, 123))",
        "color": "the metadata key 'Image.BitmapPixelFormat'",
        "layout": "the model's input 'data'",
        "resize": "a default: nothing states it",
    }
    used = ResolvedPreprocess(classifier.preprocess.preprocess, "a long text", False, (), parts)
    assert origin(used) == (
        "stated by the graph's own first nodes and the metadata key 'Image.BitmapPixelFormat'; resize by default"
    )
    guessed = ResolvedPreprocess(
        used.preprocess, "a long text", True, ("color",), {"color": "a guess: nothing states it"}
    )
    assert origin(guessed) == "nothing states it"
    given = ResolvedPreprocess(used.preprocess, "As given.", False, (), dict.fromkeys(parts, "As given"))
    assert origin(given) == "as given"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "conditional"}, "Conditional head"),
        ({"position_dependent": True}, "Position-dependent head"),
    ],
)
def test_what_a_reader_must_know_of_the_head_is_said(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], said: str
) -> None:
    given = captured(monkeypatch)
    found = classifier.predict(SCENE)
    head = replace(found.heads[0], **change)  # type: ignore[arg-type]
    draw_prediction(found, head, model="m", path=None, used=classifier.preprocess)
    assert isinstance(given["caption"], Caption)
    assert [note for note in given["caption"].notes if note.startswith(said)]


def test_a_head_whose_places_are_not_known_is_not_drawn_and_named_on_the_others_picture(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx_gapmil.errors import InputError

    given = captured(monkeypatch)
    found = classifier.predict(SCENE)
    lost = replace(found.heads[0], arranged=False, output="lost")
    both = replace(found, heads=(*found.heads, lost))
    draw_prediction(both, both.heads[0], model="m", path=None, used=classifier.preprocess)
    assert isinstance(given["caption"], Caption)
    assert given["caption"].notes == ("Where the cells of output lost lie is not known: not drawn.",)
    with pytest.raises(InputError, match="lost"):
        draw_prediction(both, lost, model="m", path=None, used=classifier.preprocess)


def test_chosen_classes_are_those_that_are_drawn(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    given = captured(monkeypatch)
    classifier.render(classifier.predict(SCENE, classes=["two", 7]))
    assert given["chosen"] == [2, 7]


@pytest.mark.shared
def test_several_sigmoids_are_drawn_by_their_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    given = captured(monkeypatch)
    folder = SHARED / "reports" / "20-multilabel-xray"
    model = Classifier(folder / "chex.onnx", thresholds=0.9)
    model.render(model.predict(SHARED / "reports" / "images" / "mid.png"))
    assert given["activation"] == "sigmoid"
    assert np.asarray(given["levels"]) == pytest.approx(np.full(14, np.log(9)))


@pytest.mark.shared
def test_one_logit_is_drawn_as_two_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    given = captured(monkeypatch)
    model = Classifier(SHARED / "reports" / "03-one-logit" / "defect.onnx")
    model.render(model.predict(SHARED / "reports" / "images" / "mid.png"))
    assert given["one_logit"]
    assert given["levels"] is None


def test_the_preprocessing_in_short() -> None:
    plain = Preprocess("NHWC", "BGR", (96, 128), "letterbox", 1.0, "bilinear", 1.0, (0.0,) * 3, (1.0,) * 3, "uint8")
    assert in_short(plain) == "BGR 128 × 96 (width × height), letterboxed, bilinear, pixel × 1"
    mean, std = (0.485, 0.456, 0.406), (0.5, 0.5, 0.5)
    usual = Preprocess("NCHW", "RGB", (224, 224), "shortest", 0.875, "bicubic-antialias", 1 / 255, mean, std)
    assert in_short(usual) == (
        "RGB 224 × 224 (width × height), shorter side fitted, centre crop 0.875, bicubic-antialias, "
        "(pixel × 0.003922 − (0.485, 0.456, 0.406)) / 0.5"
    )


def test_names_that_no_font_has_are_told_once(tmp_path: Path) -> None:
    assert spelled_names(None) is None
    assert spelled_names(["cat", "猫", "قطة"]) is None
    said = spelled_names(["cat", "\ufdd0"])
    assert said is not None
    assert "(1)" in said
    names = [*(f"n{index}" for index in range(9)), "\ufdd0"]
    for pictures, expected in ((True, True), (False, False)):
        run = PredictionRun(MODEL, [str(SCENE)], tmp_path / str(pictures), names=names, pictures=pictures)
        assert bool(run.names_note) is expected
        run.close()


def test_the_weights_of_a_models_pool_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = weights(12, 12)
    body = "a = AveragePool<kernel_shape=[8, 8], strides=[8, 8]>(x)\n q = Mul(a, v)\n"
    body += " f = ReduceMean<axes=[2, 3], keepdims=0>(q)\n y = Gemm<transB=1>(f, w)"
    model = text_model(body, x="float[N,3,96,96] x", init={"v": places, "w": weights(5, 3)})
    onnx.save(model, tmp_path / "m.onnx")
    weighted = Classifier(tmp_path / "m.onnx")
    found = weighted.predict(SCENE)
    plain = weighted.render(replace(found, heads=tuple(replace(head, pool_weights=()) for head in found.heads)))
    assert not np.array_equal(weighted.render(found)[: len(plain)], plain)
    given = captured(monkeypatch)
    weighted.render(found)
    (pool,) = given["pools"]  # type: ignore[attr-defined]
    np.testing.assert_allclose(pool.map, places, rtol=1e-6)
