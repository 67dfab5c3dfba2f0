import cv2
import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.images.resize import INTERPOLATIONS, resize

PHOTO = np.random.default_rng(1).integers(0, 256, (61, 47, 3), dtype=np.uint8)
GRADIENT = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))


@pytest.mark.parametrize(
    ("rule", "reference"),
    [("bilinear-antialias", Image.Resampling.BILINEAR), ("bicubic-antialias", Image.Resampling.BICUBIC)],
)
@pytest.mark.parametrize("size", [(20, 30), (61, 30), (100, 120)])
def test_antialias_rules_are_pillows(rule, reference, size):
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
