import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images import InputSpec
from onnx_gapmil.images.foreign import from_hugging_face, from_timm
from onnx_gapmil.images.geometry import Geometry
from tests.helpers.golden_photos import photo, sampled

SPEC = InputSpec("input", (None, None, None, 3), "float16")
TIMM = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "crop_pct": 0.95,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.25, 0.25, 0.25],
}
NORMAL = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def resized(preprocess, image=(500, 500)):
    return Geometry.plan(image, preprocess.size, preprocess.resize, preprocess.crop).resized_size


@pytest.mark.parametrize("nested", [True, False])
def test_timm_config_keeps_its_numbers_and_takes_layout_and_type_from_the_model(nested):
    made = from_timm({"pretrained_cfg": TIMM} if nested else TIMM, SPEC)
    assert made.to_json() == {
        "layout": "NHWC",
        "color": "RGB",
        "size": [224, 224],
        "resize": "shortest",
        "crop": 0.95,
        "interpolation": "bicubic-antialias",
        "scale": 1 / 255,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.25, 0.25, 0.25],
        "dtype": "float16",
    }
    assert resized(made) == (235, 235)  # floor(224 / 0.95)


@pytest.mark.parametrize(("mode", "rule"), [("center", "shortest"), ("squash", "squash"), ("border", "letterbox")])
def test_timm_crop_modes(mode, rule):
    assert from_timm({**TIMM, "crop_mode": mode}, SPEC).resize == rule


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"interpolation": "random"}, "'interpolation' is 'random'"),
        ({"crop_mode": "corner"}, "'crop_mode'"),
        ({"mean": None}, "'mean'"),
        ({"input_size": [224, 224]}, "'input_size'"),
        ({"crop_pct": 1.2}, "'crop'"),
    ],
)
def test_timm_values_without_counterpart_are_refused(changes, says):
    with pytest.raises(PreprocessError, match="timm config: .*" + says):
        from_timm({**TIMM, **changes}, SPEC)


def test_hugging_face_vit_squashes():
    made = from_hugging_face({"size": {"height": 224, "width": 224}, "resample": 2, **NORMAL}, SPEC)
    assert (made.size, made.resize, made.crop) == ((224, 224), "squash", 1.0)
    assert (made.scale, made.mean, made.std) == (1 / 255, (0.5,) * 3, (0.5,) * 3)
    assert made.interpolation == "bilinear-antialias"


@pytest.mark.parametrize(("edge", "crop"), [(256, 224), (235, 224), (248, 224), (518, 448), (322, 299), (224, 224)])
def test_hugging_face_resize_and_crop_sizes_come_out_exactly(edge, crop):
    data = {
        "size": {"shortest_edge": edge},
        "do_center_crop": True,
        "crop_size": {"height": crop, "width": crop},
    }
    made = from_hugging_face({**data, **NORMAL}, SPEC)
    assert (made.size, made.resize) == ((crop, crop), "shortest")
    assert resized(made) == (edge, edge)


def test_hugging_face_convnext_crops_small_inputs_and_squashes_large_ones():
    data = {"image_processor_type": "ConvNextImageProcessor", "crop_pct": 0.875, "resample": 3, **NORMAL}
    small = from_hugging_face({**data, "size": {"shortest_edge": 224}}, SPEC)
    large = from_hugging_face({**data, "size": {"shortest_edge": 384}}, SPEC)
    assert (small.size, small.resize, resized(small)) == ((224, 224), "shortest", (256, 256))
    assert (large.size, large.resize, large.crop) == ((384, 384), "squash", 1.0)
    assert small.interpolation == "bicubic-antialias"


def test_hugging_face_levit_resizes_to_eight_sevenths():
    data = {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 224}, "crop_size": 224}
    assert resized(from_hugging_face({**data, **NORMAL}, SPEC)) == (256, 256)


def test_hugging_face_mobilevit_is_bgr_without_normalization():
    data = {"size": {"shortest_edge": 288}, "crop_size": {"height": 256, "width": 256}}
    made = from_hugging_face({**data, "do_flip_channel_order": True, "do_resize": True}, SPEC)
    assert (made.color, made.mean, made.std) == ("BGR", (0.0,) * 3, (1.0,) * 3)


def test_hugging_face_rescale_may_be_off_or_offset():
    size = {"size": {"height": 64, "width": 64}}
    assert from_hugging_face({**size, **NORMAL, "do_rescale": False}, SPEC).scale == 1.0
    offset = {**size, "do_normalize": False, "rescale_factor": 1 / 127.5, "rescale_offset": True}
    made = from_hugging_face(offset, SPEC)
    assert (made.scale, made.mean) == (1 / 127.5, (1.0,) * 3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"do_resize": False}, "'do_resize'"),
        ({"resample": 4}, "box"),
        ({"resample": None}, "'resample'"),
        ({"size": {"shortest_edge": 224, "longest_edge": 500}}, "longest_edge"),
        ({"size": None}, "'size'"),
        ({"size": {"shortest_edge": 256}}, "'do_center_crop'"),
        ({"size": {"shortest_edge": 200}, "crop_size": 224}, "'crop_size'"),
        ({"size": {"height": "224", "width": 224}}, "'height'"),
        ({"image_std": [0, 1, 1]}, "'std'"),
    ],
)
def test_hugging_face_values_without_counterpart_are_refused(changes, says):
    data = {"size": {"height": 224, "width": 224}, **NORMAL, **changes}
    with pytest.raises(PreprocessError, match="Hugging Face preprocessor config: .*" + says):
        from_hugging_face(data, SPEC)


GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RGB = InputSpec("input", (None, 3, None, None), "float32")


def golden(name):
    """(case, (height, width), configuration, normalized values (10, 10, 3)) of a file of `tests/golden`."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = dict(file)
    cases = []
    for key, values in arrays.items():
        case, _, size = key.partition("|")
        if "x" in size and size != "json":
            height, width = map(int, size.split("x"))
            cases.append((case, (height, width), json.loads(str(arrays[f"{case}|json"])), values))
    return cases


def grey_levels_apart(preprocess, image, expected):
    """The largest difference, in grey levels."""
    made = sampled(preprocess.apply(image)[0].transpose(1, 2, 0)).astype(np.float64)
    return float((np.abs(made - expected) * np.array(preprocess.std) / preprocess.scale).max())


# Half precision: 2^-11 of a value below 4 is 0.002, half a grey level of the largest std.
HALF_PRECISION = 0.2


@pytest.mark.parametrize(("case", "size", "config", "expected"), golden("timm"))
def test_timm_configurations_give_what_timm_gives(case, size, config, expected):
    assert grey_levels_apart(from_timm(config, RGB), photo(*size), expected) <= HALF_PRECISION


UNEVEN = [one for one in golden("transformers") if one[0] == "uneven"]
EVEN = [one for one in golden("transformers") if one[0] != "uneven"]


@pytest.mark.parametrize(("case", "size", "config", "expected"), EVEN)
def test_hugging_face_configurations_give_what_transformers_gives(case, size, config, expected):
    assert grey_levels_apart(from_hugging_face(config, RGB), photo(*size, "soft"), expected) <= HALF_PRECISION


@pytest.mark.parametrize(("case", "size", "config", "expected"), UNEVEN)
def test_hugging_face_crops_an_uneven_margin_one_pixel_before_torchvision(case, size, config, expected):
    """As documented: 235 - 224 = 11 leaves 5.5; transformers crops at 5, and torchvision, as this tool, at 6."""
    made = from_hugging_face(config, RGB)
    geometry = Geometry.plan(size, made.size, made.resize, made.crop)
    small = Image.fromarray(photo(*size, "soft")).resize(geometry.resized_size[::-1], Image.Resampling.BICUBIC)
    top, left = ((length - 224) // 2 for length in geometry.resized_size)
    window = sampled(np.asarray(small)[top : top + 224, left : left + 224])
    assert np.abs(window - (expected.astype(float) * 0.5 + 0.5) * 255).max() <= HALF_PRECISION
    assert {abs(mine - theirs) for mine, theirs in zip(geometry.offset, (top, left), strict=True)} <= {0, 1}
    assert geometry.offset != (top, left)


def test_hugging_face_efficientnet_divides_by_its_std_twice():
    data = {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 8, "width": 8}, **NORMAL}
    assert from_hugging_face(data, SPEC).std == (0.25,) * 3
    assert from_hugging_face({**data, "include_top": False}, SPEC).std == (0.5,) * 3


def test_hugging_face_size_that_is_one_number_means_what_the_class_says():
    data = {"size": 256, "crop_size": 224, "do_center_crop": True, **NORMAL}
    deit = from_hugging_face({**data, "feature_extractor_type": "DeiTFeatureExtractor"}, SPEC)
    clip = from_hugging_face({**data, "feature_extractor_type": "CLIPFeatureExtractor"}, SPEC)
    assert (deit.resize, deit.size, resized(deit, (300, 600))) == ("squash", (224, 224), (256, 256))
    assert (clip.resize, clip.size, resized(clip, (300, 600))) == ("shortest", (224, 224), (256, 512))


def test_hugging_face_fills_in_what_the_class_does_by_default():
    data = {"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 64}, "crop_size": 64, **NORMAL}
    made = from_hugging_face(data, SPEC)
    assert (made.interpolation, made.resize, made.size) == ("bicubic-antialias", "shortest", (64, 64))
