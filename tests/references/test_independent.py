"""Whether the check of grids can fail: right grids, by NumPy alone, pass it, and corrupted ones do not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.references import independent
from tests.references.vendor import Vendor

CHANNELS, CLASSES = 5, 4


def _classifier(tail: str, *, size: str = "5, 7") -> onnx.ModelProto:
    """A convolution, a mean over a grid, a dense layer with a bias, and what follows."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        classifier (float[N, 3, {size}] image) => (float[N, {CLASSES}] scores) {{
            map = Conv(image, kernel)
            features = Relu(map)
            pooled = GlobalAveragePool(features)
            flat = Flatten(pooled)
            {tail}
        }}"""
    )
    rng = np.random.default_rng(7)
    weights = {"kernel": (CHANNELS, 3, 1, 1), "weight": (CLASSES, CHANNELS), "bias": (CLASSES,)}
    for name, shape in weights.items():
        values = rng.standard_normal(shape).astype(np.float32) + (name == "bias")
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return model


def _claim(folder: Path, tail: str, verdict: str, *, size: str = "5, 7") -> tuple[Vendor, independent.Claim]:
    """A file and its right grid, by numpy alone."""
    model = _classifier(tail, size=size)
    path = folder / "classifier.onnx"
    path.write_bytes(model.SerializeToString())
    vendor = Vendor(path)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    seen = vendor.observe(["features", "scores"])
    grid = np.einsum("nchw,kc->nkhw", seen["features"], weights["weight"]) + weights["bias"][:, None, None]
    if verdict == "conditional":
        before = grid.mean(axis=(2, 3), keepdims=True)
        grid = grid * np.maximum(before, 0) / before
    source = independent.Source("features", (2, 3))
    return vendor, independent.Claim("scores", verdict, (source,), grid.astype(np.float32))


EXACT = "scores = Gemm<transB = 1>(flat, weight, bias)"
CONDITIONAL = "dense = Gemm<transB = 1>(flat, weight, bias) scores = Relu(dense)"
CORRUPTIONS = {
    "classes_reversed": lambda grid: grid[:, ::-1],
    "bias_dropped": lambda grid: grid - grid.mean(axis=(0, 2, 3), keepdims=True) * 0.1,
    "rows_and_columns_swapped": lambda grid: np.swapaxes(grid, 2, 3),
    "swapped_in_memory": lambda grid: np.swapaxes(grid, 2, 3).reshape(grid.shape),
    "mean_spread_evenly": lambda grid: np.broadcast_to(grid.mean(axis=(2, 3), keepdims=True), grid.shape),
    "upside_down": lambda grid: grid[:, :, ::-1],
    "one_cell_over": lambda grid: np.roll(grid, 1, axis=3),
    "not_finite": lambda grid: np.where(grid == grid.max(), np.nan, grid),
}


@pytest.mark.parametrize(("tail", "verdict"), [(EXACT, "exact"), (CONDITIONAL, "conditional")])
@pytest.mark.parametrize("size", ["5, 7", "6, 6"])
def test_check_accepts_the_right_grid(tmp_path: Path, tail: str, verdict: str, size: str) -> None:
    vendor, claim = _claim(tmp_path, tail, verdict, size=size)
    finding = independent.check_claim(vendor, claim)
    assert finding.problems == []
    assert finding.cells == claim.grid[:, 0].size
    assert finding.cell_residual is not None
    assert finding.cell_residual < 1e-6


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("tail", "verdict"), [(EXACT, "exact"), (CONDITIONAL, "conditional")])
@pytest.mark.parametrize("size", ["5, 7", "6, 6"])
def test_check_flags_a_corrupted_grid(tmp_path: Path, name: str, tail: str, verdict: str, size: str) -> None:
    vendor, claim = _claim(tmp_path, tail, verdict, size=size)
    corrupted = dataclasses.replace(claim, grid=np.ascontiguousarray(CORRUPTIONS[name](claim.grid)))
    problems = independent.check_claim(vendor, corrupted).problems
    problems += independent.check_arrangement(vendor, corrupted, {})
    assert problems


def test_check_flags_a_conditional_head_that_is_called_exact(tmp_path: Path) -> None:
    vendor, claim = _claim(tmp_path, CONDITIONAL, "conditional")
    assert independent.check_claim(vendor, dataclasses.replace(claim, verdict="exact")).problems


def test_check_accepts_a_pool_that_weighs_positions_unequally(tmp_path: Path) -> None:
    tail = """top = Slice(features, start, stop, rows) half = GlobalAveragePool(top) more = Flatten(half)
        both = Add(flat, more) scores = Gemm<transB = 1>(both, weight, bias)"""
    model = _classifier(tail, size="6, 4")
    for name, value in (("start", 0), ("stop", 2), ("rows", 2)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    path = tmp_path / "crop.onnx"
    path.write_bytes(model.SerializeToString())
    vendor = Vendor(path)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    share = np.array([4, 4, 1, 1, 1, 1], np.float32)[:, None]  # the crop is a third of the rows: 1 + 3 there
    features = vendor.observe(["features"])["features"]
    source = (independent.Source("features", (2, 3)),)
    for weighed, right in ((features * share, True), (features * 2, False)):
        grid = np.einsum("nchw,kc->nkhw", weighed, weights["weight"]) + weights["bias"][:, None, None]
        assert (
            not independent.check_claim(vendor, independent.Claim("scores", "exact", source, grid)).problems
        ) is right


def test_check_flags_pixels_that_pass_the_pool_by(tmp_path: Path) -> None:
    tail = "dense = Gemm<transB = 1>(flat, weight, bias) side = ReduceMean<axes = [1, 2, 3], keepdims = 0>(image) "
    tail += "column = Unsqueeze(side, one) scores = Add(dense, column)"
    model = _classifier(tail)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    path = tmp_path / "side.onnx"
    path.write_bytes(model.SerializeToString())
    assert Vendor(path).sees_image(["features"], "scores")
    assert not Vendor(path).sees_image(["features"], "dense")


def test_orientation_check_flags_a_grid_on_its_side(tmp_path: Path) -> None:
    vendor, claim = _claim(tmp_path, EXACT, "exact", size="6, 6")
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in vendor.model.graph.initializer}

    def run(feeds: dict[str, np.ndarray]) -> np.ndarray:
        features = vendor.observe(["features"], feeds)["features"]
        return np.einsum("nchw,kc->nkhw", features, weights["weight"]) + weights["bias"][:, None, None]

    assert independent.check_orientation(vendor, claim.grid, run) == []
    turned = np.swapaxes(claim.grid, 2, 3)
    assert independent.check_orientation(vendor, turned, lambda feeds: np.swapaxes(run(feeds), 2, 3))
