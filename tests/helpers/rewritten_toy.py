"""Small rewritten models, written by hand as ONNX text."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnx_gapmil.ort.cuda import CudaProblem, probe_driver

CHANNELS, CLASSES = 3, 4
#: (K, C) and (K,): logits are exact in float32, so that expectations are too.
WEIGHTS = np.arange(CLASSES * CHANNELS, dtype=np.float32).reshape(CLASSES, CHANNELS) - 5
BIAS = np.array([1, -2, 0, 4], np.float32)

HEAD = {
    "output": "scores",
    "verdict": "exact",
    "logits": "gapmil_logits",
    "features": "gapmil_features",
    "grid": "gapmil_grid",
    "grid_shape": [1, CLASSES, 2, 2],
    "activation": "softmax",
    "readout": "contribution",
}


def rewritten_model(
    batch: str = "N", *, heads: object = (HEAD,), element: str = "float", extra_input: str = ""
) -> onnx.ModelProto:
    """A 4x4 image, averaged to a 2x2 feature grid, pooled, one dense layer; its grid and its metadata."""
    kind = {"float": np.float32, "float16": np.float16}[element]
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        classifier ({element}[{batch},{CHANNELS},4,4] image{extra_input}) => (
            {element}[{batch},{CLASSES}] scores, {element}[{batch},{CLASSES}] gapmil_logits,
            {element}[{batch},{CHANNELS},2,2] gapmil_features, {element}[{batch},{CLASSES},2,2] gapmil_grid
        ) {{
            gapmil_features = AveragePool<kernel_shape=[2,2], strides=[2,2]>(image)
            pooled = GlobalAveragePool(gapmil_features)
            flat = Flatten(pooled)
            gapmil_logits = Gemm<transB=1>(flat, weights, bias)
            scores = Softmax(gapmil_logits)
            gapmil_grid = Conv(gapmil_features, kernels, bias)
        }}"""
    )
    for name, array in {
        "weights": WEIGHTS,
        "kernels": WEIGHTS[:, :, None, None],
        "bias": BIAS,
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(array.astype(kind), name))
    if heads is not None:
        model.metadata_props.add(key="gapmil.heads", value=json.dumps(heads))
        model.metadata_props.add(key="gapmil.version", value="0.1.0")
    return model


def images(count: int, seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    """Images of shape (count, 3, 4, 4) with small whole numbers, so that sums are exact."""
    return np.random.default_rng(seed).integers(-8, 8, (count, CHANNELS, 4, 4)).astype(dtype)


def expected_grid(batch: np.ndarray) -> np.ndarray:
    """The prediction grid (N, K, 2, 2), by NumPy in float64."""
    cells = batch.astype(np.float64).reshape(len(batch), CHANNELS, 2, 2, 2, 2).mean(axis=(3, 5))
    return np.einsum("kc,nchw->nkhw", WEIGHTS.astype(np.float64), cells) + BIAS[:, None, None]


@pytest.fixture
def toy() -> SimpleNamespace:
    """The hand-written model and what is known of it."""
    return SimpleNamespace(model=rewritten_model, images=images, grid=expected_grid, head=HEAD)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of CUDA need a card; a card that does not work makes them fail, and is no reason to skip them."""
    if item.get_closest_marker("gpu") and isinstance(driver := probe_driver(), CudaProblem):
        pytest.skip(driver.what)
