import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnx_gapmil.errors import ImageError, PreprocessError
from onnx_gapmil.images import PRESETS, InputSpec, Preprocess

PHOTO = np.random.default_rng(2).integers(0, 256, (48, 64, 3), dtype=np.uint8)
GOOD = {
    "layout": "NCHW",
    "color": "RGB",
    "size": [32, 32],
    "resize": "squash",
    "crop": 1.0,
    "interpolation": "bilinear",
    "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "dtype": "float32",
}


def made(**changes):
    return Preprocess.from_json({**GOOD, **changes})


def test_json_round_trip_has_exactly_the_documented_keys():
    assert made().to_json() == GOOD
    assert list(made().to_json()) == list(GOOD)
    assert Preprocess.from_json(json.loads(json.dumps(made().to_json()))) == made()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"colour": "RGB"}, "unknown key 'colour'; the keys are layout, color"),
        ({"layout": "CHW"}, "'layout' is 'CHW', and has to be one of 'NCHW', 'NHWC'"),
        ({"layout": 1}, "'layout' is 1, and has to be one of 'NCHW'"),
        ({"size": 224}, "'size' is 224"),
        ({"size": [224]}, "'size'"),
        ({"size": [224.0, 224]}, "'size'"),
        ({"size": [True, 224]}, "'size'"),
        ({"size": [0, 224]}, r"each in 1\.\."),
        ({"size": [10**9, 10**9]}, r"each in 1\.\."),
        ({"crop": 0}, "'crop' is 0.0"),
        ({"crop": 1.01}, "'crop'"),
        ({"crop": 1e-9}, "'crop'"),
        ({"crop": "0.875"}, "'crop' is '0.875', and has to be a number"),
        ({"interpolation": "lanczos"}, "'bicubic-antialias'"),
        ({"scale": 0}, "'scale'"),
        ({"scale": float("inf")}, "'scale'"),
        ({"scale": 10**400}, "'scale'"),
        ({"mean": [0.5]}, r"3 finite numbers, for color 'RGB'"),
        ({"mean": [0.5, 0.5, None]}, "'mean'"),
        ({"std": [1, 0, 1]}, "'std'"),
        ({"color": "GRAY"}, r"1 finite number,"),
        ({"dtype": "complex64"}, "'dtype'"),
        ({"dtype": "uint8"}, "rounds 256 grey levels to 3"),
    ],
)
def test_a_wrong_json_names_the_key_and_what_is_legal(changes, says):
    with pytest.raises(PreprocessError, match=says) as caught:
        made(**changes)
    assert "\n" not in str(caught.value)


def test_a_missing_key_and_a_wrong_kind_are_named():
    with pytest.raises(PreprocessError, match="'scale' is missing"):
        Preprocess.from_json({key: value for key, value in GOOD.items() if key != "scale"})
    with pytest.raises(PreprocessError, match="keys 'layout', 'dtype' are missing"):
        Preprocess.from_json({key: value for key, value in GOOD.items() if key not in ("layout", "dtype")})
    with pytest.raises(PreprocessError, match="object was expected, not a list"):
        Preprocess.from_json([GOOD])


def test_the_formula_follows_the_channel_order():
    rgb, _ = made(size=[48, 64]).apply(PHOTO)
    bgr, _ = made(size=[48, 64], color="BGR", scale=1, mean=[104, 117, 123], std=[1, 2, 4]).apply(PHOTO)
    expected = (PHOTO / 255 - np.array(GOOD["mean"])) / np.array(GOOD["std"])
    assert np.abs(rgb - expected.transpose(2, 0, 1)).max() < 1e-6
    assert np.array_equal(bgr, ((PHOTO[:, :, ::-1] - [104, 117, 123]) / [1, 2, 4]).transpose(2, 0, 1))


def test_layouts_hold_the_same_numbers_contiguously():
    chw, _ = made().apply(PHOTO)
    hwc, _ = made(layout="NHWC").apply(PHOTO)
    assert np.array_equal(chw.transpose(1, 2, 0), hwc)
    assert chw.shape == (3, 32, 32)
    assert chw.flags.c_contiguous
    assert hwc.flags.c_contiguous


def test_grey_is_pillows_luma():
    array, _ = made(color="GRAY", size=[48, 64], scale=1, mean=[0], std=[1]).apply(PHOTO)
    expected = np.asarray(Image.fromarray(PHOTO).convert("L"), dtype=float)
    assert array.shape == (1, 48, 64)
    assert np.abs(array[0] - expected).max() <= 1


def test_shortest_and_crop_give_what_torchvision_gives():
    photo = np.random.default_rng(3).integers(0, 256, (120, 171, 3), dtype=np.uint8)
    array, geometry = made(resize="shortest", crop=0.8, interpolation="bilinear-antialias").apply(photo)
    # Resize(40): 40 x int(40 * 171 / 120) = 57; CenterCrop(32): top 4, left round(12.5) = 12
    resized = Image.fromarray(photo).resize((57, 40), Image.Resampling.BILINEAR)
    window = np.asarray(resized.crop((12, 4, 44, 36)), dtype=float)
    assert np.abs(array - ((window / 255 - GOOD["mean"]) / GOOD["std"]).transpose(2, 0, 1)).max() < 1e-6
    assert geometry.offset == (4, 12)


@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_letterbox_pads_with_the_colour_that_becomes_zero(color):
    array, geometry = made(resize="letterbox", color=color, size=[64, 64]).apply(PHOTO)
    x0, y0, x1, y1 = geometry.photo_region
    assert (x0, y0, x1, y1) == (0, 8, 64, 56)
    assert np.abs(array[:, :8]).max() < 0.5 / 255 / 0.224 + 1e-6
    assert np.abs(array[:, 56:]).max() < 0.5 / 255 / 0.224 + 1e-6
    inside = (PHOTO if color == "RGB" else PHOTO[:, :, ::-1]) / 255
    expected = (inside - GOOD["mean"]) / GOOD["std"]
    assert np.abs(array[:, 8:56] - expected.transpose(2, 0, 1)).max() < 1e-6


def test_letterbox_of_raw_pixels_pads_black():
    array, _ = made(resize="letterbox", scale=1, mean=[0] * 3, std=[1] * 3, dtype="uint8").apply(PHOTO)
    assert array[:, 0].max() == 0


@pytest.mark.parametrize(
    ("dtype", "mean", "black", "middle", "white"),
    [
        ("uint8", 0, 0, 128, 255),
        ("int8", 128, -128, 0, 127),
        ("int8", 0, 0, 127, 127),
        ("uint8", 128, 0, 0, 127),
    ],
)
def test_integers_saturate_and_never_wrap(dtype, mean, black, middle, white):
    photo = np.array([[[0] * 3, [128] * 3, [255] * 3]], dtype=np.uint8)
    recipe = made(size=[1, 3], scale=1, mean=[mean] * 3, std=[1] * 3, dtype=dtype)
    array, _ = recipe.apply(photo)
    assert array.dtype == dtype
    assert array[0, 0].tolist() == [black, middle, white]


def test_half_floats_are_rounded_once():
    array, _ = made(size=[48, 64], dtype="float16").apply(PHOTO)
    exact = (PHOTO * GOOD["scale"] - GOOD["mean"]) / GOOD["std"]
    assert np.array_equal(array, exact.astype(np.float16).transpose(2, 0, 1))


def test_bfloat16_is_made_too():
    array, _ = made(dtype="bfloat16").apply(PHOTO)
    single, _ = made().apply(PHOTO)
    assert array.dtype.name == "bfloat16"
    assert np.abs(array.astype(np.float32) - single).max() < 2**-7


def test_a_batch_is_its_photos_one_after_the_other():
    other = PHOTO[:40, :30]
    batch, geometries = made().apply_batch([PHOTO, other])
    assert batch.shape == (2, 3, 32, 32)
    assert np.array_equal(batch[1], made().apply(other)[0])
    assert [geometry.image_size for geometry in geometries] == [(48, 64), (40, 30)]


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from(["squash", "shortest", "letterbox"]),
    st.floats(0.3, 1),
)
def test_any_photo_gives_the_models_shape(height, width, rule, crop):
    photo = np.full((height, width, 3), 200, dtype=np.uint8)
    array, geometry = made(resize=rule, crop=crop, size=[17, 23]).apply(photo)
    assert array.shape == (3, 17, 23)
    x0, y0, x1, y1 = geometry.photo_region
    inside = array[:, y0:y1, x0:x1]
    assert np.ptp(inside, axis=(1, 2)).max() == 0  # a flat photo stays flat: no padding leaked into it


def test_describe_says_the_steps():
    assert made(resize="shortest", crop=0.8).describe() == (
        "NCHW float32 RGB 32x32 (width x height); shorter side to 40, centre crop 32x32; bilinear; "
        "(pixel * 0.00392157 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]"
    )


@pytest.mark.parametrize("photo", [PHOTO.astype(complex), PHOTO[None], PHOTO[:0], np.dstack([PHOTO, PHOTO])])
def test_what_is_no_rgb_photo_is_a_type_error(photo):
    with pytest.raises(TypeError):
        made().apply(photo)


def test_a_thread_of_an_image_is_refused():
    with pytest.raises(ImageError, match="too long and thin"):
        made(resize="shortest", size=[512, 512]).apply(np.zeros((1, 1000, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        (
            "imagenet",
            [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
            [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225],
        ),
        ("inception", [-1, -1, -1], [1, 1, 1]),
        ("caffe", [-104, -117, -123], [151, 138, 132]),
        ("unit", [0, 0, 0], [1, 1, 1]),
        ("raw", [0, 0, 0], [255, 255, 255]),
    ],
)
def test_presets_have_their_range(name, black, white):
    recipe = PRESETS[name](InputSpec("x", (1, 3, 8, 8), "float32"))
    for level, expected in ((0, black), (255, white)):
        array, _ = recipe.apply(np.full((8, 8, 3), level, dtype=np.uint8))
        assert array[:, 4, 4] == pytest.approx(expected, abs=1e-5)


def test_caffe_is_bgr_of_a_256_pixel_squash():
    recipe = PRESETS["caffe"](InputSpec("x", (1, 3, 224, 224), "float32"))
    _, geometry = recipe.apply(PHOTO)
    assert (recipe.color, geometry.resized_size, geometry.offset) == ("BGR", (256, 256), (16, 16))


def test_colour_presets_refuse_a_grey_model():
    for name in ("imagenet", "caffe"):
        with pytest.raises(PreprocessError, match="3 colour channels"):
            PRESETS[name](InputSpec("x", (1, 1, 28, 28), "float32"))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["RGB", "BGR", "GRAY"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64", "uint8", "int8", "uint16", "int32"])
def test_a_photo_is_written_in_place_and_is_the_formula_in_every_type(layout, color, dtype):
    """Into the middle row of a batch: the rows beside it stay as they are. A level is float64's, rounded once."""
    channels = 1 if color == "GRAY" else 3
    scale, mean, std = (1 / 255, [0.4, 0.5, 0.3], [0.2, 0.25, 0.3]) if "float" in dtype else (1.0, [1, 2, 3], [1, 1, 1])
    if dtype == "int8":
        mean = [128, 127, 126]
    preprocess = made(
        layout=layout, color=color, dtype=dtype, size=[48, 64], scale=scale, mean=mean[:channels], std=std[:channels]
    )
    batch = np.full((3, *preprocess.input_shape), 7, preprocess.input_dtype)
    geometry = preprocess.apply_into(PHOTO, batch[1])
    pixels = {"RGB": PHOTO, "BGR": PHOTO[:, :, ::-1], "GRAY": grey(PHOTO)}[color].astype(np.float64)
    expected = (pixels * scale - np.array(mean[:channels])) / np.array(std[:channels])
    if "int" in dtype:
        expected = np.clip(np.rint(expected), np.iinfo(dtype).min, np.iinfo(dtype).max)
    if layout == "NCHW":
        expected = expected.transpose(2, 0, 1)
    np.testing.assert_array_equal(batch[1], expected.astype(preprocess.input_dtype))
    assert (batch[[0, 2]] == 7).all()
    array, same = preprocess.apply(PHOTO)
    np.testing.assert_array_equal(array, batch[1])
    assert same == geometry


def grey(photo):
    """OpenCV's fixed-point luma: weights of 15 bits, rounded."""
    red, green, blue = (photo[:, :, channel].astype(np.int64) for channel in range(3))
    return ((9798 * red + 19235 * green + 3735 * blue + 16384) >> 15)[:, :, None]
