"""The classifiers of ``benchmarks/shapes.py`` are what their names say, and the same on every machine."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from benchmarks import shapes
from onnx_gapmil.graph.inputs import concrete_inputs
from onnx_gapmil.graph.macs import count_work
from onnx_gapmil.graph.view import ModelGraph

#: Millions of parameters and of multiply-adds at 224 px, as timm's own tables give them.
PUBLISHED = {
    "resnet50": (25.56, 4110),
    "efficientnet_b0": (5.29, 400),
    "mobilenetv2": (3.50, 310),
    "convnext_tiny": (28.59, 4470),
    "vit_b16_gap": (86.57, 17580),
}


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_there_are_as_many_weights_as_published(name: str) -> None:
    count = sum(int(np.prod(tensor.dims)) for tensor in shapes.graph(name).graph.initializer)
    assert count / 1e6 == pytest.approx(PUBLISHED[name][0], rel=0.02)


def test_weights_are_drawn_the_same_every_time() -> None:
    first, second = shapes.build("mobilenetv2"), shapes.build("mobilenetv2")
    assert first.SerializeToString() == second.SerializeToString()
    assert all(tensor.HasField("raw_data") for tensor in first.graph.initializer)


@pytest.mark.parametrize("name", ["mobilenetv2", "efficientnet_b0"])
def test_multiply_adds_are_the_published_ones(name: str) -> None:
    proto = shapes.build(name)
    work = count_work(proto, None, concrete_inputs(ModelGraph(proto), 1, (224, 224)))
    assert work.macs / 1e6 == pytest.approx(PUBLISHED[name][1], rel=0.04)


def test_a_stripped_weight_comes_back_with_its_mean_and_deviation() -> None:
    values = np.random.default_rng(0).normal(3.0, 0.5, (40, 50)).astype(np.float32)
    tensor = onnx.numpy_helper.from_array(values, "w")
    shapes.strip(tensor)
    assert tensor.ByteSize() < 200
    shapes._fill(tensor)
    drawn = onnx.numpy_helper.to_array(tensor)
    assert (drawn.shape, tensor.doc_string) == ((40, 50), "")
    assert (drawn.mean(), drawn.std()) == (pytest.approx(3.0, abs=0.05), pytest.approx(0.5, abs=0.05))


def test_small_and_integer_weights_are_kept() -> None:
    for values in (np.ones(shapes.SMALL, np.float32), np.arange(1000)):
        tensor = onnx.numpy_helper.from_array(values, "w")
        shapes.strip(tensor)
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), values)
