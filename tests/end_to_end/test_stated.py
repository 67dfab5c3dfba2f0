"""Third-party files and reported situations: what they state is read, and right.

The true values stand in `real/manifest.json` and in the reports' `right.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_gapmil import Classifier
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.images.decode import read_samples
from onnx_gapmil.images.input_spec import image_spec
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.resolve import ResolvedPreprocess, resolve_preprocess

pytestmark = pytest.mark.shared

PIXELS = (1.0, (0.0,) * 3, (1.0,) * 3)
IMAGENET = (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: Files of `real/models` whose graph or metadata state the values: scale, mean and std by the manifest.
STATED = {
    "maizeguard.onnx": PIXELS,
    "computer5_customvision_onnxmltools.onnx": PIXELS,
    "neg_recycling_matlab_fcasconv.onnx": PIXELS,
    "in1k_mobilenetv1_025_128_tflite_qdq.onnx": PIXELS,
    "in1k_mobilenetv2_100_224_tflite_fp32.onnx": PIXELS,
    "in1k_mobilenetv2_qdq_zoo.onnx": IMAGENET,
    "in1k_shufflenetv2_int8_qop.onnx": IMAGENET,
}


def resolved(path: Path) -> ResolvedPreprocess:
    model = load_model(path)
    spec = image_spec(model.proto)
    assert spec is not None
    return resolve_preprocess(spec, request=None, model_path=path, metadata=model.metadata, proto=model.proto)


def spans(scale: float, mean: Any, std: Any) -> np.ndarray:
    """What pixels 0 and 255 become, for each channel."""
    pixels = np.array([0.0, 255.0])[:, None] * scale
    found: np.ndarray = (pixels - np.array(mean)) / np.array(std)
    return found


@pytest.mark.parametrize("name", sorted(STATED))
def test_what_a_third_party_file_states_is_right(shared: Path, name: str) -> None:
    found = resolved(shared / "real/models" / name)
    used = found.preprocess
    np.testing.assert_allclose(spans(used.scale, used.mean, used.std), spans(*STATED[name]), atol=1e-6)
    assert "values" not in found.guessed


def test_whatever_is_not_guessed_of_a_third_party_file_agrees_with_its_manifest(shared: Path) -> None:
    """No file may state what is not so: 19 files whose values are known."""
    compared = 0
    for entry in json.loads((shared / "real/manifest.json").read_text())["models"]:
        truth = entry["preprocessing"]
        if not isinstance(truth, dict):
            continue
        found = resolved(shared / "real" / entry["file"])
        used = found.preprocess
        if "color" not in found.guessed:
            assert used.color in truth["color"], entry["file"]
        if "values" not in found.guessed:
            scale = 1 / 255 if "1/255" in truth["scale"] else 1.0
            wanted = spans(scale, truth["mean"], truth["std"])
            np.testing.assert_allclose(spans(used.scale, used.mean, used.std), wanted, atol=1e-6, err_msg=entry["file"])
            compared += 1
    assert compared >= 5


def test_custom_visions_file_names_its_classes_and_its_order_of_colours(shared: Path) -> None:
    model = Classifier(shared / "real/models/computer5_customvision_onnxmltools.onnx")
    assert model.names.names == ("controller", "keyboard", "laptop", "monitor", "mouse")
    assert (model.preprocess.preprocess.color, model.preprocess.assumed) == ("BGR", False)


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("04-customvision-bgr-zipmap/model.onnx", ("crimson", "leaf", "sky")),
        ("04-customvision-bgr-zipmap/new/model.onnx", ("crimson", "leaf", "sky")),
        ("05-yolo-cls-metadata/best.onnx", ("red thing", "green thing", "kid's toy")),
    ],
)
def test_reports_4_and_5_are_read_as_their_right_json_says(shared: Path, case: str, names: tuple[str, ...]) -> None:
    path = shared / "reports" / case
    right = path.parent / "right.json"
    right = right if right.exists() else path.parents[1] / "right.json"
    model = Classifier(path)
    assert model.preprocess.preprocess == Preprocess.from_json(json.loads(right.read_text()))
    assert not model.preprocess.assumed
    assert model.names.names == names
    found = model.predict(shared / "reports/images/mid.png").heads[0]
    assert found.top[0].label == names[0]
    assert found.boxes[0].box == (16, 16, 32, 32)


def test_report_4_in_0_to_1_is_read_too(shared: Path) -> None:
    used = Classifier(shared / "reports/04-customvision-bgr-zipmap/norm01/model.onnx").preprocess
    assert (used.preprocess.color, used.preprocess.scale, used.assumed) == ("BGR", 1 / 255, False)


@pytest.mark.parametrize("size", [None, 64, 224])
def test_report_10_of_one_image_without_a_batch(shared: Path, size: int | None) -> None:
    stated = {"layout": "NHWC", "color": "RGB", "size": [size, size], "scale": 1, "dtype": "uint8"}
    preprocess = Preprocess.from_json(stated) if size else None
    model = Classifier(shared / "reports/10-preprocess-in-graph/hwc_uint8.onnx", preprocess=preprocess)
    pixels = read_samples(shared / "reports/images/mid.png")
    assert pixels.ndim == 3
    for given in (pixels, shared / "reports/images/mid.png"):
        head = model.predict(given).heads[0]
        assert head.boxes[0].box == pytest.approx((16, 16, 32, 32), abs=0.01)
        assert {winner.index for winner in head.winners} == {0, 2}


@pytest.mark.parametrize("name", ["mirror", "pad"])
def test_report_10_of_moved_images(shared: Path, name: str) -> None:
    model = Classifier(shared / f"reports/10-preprocess-in-graph/{name}.onnx", preprocess="unit")
    assert model.predict(shared / "reports/images/mid.png").heads[0].boxes[0].box == (16, 16, 32, 32)


@pytest.mark.parametrize(
    ("name", "full_scale"),
    [
        ("bits16.png", None),
        ("bits12of16.png", 4095),
        ("bits12.tif", 4095),
        ("float01.tif", 1),
        ("hounsfield.tif", [-1024, 3071]),
        ("lowcontrast16.png", [994, 1021.3]),
    ],
)
def test_report_12_finds_the_lesion_at_every_depth(shared: Path, name: str, full_scale: Any, tmp_path: Path) -> None:
    folder = shared / "reports/12-16bit-xray"
    stated = json.loads((folder / "lesion.preprocess.json").read_text())
    preprocess = Preprocess.from_json(stated | ({"full_scale": full_scale} if full_scale is not None else {}))
    model = Classifier(folder / "lesion.onnx", preprocess=preprocess)
    np.save(tmp_path / "same.npy", read_samples(folder / name))
    reference = Classifier(folder / "lesion.onnx").predict(folder / "bits8.png")
    for file in (folder / name, tmp_path / "same.npy"):
        found = model.predict(file)
        assert found.note == ""
        wins = {winner.label: winner.cells for winner in found.heads[0].winners}
        assert (
            wins == {winner.label: winner.cells for winner in reference.heads[0].winners} == {"normal": 55, "lesion": 9}
        )


def test_report_12_announces_twelve_bits_in_sixteen(shared: Path) -> None:
    folder = shared / "reports/12-16bit-xray"
    assert "none above 3,900" in Classifier(folder / "lesion.onnx").predict(folder / "bits12of16.png").note
