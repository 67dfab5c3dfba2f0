"""Nets trained with FlexPooling: weights, grids and other pools against float64 NumPy on the numbers in the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image

from onnx_gapmil import GridSession, inspect, repool
from onnx_gapmil.auditing import Request, audit
from tests.helpers import scene_data

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
ONE_HEAD = ("digits_torch_flex_position", "digits_torch_flex_channel")
WITH_SAC = "digits_torch_flex_channel_sac"
#: By output, the cells of a side.
SIDES = {"logits": 12, "stage1": 24, "stage2": 12}
#: How their scenes are prepared, by the file beside them.
MEAN, DEVIATION = (0.25, 0.2, 0.25), 0.2
HEADS = [*((name, "logits") for name in ONE_HEAD), *((WITH_SAC, output) for output in SIDES)]


@dataclass(frozen=True)
class Flex:
    """One head as the vendor's file spells it: ``Gemm(ReduceSum(Mul(map, weights)))``."""

    map: str
    weights: np.ndarray
    matrix: np.ndarray
    bias: np.ndarray

    def cells(self, features: np.ndarray) -> np.ndarray:
        """``T * w[p] * A[:, p]`` through the dense layer: (N, K, H, W)."""
        weighed = features.astype(np.float64) * self.weights * self.weights[0].size
        return np.einsum("kc,nchw->nkhw", self.matrix, weighed) + self.bias[:, None, None]


def flex_of(model: onnx.ModelProto, output: str) -> Flex:
    values = {entry.name: numpy_helper.to_array(entry).astype(np.float64) for entry in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t).astype(np.float64)
    makers = {name: node for node in model.graph.node for name in node.output}
    gemm = makers[output]
    product = makers[makers[gemm.input[0]].input[0]]
    assert (gemm.op_type, product.op_type) == ("Gemm", "Mul")
    return Flex(product.input[0], values[product.input[1]], values[gemm.input[1]], values[gemm.input[2]])


def photos(count: int = 2) -> np.ndarray:
    return np.random.default_rng(3).normal(0.0, 1.0, (count, 3, 96, 96)).astype(np.float32)


def features_of(model: onnx.ModelProto, tensor: str, images: np.ndarray) -> np.ndarray:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.output.add(name=tensor)
    session = onnxruntime.InferenceSession(changed.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run([tensor], {"image": images})[0]
    return found


@pytest.mark.parametrize(("name", "output"), HEADS)
def test_learned_weights_are_the_files(name: str, output: str) -> None:
    flex = flex_of(onnx.load(SAMPLES / f"{name}.onnx"), output)
    head = next(head for head in inspect(SAMPLES / f"{name}.onnx").heads if head.output == output)
    assert (head.verdict, head.position_dependent) == ("exact", True)
    (pool,) = head.pool_weights
    relative = flex.weights * flex.weights[0].size
    assert pool.by == ("position" if name == ONE_HEAD[0] else "position and channel")
    assert pool.sets == len(relative)
    sums = relative.mean(axis=(1, 2))
    said = [pool.least, pool.largest, *(pool.sums or ())]
    np.testing.assert_allclose(said, [relative.min(), relative.max(), sums.min(), sums.max()], rtol=1e-5)
    assert pool.below_zero == pytest.approx((relative < 0).mean())
    np.testing.assert_allclose(pool.map, relative.mean(axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "output"), HEADS)
def test_cells_are_numpys(name: str, output: str) -> None:
    model, images = onnx.load(SAMPLES / f"{name}.onnx"), photos()
    flex = flex_of(model, output)
    expected = flex.cells(features_of(model, flex.map, images))
    found = {grid.output: grid for grid in GridSession(SAMPLES / f"{name}.onnx").run(images)}[output]
    assert found.grid is not None
    assert found.grid.shape == (len(images), 10, SIDES[output], SIDES[output])
    np.testing.assert_allclose(found.grid, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(found.logits, expected.mean(axis=(2, 3)), atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", [*ONE_HEAD, WITH_SAC])
def test_another_pool_answers_by_the_weighed_cells_and_is_given_back(name: str, tmp_path: Path) -> None:
    path, images = SAMPLES / f"{name}.onnx", photos()
    model = onnx.load(path)
    repool(path, "max", tmp_path / "max.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "max.onnx", providers=["CPUExecutionProvider"])
    for output in (entry.name for entry in model.graph.output):
        flex = flex_of(model, output)
        expected = flex.cells(features_of(model, flex.map, images)).max(axis=(2, 3))
        (answer,) = session.run([output], {"image": images})
        np.testing.assert_allclose(answer, expected, atol=1e-5 * np.abs(expected).max())
    back = repool(tmp_path / "max.onnx", "mean", write=False)
    assert back.is_vendors
    assert list(back.model.graph.node) == list(model.graph.node)


@pytest.mark.parametrize("output", SIDES)
def test_each_stage_is_audited_by_itself(output: str, tmp_path: Path) -> None:
    data, model = scene_data.write_scenes(tmp_path / "data"), SAMPLES / f"{WITH_SAC}.onnx"
    found = audit(Request(model=model, data=data, head=output), tmp_path / "out", gallery=0).to_json()
    assert found["head"]["grid_shape"][2:] == [SIDES[output], SIDES[output]]
    assert [pool["by"] for pool in found["head"]["pool_weights"]] == ["position and channel"]
    scenes = np.stack([np.asarray(Image.open(data.parent / f"00_{entry['image']}")) for entry in scene_data.entries()])
    inputs = ((scenes / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (answer,) = session.run([output], {"image": inputs})
    labels = [entry["label"] for entry in scene_data.entries()]
    assert found["top1"] == (answer.argmax(axis=1) == labels).mean()
