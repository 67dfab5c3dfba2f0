"""The detective on real files: the project's own digit models, and classifiers by others."""

import json
from pathlib import Path

import pytest

from onnx_gapmil import GridSession
from onnx_gapmil.fitting.preprocessing import rank_presets
from onnx_gapmil.fitting.preprocessing.candidates import same_normalization
from onnx_gapmil.images import Preprocess

SAMPLES = Path(__file__).resolve().parents[3] / "sample_models"


def digits():
    """The eight scenes, each with all of its digits as right classes."""
    scenes = json.loads((SAMPLES / "scenes" / "scenes.json").read_text())
    return [
        (SAMPLES / "scenes" / scene["image"], frozenset(thing["class"] for thing in scene["objects"]))
        for scene in scenes
    ]


def truth(name):
    return Preprocess.from_json(json.loads((SAMPLES / f"{name}.preprocess.json").read_text()))


@pytest.mark.parametrize("name", ["digits_jax", "digits_keras", "digits_paddle", "digits_torch_legacy"])
def test_eight_scenes_tell_how_a_digit_model_wants_them(name):
    ranking = rank_presets(GridSession(SAMPLES / f"{name}.onnx"), digits())
    assert ranking.conclusive
    assert ranking.best.color == truth(name).color
    assert same_normalization(ranking.best, truth(name)), ranking.sentence


@pytest.mark.parametrize("name", ["digits_jax", "digits_torch_dynamo"])
def test_the_json_beside_a_model_stands(name):
    """digits_torch_dynamo has values that no preset has."""
    ranking = rank_presets(GridSession(SAMPLES / f"{name}.onnx"), digits(), base=truth(name))
    assert ranking.conclusive
    assert ranking.best == truth(name)


def test_rules_that_are_not_alike_may_still_be_tied():
    ranking = rank_presets(GridSession(SAMPLES / "digits_torch_legacy.onnx"), digits())
    (chosen,) = [row for row in ranking.rows if row.chosen]
    tied = [row for row in ranking.rows if row.tied and row.name == chosen.name]
    assert any(row.log_prob != chosen.log_prob for row in tied)
    worse = [row for row in ranking.rows if not row.tied and not row.chosen]
    assert {"unit", "inception"} <= {row.name for row in worse}


@pytest.fixture(scope="module")
def photos(shared):
    folder = shared / "real" / "images" / "ilsvrc_val_227"
    entries = json.loads((folder / "annotations.json").read_text())
    return [(folder / entry["file"], frozenset([entry["label"]])) for entry in entries]


@pytest.mark.shared
def test_a_model_that_takes_bytes_and_has_a_background_class(shared, photos):
    session = GridSession(shared / "real" / "models" / "in1k_mobilenetv2_100_224_tflite_fp32.onnx", spinning=False)
    ranking = rank_presets(session, photos, offsets=(0, 1))
    (chosen,) = [row for row in ranking.rows if row.chosen]
    assert (chosen.name, chosen.preprocess.color, ranking.offset, ranking.images) == ("raw", "RGB", 1, 48)
    assert chosen.top1 > 0.75
    assert all(row.offset == 1 and row.preprocess.color == "RGB" for row in ranking.rows if row.tied)
    assert ranking.forward_passes <= 450


@pytest.mark.shared
def test_a_caffe_model_is_told_by_its_colours_and_means(shared, photos):
    session = GridSession(shared / "real" / "models" / "in1k_squeezenet_fp16_caffe2.onnx", spinning=False)
    ranking = rank_presets(session, photos, images=32)
    (chosen,) = [row for row in ranking.rows if row.chosen]
    assert (chosen.name, chosen.preprocess.color, chosen.preprocess.resize) == ("caffe", "BGR", "squash")
    assert {row.name for row in ranking.rows if row.tied} == {"caffe"}
    assert ranking.forward_passes <= 14 * 16 + 7 * 16 + 11 * 32
