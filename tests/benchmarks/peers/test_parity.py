"""The grid against what other tools say of the same model: their maps are functions of it, to float32 rounding.

The maps were made by the tools themselves (`python -m benchmarks.peers --golden tests/golden/peers_parity.npz`), from
one small classifier with average pooling and a linear head, in PyTorch and exported to ONNX; the tests need neither.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from benchmarks.peers import parity
from onnx_gapmil import GridSession
from onnx_gapmil.rewriting.rewriter import rewrite_model

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden" / "peers_parity.npz"
#: Largest difference as a share of the largest value: two float32 sums of 12 terms, in different orders.
TOLERANCE = 1e-6
#: Grad-CAM is stretched to 0..1 twice and resized.
PICTURE_TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def grid(golden: dict[str, Any]) -> np.ndarray:
    """(2, 7, 5, 7): two images, seven classes, not square."""
    model = onnx.ModelProto.FromString(golden["model"].tobytes())
    (answer,) = GridSession(rewrite_model(model), provider="cpu", threads=1).run(golden["image"])
    assert answer.grid is not None
    return answer.grid


def difference(theirs: np.ndarray, ours: np.ndarray) -> float:
    assert theirs.shape == ours.shape
    return float(np.abs(theirs.astype(np.float64) - ours).max() / np.abs(ours).max())


def test_grid_has_a_value_for_each_image_class_and_cell(grid: np.ndarray) -> None:
    assert grid.shape == (2, 7, 5, 7)
    assert np.ptp(grid, axis=(2, 3)).min() > 0.1  # a flat map would agree with any other


def test_mean_over_cells_is_what_pytorch_answers(golden: dict[str, Any], grid: np.ndarray) -> None:
    assert difference(golden["logits"], grid.astype(np.float64).mean((2, 3))) < TOLERANCE


def test_torch_cam_is_the_grid_without_the_bias(golden: dict[str, Any], grid: np.ndarray) -> None:
    for index in range(grid.shape[1]):
        expected = grid[:, index].astype(np.float64) - float(golden["bias"][index])
        assert difference(golden["cam"][:, index], expected) < TOLERANCE


def test_reciprocam_is_an_affine_copy_of_the_grid(golden: dict[str, Any], grid: np.ndarray) -> None:
    """Its answers are HW times smaller than the evidence, so its rounding is HW times larger."""
    bias = golden["bias"].astype(np.float64)[:, None, None]
    cells = grid.shape[2] * grid.shape[3]
    assert difference((golden["reciprocam"] - bias) * cells + bias, grid) < cells * TOLERANCE
    assert difference(golden["reciprocam"], bias + (grid - bias) / cells) < TOLERANCE


def test_grad_cam_is_the_grids_positive_part_stretched(golden: dict[str, Any], grid: np.ndarray) -> None:
    theirs = golden["grad_cam"]
    some = theirs.shape[1]
    ours = parity.grad_cam_of(grid[:, :some], golden["bias"][:some], theirs.shape[2:])
    assert ours.max() > 0.99
    assert difference(theirs, ours) < PICTURE_TOLERANCE


def test_formulas_of_the_benchmark_are_those_of_these_tests(golden: dict[str, Any], grid: np.ndarray) -> None:
    """What the page prints as differences is what is asserted here."""
    maps = {name: golden[name] for name in ("cam", "reciprocam", "grad_cam")}
    known = {"zero": golden["bias"][None], "logits": golden["logits"]}
    found = parity.differences(known, {"grid": grid, **maps})
    assert len(found) == 4
    assert max(found.values()) < 35 * TOLERANCE
    swapped = parity.differences(known, {"grid": grid[:, ::-1], **maps})
    assert min(swapped.values()) > 0.1


def test_the_file_names_the_tools_that_made_it(golden: dict[str, Any]) -> None:
    versions = json.loads(str(golden["versions"]))
    assert {"torchcam", "openvino_xai", "grad-cam"} <= set(versions)
