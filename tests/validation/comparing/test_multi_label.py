"""Two models of sigmoids, against NumPy alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from onnx_gapmil import check, compare
from onnx_gapmil.validation.comparing.request import CompareRequest, Side
from onnx_gapmil.validation.comparing.resuming import identity
from onnx_gapmil.validation.comparing.sentences import verdict_sentence
from onnx_gapmil.validation.comparing.sides import open_sides, prepare_sides
from tests.helpers import colours


def test_two_models_of_sigmoids_are_compared_by_what_is_present(tmp_path: Path) -> None:
    """A bias of 1.5 apart: the highest class of an image may stay, and what is present changes."""
    old = colours.write_model(tmp_path / "old.onnx", "sigmoids")
    model = colours.model("sigmoids")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b")
    bias.CopyFrom(numpy_helper.from_array(np.full(3, colours.BIAS + 1.5, np.float32), "b"))
    colours.write_model(tmp_path / "new.onnx", "sigmoids")
    onnx.save(model, tmp_path / "new.onnx")
    data = colours.write_photos(tmp_path / "data", 20, names=False)
    found = compare(old, tmp_path / "new.onnx", data, tmp_path / "o")
    lines = [json.loads(line) for line in data.read_text().splitlines()]
    pixels = [np.asarray(Image.open(data.parent / line["image"])) for line in lines if line["labels"]]
    logits = np.array([colours.logits(photo) for photo in pixels])
    same = ((logits > 0) == (logits + 1.5 > 0)).all(axis=1)
    assert found.images == len(pixels)
    assert found.agreement.present == pytest.approx(same.mean())
    assert 0 < same.mean() < 1
    assert found.agreement.top1 == 1.0
    cells = [photo.reshape(6, 8, 6, 8, 3).mean(axis=(1, 3)) / 255 * colours.GAIN + colours.BIAS for photo in pixels]

    def winners(grid: np.ndarray) -> np.ndarray:
        tied = (grid == grid.max(axis=2, keepdims=True)).sum(axis=2) > 1
        return np.where((grid.max(axis=2) > 0) & ~tied, grid.argmax(axis=2), -1)

    changed = np.mean([(winners(grid) != winners(grid + 1.5)).mean() for grid in cells])
    assert found.grids.winners_changed == pytest.approx(changed)
    others = int((~same).sum())
    assert f"says that other classes are present in {others} of {len(pixels)} images" in verdict_sentence(found)


def seen(data: Path) -> np.ndarray:
    """The logits of the labelled photos."""
    lines = [json.loads(line) for line in data.read_text().splitlines()]
    return np.array(
        [colours.logits(np.asarray(Image.open(data.parent / line["image"]))) for line in lines if line["labels"]]
    )


def test_each_side_has_its_own_thresholds(tmp_path: Path) -> None:
    """A threshold of sigmoid(-1.5) is a bias of 1.5."""
    old = colours.write_model(tmp_path / "old.onnx", "sigmoids")
    data = colours.write_photos(tmp_path / "data", 20, names=False)
    level = float(1 / (1 + np.exp(1.5)))
    found = compare(old, old, data, tmp_path / "o", thresholds_new=level)
    logits = seen(data)
    same = ((logits > 0) == (logits > -1.5)).all(axis=1)
    assert found.agreement.present == pytest.approx(same.mean())
    assert 0 < same.mean() < 1
    both = compare(old, old, data, tmp_path / "both", thresholds=level)
    assert both.agreement.present == 1.0
    turned = compare(old, old, data, tmp_path / "turned", thresholds=level, thresholds_new=0.5)
    assert turned.agreement.present == found.agreement.present
    file = tmp_path / "levels.json"
    file.write_text(json.dumps([level] * 3))
    assert compare(old, old, data, tmp_path / "file", thresholds_new=file).agreement == found.agreement


def test_a_threshold_that_changed_begins_anew(tmp_path: Path) -> None:
    old = colours.write_model(tmp_path / "old.onnx", "sigmoids")
    data = colours.write_photos(tmp_path / "data", 6, names=False)
    request = [
        CompareRequest(old=Side(model=old), new=Side(model=old, thresholds=level), data=data)
        for level in ("0.2", "0.3")
    ]
    known = [identity(prepare_sides(one, *open_sides(one)), 4) for one in request]
    assert [key for key in known[0] if known[0][key] != known[1][key]] == ["threshold of a class of the new model"]


def test_check_judges_both_by_the_thresholds_that_it_is_given(tmp_path: Path) -> None:
    old = colours.write_model(tmp_path / "old.onnx", "sigmoids")
    data = colours.write_photos(tmp_path / "data", 20, names=False)
    policy = tmp_path / "p.toml"
    policy.write_text(
        'schema_version = 1\n[[require]]\nmetric = "compare.agreement.present"\nmin = 1.0\nmin_images = 1\n'
    )
    report = check(old, policy, data=data, against=old, thresholds=0.2, output=tmp_path / "o")
    assert report.passed, report.rules
    kept = json.loads((tmp_path / "o" / "compare" / "compare.json").read_text())
    assert kept["agreement"]["present"] == 1.0
