from dataclasses import replace

import pytest

from onnx_gapmil.fitting.preprocessing.candidates import (
    RESIZINGS,
    TRIED_INTERPOLATIONS,
    Candidate,
    interpolations,
    normalizations,
    resizings,
    same_normalization,
)
from onnx_gapmil.images import PRESETS, InputSpec
from onnx_gapmil.images.resize import INTERPOLATIONS

COLOUR = InputSpec("x", (None, 3, 32, 32), "float32")
GREY = InputSpec("x", (None, 1, 28, 28), "float32")
BYTES = InputSpec("x", (1, 32, 32, 3), "uint8")


def names(spec, base):
    return [candidate.name for candidate in normalizations(spec, base)]


def test_colour_models_try_every_preset_in_both_orders_but_for_mean_pixels():
    assert names(COLOUR, PRESETS["imagenet"](COLOUR)) == [
        *("imagenet", "imagenet BGR", "unit", "unit BGR", "inception", "inception BGR", "raw", "raw BGR"),
        *("caffe", "vgg", "openai-clip", "openai-clip BGR", "cifar", "cifar BGR"),
    ]


def test_grey_models_and_integers_have_fewer():
    assert names(GREY, PRESETS["unit"](GREY)) == ["unit", "raw", "inception", "mnist"]
    assert names(BYTES, PRESETS["raw"](BYTES)) == ["raw", "raw BGR"]


def test_the_default_comes_first_and_keeps_its_own_digits():
    base = replace(PRESETS["unit"](COLOUR), scale=0.00392157, interpolation="area")
    made = normalizations(COLOUR, base)
    assert made[0] == Candidate("unit", base)
    assert len(made) == 14
    assert all(candidate.preprocess.interpolation == "area" for candidate in made)


def test_a_default_with_values_of_its_own_is_a_candidate_of_its_own():
    base = replace(PRESETS["unit"](COLOUR), mean=(0.3, 0.2, 0.1))
    made = normalizations(COLOUR, base)
    assert made[0] == Candidate("as given", base)
    assert len(made) == 15


def test_bgr_has_the_means_of_its_own_channels():
    made = {candidate.name: candidate.preprocess for candidate in normalizations(COLOUR, PRESETS["unit"](COLOUR))}
    assert made["imagenet BGR"].mean == (0.406, 0.456, 0.485)
    assert made["imagenet BGR"].std == (0.225, 0.224, 0.229)
    assert made["caffe"].color == "BGR"
    assert made["vgg"].color == "RGB"


def test_values_are_the_same_however_they_are_written():
    unit, inception, imagenet = (PRESETS[name](COLOUR) for name in ("unit", "inception", "imagenet"))
    halves = replace(inception, scale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3)
    levels = replace(imagenet, scale=1.0, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    assert same_normalization(inception, halves)
    assert same_normalization(imagenet, levels)
    assert not same_normalization(unit, inception)
    assert not same_normalization(imagenet, PRESETS["cifar"](COLOUR))
    assert not same_normalization(unit, replace(unit, mean=(0.0, 0.0, 0.01)))


def test_a_shape_that_fits_two_layouts_tries_both():
    spec = InputSpec("x", (None, 3, None, 3), "float32")
    base = replace(PRESETS["unit"](spec), size=(224, 3))
    made = normalizations(spec, base)
    assert [candidate.preprocess.layout for candidate in made].count("NHWC") == 14
    assert {candidate.preprocess.size for candidate in made if candidate.preprocess.layout == "NHWC"} == {(3, 224)}
    assert made[0].preprocess == base


@pytest.mark.parametrize("known", [True, False])
def test_resizing_starts_with_the_default_or_with_the_preset_that_was_found(known):
    base = PRESETS["imagenet"](COLOUR)
    chosen = next(c for c in normalizations(COLOUR, base) if c.name == "caffe")
    made = resizings(chosen, COLOUR, base_is_known=known)
    first = made[0].preprocess
    assert (first == chosen.preprocess) == known
    assert (first == PRESETS["caffe"](COLOUR)) != known
    assert chosen in made
    assert {(c.preprocess.resize, c.preprocess.crop) for c in made} == set(RESIZINGS)
    assert len({c.preprocess for c in made}) == len(made)


def test_interpolations_start_with_the_chosen_one():
    chosen = Candidate("unit", replace(PRESETS["unit"](COLOUR), interpolation="bicubic-tf2"))
    made = interpolations(chosen)
    assert made[0] == chosen
    assert [c.preprocess.interpolation for c in made[1:]] == list(TRIED_INTERPOLATIONS)
    assert set(TRIED_INTERPOLATIONS) <= set(INTERPOLATIONS)
