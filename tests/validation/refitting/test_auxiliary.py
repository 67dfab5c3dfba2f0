"""``repool --fit sac``, from labelled images to a file with a finer grid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from rich.console import Console

from onnx_gapmil import fit_auxiliary, inspect
from onnx_gapmil.auditing.preparation import Request
from onnx_gapmil.errors import InputError
from onnx_gapmil.fitting.pooling.wish import parse_fit
from onnx_gapmil.images.decode import read_image
from onnx_gapmil.images.resolve import load_preprocess
from onnx_gapmil.validation.refitting import auxiliary as module
from onnx_gapmil.validation.refitting.auxiliary import refit_auxiliary
from onnx_gapmil.validation.refitting.auxiliary_result import Localized, Placed
from onnx_gapmil.validation.refitting.auxiliary_text import auxiliary_note
from onnx_gapmil.validation.refitting.refit import refit
from onnx_gapmil.validation.refitting.request import FitRequest
from onnx_gapmil.validation.refitting.weighing import Weight
from sample_models.scenes import iter_scenes, write_scenes
from tests.helpers.verbs import SAMPLES, run, run_json

if TYPE_CHECKING:
    from tests.validation.refitting.conftest import Scenes

MODEL = SAMPLES / "digits_torch_legacy.onnx"
PREPROCESS = SAMPLES / "digits_torch_legacy.preprocess.json"
MIDDLE = "/features/features.11/Relu_output_0"


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty scenes with one label each and boxes."""
    folder = tmp_path_factory.mktemp("boxed")
    write_scenes(iter_scenes("held_out", 6, 60), folder)
    return folder / "scenes.json"


def asked(data: Path, fit: str, output: Path | None, *, several: bool = False, **more: Any) -> FitRequest:
    levels = "0.5" if several else None
    request = Request(model=MODEL, data=data, preprocess=str(PREPROCESS), thresholds=levels)
    return FitRequest(data=request, wish=parse_fit(fit), output=output, **{"ridge": 0.01, **more})


def answers(model: Path, images: list[Path]) -> dict[str, np.ndarray]:
    """Outputs of a file, by ONNX Runtime and the preprocessing alone."""
    preprocess = load_preprocess(PREPROCESS)
    batch = np.stack([preprocess.apply(read_image(path))[0] for path in images])
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: batch}), strict=True))


def test_the_vendors_outputs_stay_and_the_finer_grid_gives_the_same_scores(boxed: Path, tmp_path: Path) -> None:
    found = refit_auxiliary(asked(boxed, f"sac:{MIDDLE}", tmp_path / "m.onnx", force=True))
    assert found.output_path == tmp_path / "m.onnx"
    images = sorted(boxed.parent.glob("*.png"))[:6]
    old, new = answers(MODEL, images), answers(found.output_path, images)
    np.testing.assert_array_equal(old["logits"], new["logits"])
    np.testing.assert_allclose(new["logits_sac"], old["logits"], atol=2e-5)
    heads = {head.output: head for head in inspect(found.output_path).heads}
    assert heads["logits"].scores.size == (12, 12)
    assert heads["logits_sac"].scores.size == (24, 24)
    assert heads["logits_sac"].verdict == "exact"
    assert found.cells == ((12, 12), (24, 24))
    assert found.localized is not None
    assert (found.localized.images, found.localized.objects) == (30, 30)
    assert found.proof is not None
    assert found.proof.grid.passed
    said = said_of(auxiliary_note(found))
    assert "30 objects in 30 held-out images" in said
    assert "finer, 24 x 24 cells" in said
    assert "digits_torch_legacy.preprocess.json" in said, "what lies beside the vendor's model and not beside this one"


def test_with_scores_the_file_answers_as_was_judged(
    boxed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[dict[str, np.ndarray]] = []
    real = module.judge

    def judge(given: dict[str, np.ndarray], *others: Any) -> Any:
        judged.append(given)
        return real(given, *others)

    monkeypatch.setattr(module, "judge", judge)
    rows: list[Path] = []
    real_images = module.fit_images

    def fit_images(*given: Any) -> Any:
        found = real_images(*given)
        rows.extend(Path(str(found.samples[row].image)) for row in np.flatnonzero(found.held_out))
        return found

    monkeypatch.setattr(module, "fit_images", fit_images)
    found = refit_auxiliary(asked(boxed, f"sac:{MIDDLE}", tmp_path / "m.onnx", scores=True, force=True))
    assert found.output_path is not None
    new = answers(found.output_path, rows)
    np.testing.assert_allclose(new["logits"], judged[0]["vendor"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(new["logits_sac"], judged[0]["fitted"], rtol=1e-4, atol=1e-4)
    assert np.abs(new["logits_sac"] - new["logits"]).max() > 1e-3


def test_several_labels(scenes: Scenes, tmp_path: Path) -> None:
    found = refit_auxiliary(asked(scenes.several, f"sac:{MIDDLE}", tmp_path / "m.onnx", several=True))
    assert found.held_out.main == "mean_average_precision"
    assert found.localized is None
    assert found.written
    said = said_of(auxiliary_note(found))
    assert "No held-out image has a box, so that nothing is known of where the finer grid sees things." in said


def test_the_weight_is_chosen_by_images_of_the_fitted_half_that_its_classifiers_have_not_seen(
    boxed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    fits: list[tuple[set[int], np.ndarray]] = []
    split: list[Any] = []
    choose, fit, deal = module.choose_weight, module.fit_auxiliary, module.fit_images

    def choose_weight(head: Any, images: Any, of_classes: Any) -> Any:
        seen.extend(images)
        return choose(head, iter(seen), of_classes)

    def fit_auxiliary(*given: Any, **more: Any) -> Any:
        found = fit(*given, **more)
        fits.append((set(given[4].tolist()), found.weight))
        return found

    def fit_images(*given: Any) -> Any:
        split.append(deal(*given))
        return split[0]

    monkeypatch.setattr(module, "choose_weight", choose_weight)
    monkeypatch.setattr(module, "fit_auxiliary", fit_auxiliary)
    monkeypatch.setattr(module, "fit_images", fit_images)
    found = refit_auxiliary(asked(boxed, f"sac:{MIDDLE}", tmp_path / "m.onnx", force=True))
    assert found.weight is not None
    assert found.weight.objects == len(seen) == 30
    assert set(found.weight.boxes) == {"0", "0.05", "0.1", "0.2", "0.3", "0.5", "1"}
    (whole, _), *folds = fits
    assert whole == set(np.flatnonzero(~split[0].held_out).tolist())
    assert len(folds) == 4
    rows = {sample.name: row for row, sample in enumerate(split[0].samples)}
    for image in seen:
        row = rows[image.sample.name]
        assert row in whole
        (own,) = (weight for others, weight in folds if row not in others)
        (layer,) = image.layers
        np.testing.assert_allclose(layer.weight / np.linalg.norm(layer.weight), own / np.linalg.norm(own), atol=1e-6)


@pytest.mark.parametrize("force", [False, True])
def test_a_weight_of_nothing_is_not_written(
    force: bool, boxed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = {"0": 0.6, "0.05": 0.4, "0.1": 0.5, "0.2": 0.1, "0.3": 0.1, "0.5": 0.1, "1": 0.1}
    monkeypatch.setattr(module, "choose_weight", lambda *_: Weight(0.0, boxes, 30))
    built: list[float] = []
    real = module.weighed

    def weighed(layers: Any, weight: float) -> Any:
        built.append(weight)
        return real(layers, weight)

    monkeypatch.setattr(module, "weighed", weighed)
    found = refit_auxiliary(asked(boxed, f"sac:{MIDDLE}", tmp_path / "m.onnx", force=force))
    assert built == [0.1 if force else 0.0]
    assert found.written == force == (tmp_path / "m.onnx").exists()
    if not force:
        assert "the boxes of the vendor's own grid fit the objects best" in found.reason
        assert "in that half: 0 (MaxBoxAccV2 60 %)." in said_of(auxiliary_note(found))


def said_of(note: Any) -> str:
    screen = Console(width=400)
    with screen.capture() as capture:
        screen.print(note)
    return capture.get()


WORSE = Placed(0.6, 0.4, -0.2, (-0.3, -0.1))
SAME = Placed(0.6, 0.6, 0.0, (-0.1, 0.1))


@pytest.mark.parametrize(
    ("boxes", "more", "written", "said"),
    [
        (WORSE, {}, False, "lies below 0: it is worse than the vendor's"),
        (WORSE, {"force": True}, True, ""),
        (SAME, {}, True, ""),
        (SAME, {"require_better": True}, False, "does not lie above 0, which --require-better asks for"),
    ],
)
def test_what_places_worse_is_not_written(
    boxes: Placed,
    more: dict[str, Any],
    written: bool,
    said: str,
    boxed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_weight", lambda *_: Weight(0.3))
    monkeypatch.setattr(module, "_localized", lambda *_: Localized(30, 30, boxes, boxes, boxes, (0.3, 0.4)))
    monkeypatch.setattr(module, "choose_weight", lambda *_: Weight(0.3))  # thirty objects may choose none
    found = refit_auxiliary(asked(boxed, f"sac:{MIDDLE}", tmp_path / "m.onnx", **more))
    assert found.written == written == (tmp_path / "m.onnx").exists()
    assert said in found.reason


def test_maps_that_know_nothing_are_left_out(boxed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = module.fit_auxiliary

    def nothing(*given: Any, **more: Any) -> Any:
        return fit(*given, **{**more, "ridge": float("inf")})

    monkeypatch.setattr(module, "fit_auxiliary", nothing)
    found = refit_auxiliary(asked(boxed, f"sac:{MIDDLE}", tmp_path / "m.onnx"))
    assert found.reason == "no earlier map tells the classes of these images apart by its mean"
    assert not (tmp_path / "m.onnx").exists()
    assert "its mean tells nothing of the classes, and it is left out." in said_of(auxiliary_note(found))


def test_the_command_line(boxed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.onnx"
    common = ["repool", MODEL, "--fit", f"sac:{MIDDLE}", "--data", boxed, "--ridge", "0.01", "--force", "-o", out]
    status, found = run_json(capsys, *common)
    assert status == 0
    assert found["output"] == "logits_sac"
    assert found["cells"] == {"vendor": [12, 12], "finer": [24, 24]}
    assert set(found["localization"]) == {
        "images", "objects", "maxboxacc_v2", "iou_0.5", "pointing_game", "thresholds",
    }  # fmt: skip
    assert found["auxiliary"][0]["tensor"] == MIDDLE
    assert json.dumps(found)


BAD = {
    "sac:": "'sac:,' names no tensor",
    "sac:nowhere": "the graph has no tensor 'nowhere' that depends on the image",
    "sac:logits": "is no map of rows, columns and channels",
}


@pytest.mark.parametrize("fit", ["sac:,", "sac:nowhere", "sac:logits"])
def test_bad_tensors_are_one_sentence(
    fit: str, boxed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.onnx"
    assert run("repool", MODEL, "--fit", fit, "--data", boxed, "-o", out) == 2
    said = capsys.readouterr().err
    assert BAD[fit.rstrip(",")] in " ".join(said.split())
    assert not out.exists()


def test_what_goes_with_it_and_what_does_not(boxed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.onnx"
    assert run("repool", MODEL, "--fit", "mix", "--scores", "--data", boxed, "-o", out) == 2
    assert "--scores is for --fit sac" in capsys.readouterr().err
    with pytest.raises(InputError, match="leave --folds out"):
        refit_auxiliary(asked(boxed, "sac", out, folds=5))
    with pytest.raises(InputError, match="fit_auxiliary fits them"):
        refit(asked(boxed, "sac", out))


def test_a_repooled_model_is_refused(boxed: Path, tmp_path: Path) -> None:
    repooled = tmp_path / "max.onnx"
    assert run("repool", MODEL, "--with", "max", "-o", repooled, "--quiet") == 0
    request = asked(boxed, "sac", tmp_path / "m.onnx")
    with pytest.raises(InputError, match="answers by 'max': fit auxiliary classifiers to the vendor's model"):
        refit_auxiliary(replace(request, data=replace(request.data, model=repooled)))


def test_the_function(boxed: Path, tmp_path: Path) -> None:
    found = fit_auxiliary(MODEL, boxed, [MIDDLE], tmp_path / "m.onnx", preprocess=PREPROCESS, ridge=0.01, force=True)
    assert found.output == "logits_sac"
    assert found.scores is False
    assert (tmp_path / "m.onnx").is_file()
