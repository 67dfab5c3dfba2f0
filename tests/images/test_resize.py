import functools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnx_gapmil.images import InputSpec, Preprocess
from onnx_gapmil.images import tensorflow as rules
from onnx_gapmil.images.presets import imagenet
from onnx_gapmil.images.resize import INTERPOLATIONS, resize
from tests.helpers.golden_photos import EQUALS, photo, sampled

PHOTO = np.random.default_rng(1).integers(0, 256, (61, 47, 3), dtype=np.uint8)
GRADIENT = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        ("bilinear-antialias", Image.Resampling.BILINEAR),
        ("bicubic-antialias", Image.Resampling.BICUBIC),
        ("lanczos-antialias", Image.Resampling.LANCZOS),
        ("nearest-exact", Image.Resampling.NEAREST),
    ],
)
@pytest.mark.parametrize("size", [(20, 30), (61, 30), (100, 120)])
def test_pillows_rules_are_pillows(rule, reference, size):
    expected = np.asarray(Image.fromarray(PHOTO).resize((size[1], size[0]), reference))
    assert np.array_equal(resize(PHOTO, size, rule), expected)


@pytest.mark.parametrize(
    ("rule", "reference"),
    [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC), ("nearest", cv2.INTER_NEAREST)],
)
def test_plain_rules_are_opencvs(rule, reference):
    assert np.array_equal(resize(PHOTO, (20, 30), rule), cv2.resize(PHOTO, (30, 20), interpolation=reference))


def test_area_is_the_mean_of_each_block():
    blocks = PHOTO[:60, :40].reshape(20, 3, 20, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(resize(PHOTO[:60, :40], (20, 20), "area") - blocks).max() <= 0.5


def test_bilinear_takes_the_two_neighbours_of_the_centre_and_no_more():
    # 64 -> 16: centres fall between samples 4i+1 and 4i+2
    expected = (GRADIENT[0, 1::4].astype(int) + GRADIENT[0, 2::4]) // 2
    assert np.array_equal(resize(GRADIENT, (16, 16), "bilinear")[0], expected)


def test_the_rules_differ_where_it_matters():
    made = {rule: resize(PHOTO, (8, 8), rule).astype(int) for rule in INTERPOLATIONS}
    assert np.abs(made["bilinear"] - made["bilinear-antialias"]).mean() > 20


@pytest.mark.parametrize("rule", INTERPOLATIONS)
def test_every_rule_takes_grey_colour_and_views(rule):
    assert resize(PHOTO[:, :, 0], (9, 5), rule).shape == (9, 5)
    assert resize(PHOTO[:, ::-1], (9, 5), rule).shape == (9, 5, 3)
    assert resize(PHOTO, (61, 47), rule) is PHOTO


GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@functools.cache
def golden(function):
    """(height and width of the picture, of the result, contrast, grey levels (10, 10, 3)) of one function."""
    found = []
    for name in ("tensorflow", "torch"):
        with np.load(GOLDEN / f"{name}.npz") as file:
            for key in file:
                if key.startswith(function + "|"):
                    _, size, to, contrast = key.split("|")
                    sides = [tuple(map(int, text.split("x"))) for text in (size, to)]
                    found.append((*sides, contrast, np.clip(file[key] / 128 - 64.0, 0, 255)))
    return found


@pytest.mark.parametrize(("function", "rule", "hard", "soft"), EQUALS)
def test_a_rule_equals_the_library_that_it_is_documented_to_equal(function, rule, hard, soft):
    cases = golden(function)
    assert len(cases) >= 7
    for size, to, contrast, expected in cases:
        made = sampled(resize(photo(*size, contrast), to, rule)).astype(np.float64)
        limit = hard if contrast == "hard" else soft
        assert np.abs(made - expected).max() <= limit + 1 / 128, f"{size} to {to}, {contrast}"


@pytest.mark.parametrize(("function", "rule", "hard", "soft"), EQUALS)
def test_no_other_rule_equals_the_library(function, rule, hard, soft):
    """So that the table is no accident of easy pictures."""
    size, to = (375, 500), (224, 224)
    (expected,) = [values for s, t, contrast, values in golden(function) if (s, t, contrast) == (size, to, "hard")]
    for other in set(INTERPOLATIONS) - {rule}:
        assert np.abs(sampled(resize(photo(*size), to, other)) - expected).max() > 10, other


def test_torchvisions_evaluation_transform_is_the_preset_imagenet_to_the_last_grey_level():
    preprocess = imagenet(InputSpec("x", (None, 3, 224, 224), "float32"))
    with np.load(GOLDEN / "torch.npz") as file:
        cases = {key: file[key].astype(np.float64) for key in file if key.startswith("eval|")}
    assert len(cases) == 6
    for key, expected in cases.items():
        height, width = map(int, key.removeprefix("eval|").split("x"))
        for layout in ("NCHW", "NHWC"):
            made = replace(preprocess, layout=layout).apply(photo(height, width))[0]
            made = sampled(made if layout == "NHWC" else made.transpose(1, 2, 0))
            assert np.abs((made - expected) * preprocess.std * 255).max() <= 0.2, key


def test_bgr_is_resized_as_rgb_is():
    spec = InputSpec("x", (None, 3, 40, 60), "uint8")
    plain = {"size": (40, 60), "resize": "squash", "crop": 1.0, "scale": 1.0, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    for rule in INTERPOLATIONS:
        both = {"layout": "NHWC", "interpolation": rule, "dtype": spec.dtype, **plain}
        rgb, bgr = (Preprocess(color=color, **both).apply(PHOTO)[0] for color in ("RGB", "BGR"))
        assert np.array_equal(rgb, bgr[:, :, ::-1])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.sampled_from(INTERPOLATIONS))
def test_every_rule_keeps_a_flat_picture_flat(height, width, to_height, to_width, rule):
    flat = np.full((height, width, 3), 137, dtype=np.uint8)
    made = resize(flat, (to_height, to_width), rule)
    assert made.shape == (to_height, to_width, 3)
    assert (made == 137).all()


def test_tensorflow_1_puts_pixel_0_on_pixel_0():
    assert resize(GRADIENT, (16, 16), "bilinear-tf1")[0].tolist() == GRADIENT[0, ::4].tolist()
    assert resize(GRADIENT, (16, 16), "bicubic-tf1")[0].tolist() == GRADIENT[0, ::4].tolist()


def test_bicubic_tf2_is_keys_kernel_with_a_half():
    # Doubling: centres at -0.25, 0.25, ... Keys' weights at 0.25 with a = -1/2 are (-9, 111, 29, -3) / 128.
    row = np.array([[10, 50, 90, 30, 200, 120]], dtype=np.uint8)
    expected = (np.array([-9, 111, 29, -3]) / 128) @ row[0, 1:5]
    assert resize(np.repeat(row, 4, axis=0), (4, 12), "bicubic-tf2")[0, 5] == round(expected)


def test_a_large_result_is_made_in_parts_that_join(monkeypatch):
    whole = {rule: resize(PHOTO, (90, 70), rule) for rule in rules.TENSORFLOW_RULES}
    monkeypatch.setattr(rules, "_MAX_NUMBERS", 2_000)
    for rule, expected in whole.items():
        assert np.array_equal(resize(PHOTO, (90, 70), rule), expected)
