"""Two models of sigmoids, against NumPy alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from onnx_gapmil import compare
from onnx_gapmil.validation.comparing.sentences import verdict_sentence
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
