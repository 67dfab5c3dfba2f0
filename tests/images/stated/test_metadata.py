"""What metadata state, by the keys of those who write them."""

import pytest

from onnx_gapmil.images import InputSpec, resolve_preprocess
from onnx_gapmil.images.stated import unknown_keys

SPEC = InputSpec("x", (None, 3, 224, 224), "float32")
OPEN = InputSpec("x", (None, 3, None, None), "float32")
GREY = InputSpec("x", (None, 1, 28, 28), "float32")
ULTRALYTICS = {
    "description": "Ultralytics YOLOv8n-cls model",
    "author": "Ultralytics",
    "version": "8.3.0",
    "stride": "1",
    "task": "classify",
    "batch": "1",
    "imgsz": "[64, 64]",
    "names": "{0: 'a', 1: 'b'}",
}
IMAGENET = {"mean_values": "123.675 116.28 103.53", "scale_values": "58.395 57.12 57.375"}


def resolved(metadata, spec=SPEC):
    return resolve_preprocess(spec, request=None, model_path=None, metadata=metadata)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("NominalRange_0_255", (0, 255)),
        ("Normalized_0_1", (0, 1)),
        ("normalized_1_1", (-1, 1)),
        ("NominalRange_16_235", (16, 235)),
    ],
)
def test_onnxs_nominal_range_says_what_black_and_white_become(value, wanted):
    used = resolved({"Image.NominalPixelRange": value, "Image.BitmapPixelFormat": "Rgb8"}).preprocess
    assert [(pixel * used.scale - used.mean[0]) / used.std[0] for pixel in (0, 255)] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("value", "spec", "color"), [("Bgr8", SPEC, "BGR"), ("rgb8", SPEC, "RGB"), ("Gray8", GREY, "GRAY")]
)
def test_onnxs_pixel_format_is_followed_in_any_case(value, spec, color):
    found = resolved({"image.bitmappixelformat": value, "Image.NominalPixelRange": "Normalized_0_1"}, spec)
    assert (found.preprocess.color, found.guessed, found.assumed) == (color, (), False)
    assert "'image.bitmappixelformat'" in found.source if color != "GRAY" else True


def test_a_part_that_is_stated_leaves_the_others_guessed_and_says_which():
    found = resolved({"Image.BitmapPixelFormat": "Bgr8"})
    assert found.preprocess.color == "BGR"
    assert found.preprocess.mean == (0.406, 0.456, 0.485)  # ImageNet's, in the order of the channels
    assert found.guessed == ("values", "resize")
    assert found.guess == "preprocessing guessed: values, resize"
    assert "partly stated: color (BGR)" in found.source
    assert "Guessed, since nothing states it: values of the preset 'imagenet'" in found.source


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"Image.BitmapPixelFormat": "Gray8"}, "does not fit 3 channel"),
        ({"Image.BitmapPixelFormat": "Yuv"}, "no format of the ONNX specification"),
        ({"Image.NominalPixelRange": "0..1"}, "no range of the ONNX specification"),
        ({"Image.ColorSpaceGamma": "Linear"}, "not linearized"),
        ({"model_info resize_type": "fit_to_window"}, "no counterpart"),
        ({"model_info reverse_input_channels": "False"}, "whoever decodes"),
        ({"model_info intensity_mode": "percentile"}, "no counterpart"),
        ({**ULTRALYTICS, "task": "detect"}, "not 'classify'"),
    ],
)
def test_what_cannot_be_followed_is_said(metadata, says):
    found = resolved(metadata)
    assert any(says in note for note in found.notes)
    assert says in found.source


def test_ultralytics_classifiers_are_read_as_its_own_transforms_do():
    found = resolved(ULTRALYTICS, OPEN)
    used = found.preprocess
    assert (used.size, used.resize, used.crop, used.interpolation) == ((64, 64), "shortest", 1.0, "bilinear-antialias")
    assert (used.color, used.scale, used.mean, used.std) == ("RGB", 1 / 255, (0.0,) * 3, (1.0,) * 3)
    assert not found.assumed
    assert resolved({**ULTRALYTICS, "imgsz": "[64, 96]"}, OPEN).preprocess.resize == "squash"


def test_model_apis_keys_are_read_with_their_prefix_and_without():
    for prefix in ("model_info ", ""):
        metadata = {prefix + key: value for key, value in IMAGENET.items()}
        metadata[f"{prefix}reverse_input_channels"] = "True"
        metadata[f"{prefix}resize_type"] = "standard"
        found = resolved(metadata)
        assert found.preprocess.mean == (123.675, 116.28, 103.53)
        assert found.preprocess.std == (58.395, 57.12, 57.375)
        assert (found.preprocess.color, found.preprocess.resize, found.assumed) == ("RGB", "squash", False)


def test_reversed_channels_are_rgb_whatever_the_means():
    found = resolved({"model_info reverse_input_channels": "True", "model_info scale_values": "255.0"})
    assert (found.preprocess.color, found.guessed, found.preprocess.std) == ("RGB", (), (255.0,) * 3)


def test_means_that_are_imagenets_tell_the_order_where_no_channels_are_reversed():
    """Training Extensions writes reverse_input_channels False for networks that were trained in RGB."""
    found = resolved({f"model_info {key}": value for key, value in IMAGENET.items()})
    assert (found.preprocess.color, found.guessed) == ("RGB", ())
    turned = {"model_info mean_values": "[103.53, 116.28, 123.675]", "model_info scale_values": "[1, 1, 1]"}
    assert resolved(turned).preprocess.color == "BGR"


@pytest.mark.parametrize(
    ("metadata", "full_scale"),
    [
        ({"intensity_mode": "scale_to_unit", "intensity_max_value": "4095.0"}, 4095.0),
        (
            {"intensity_mode": "window", "intensity_window_center": "40.0", "intensity_window_width": "400.0"},
            (-160.0, 240.0),
        ),
        (
            {
                "intensity_mode": "range_scale",
                "intensity_scale_factor": "0.4",
                "intensity_min_value": "300",
                "intensity_max_value": "360",
            },
            (750.0, 900.0),
        ),
    ],
)
def test_model_apis_intensities_are_the_full_scale(metadata, full_scale):
    metadata = {**metadata, "mean_values": "0.485 0.456 0.406", "scale_values": "0.229 0.224 0.225"}
    used = resolved({f"model_info {key}": value for key, value in metadata.items()}).preprocess
    assert used.full_scale == pytest.approx(full_scale)
    assert (used.scale, used.mean[0]) == (1 / 255, 0.485)


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ({"mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]"}, (1 / 255, 0.5, 0.5)),
        ({"mean": "123.7, 116.3, 103.5", "std": "58.4, 57.1, 57.4"}, (1.0, 123.7, 58.4)),
        ({"standardization_mean": "[0.1]", "standardization_std": "[0.2]"}, (1 / 255, 0.1, 0.2)),
    ],
)
def test_means_under_the_names_that_people_give_them(metadata, wanted):
    used = resolved(metadata).preprocess
    assert (used.scale, used.mean[0], used.std[0]) == wanted


def test_a_librarys_configuration_inside_the_metadata_is_a_whole_statement():
    text = '{"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_normalize": true, "resample": 2}'  # noqa: E501
    found = resolved({"preprocessor_config": text})
    assert (found.preprocess.mean, found.assumed) == ((0.5,) * 3, False)
    assert "the metadata key 'preprocessor_config'" in found.source


@pytest.mark.parametrize(
    "value", ["", "nan nan nan", "0.5", "1 2", "{" * 100, "('a',)", "1e999 1 1", "[[[[[[[[[[[[1]]]]]]]]]]]]", "9" * 400]
)
@pytest.mark.parametrize("key", ["mean", "mean_values", "model_info scale_values", "imgsz", "Image.NominalPixelRange"])
def test_damaged_values_are_no_crash(key, value):
    assert resolved({key: value, "stride": "1", "task": "classify"}).preprocess.size == (224, 224)


def test_contradictions_are_said_and_the_order_decides():
    found = resolved({"Image.NominalPixelRange": "Normalized_0_1", "model_info mean_values": "128 128 128"})
    assert found.preprocess.scale == 1 / 255
    assert any("contradicts" in note and "model_info mean_values" in note for note in found.notes)
    size = resolved({**ULTRALYTICS, "imgsz": "[320, 320]"})
    assert size.preprocess.size == (224, 224)
    assert any("contradicts the model's input of 224x224" in note for note in size.notes)


def test_unknown_keys_are_listed_and_known_ones_are_not():
    metadata = {
        **ULTRALYTICS,
        "model_info labels": "a b",
        "Image.ColorSpaceGamma": "SRGB",
        "onnx.infer": "onnxruntime.quant",
        "gapmil.heads": "[]",
        "my_threshold": "0.7",
    }
    assert unknown_keys(metadata, ["names"]) == ("my_threshold",)


@pytest.mark.parametrize(
    "metadata",
    [
        {"mean": "0.485|0.456|0.406", "std": "[0.229, 0.224, 0.225]"},
        {"mean": "[0.485, 0.456, 0.406]", "std": "0.229/0.224/0.225"},
        {"mean": "0.5 0.5", "std": "0.5"},
        {"model_info mean_values": "123.675/116.28/103.53", "model_info scale_values": "58.395 57.12 57.375"},
        {"model_info mean_values": "123.675 116.28 103.53", "model_info scale_values": "unknown"},
    ],
)
def test_half_a_normalization_that_cannot_be_read_states_no_values(metadata):
    found = resolved({**metadata, "color_format": "RGB"})
    assert "values" in found.guessed
    assert any("is not followed" in note for note in found.notes)


def test_means_that_disagree_are_said_to():
    found = resolved({"image_mean": "0.5", "image_std": "0.5", "mean": "0.1 0.1 0.1", "std": "0.2 0.2 0.2"})
    assert found.preprocess.mean == (0.5,) * 3
    assert any("contradicts the metadata key 'image_mean'" in note for note in found.notes)


def test_a_side_of_hundreds_of_digits_is_not_printed():
    found = resolved({"orig_height": "1e300", "orig_width": "1e300"}, OPEN)
    assert "size" in found.guessed
    assert any("'1e300'" in note and len(note) < 200 for note in found.notes)


@pytest.mark.parametrize(
    ("metadata", "part", "says"),
    [
        ({"imgsz": "big"}, "size", "'imgsz' is 'big', which is no image's size; it is not followed."),
        ({"Input_Size": "0"}, "size", "'Input_Size' is '0', which is no image's size; it is not followed."),
        ({"color_order": "YUV"}, "color", "'color_order' is 'YUV', which is no order of channels that is known here"),
        ({"color_order": "gray"}, "color", "'color_order' is 'gray', which does not fit 3 channel(s)"),
        ({"orig_height": "tall", "orig_width": "64"}, "size", "'orig_height' is 'tall', which is no side of an image"),
        ({"orig_height": "64.5", "orig_width": "64"}, "size", "'orig_height' is '64.5', which is no side of an image"),
        ({"orig_width": "64"}, "size", "'orig_width' is '64', and the other side is not said"),
        (
            {"intensity_mode": "scale_to_unit", "intensity_max_value": "all"},
            "full_scale",
            "'intensity_max_value' is 'all', which is no number",
        ),
        (
            {"intensity_mode": "window", "intensity_window_center": "?", "intensity_window_width": "400"},
            "full_scale",
            "'intensity_window_center' is '?', which is no number",
        ),
    ],
)
def test_a_key_that_cannot_be_read_is_said_and_not_followed(metadata, part, says):
    found = resolved(metadata, OPEN)
    assert any(says in note for note in found.notes), found.notes
    assert not any(key in found.parts.get(part, "") for key in metadata)


def test_keys_are_read_in_any_case():
    used = resolved({"Mean": "0.5", "STD": "0.25", "Color_Order": "BGR", "ImgSz": "96"}, OPEN).preprocess
    assert (used.mean, used.std, used.color, used.size) == ((0.5,) * 3, (0.25,) * 3, "BGR", (96, 96))
