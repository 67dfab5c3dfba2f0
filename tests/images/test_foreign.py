import pytest

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images import InputSpec
from onnx_gapmil.images.foreign import from_hugging_face, from_timm
from onnx_gapmil.images.geometry import Geometry

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
        ({"resample": 1}, "lanczos"),
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
