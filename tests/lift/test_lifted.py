"""The values that a walk hands on: which element of a pooled tensor is which channel of its lift."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import onnx
import pytest

from onnx_gapmil.lift.lifted import MERGED, FeatureGrid, Lifted, Quantization, elem_type
from onnx_gapmil.lift.verdict import LiftStep

GRID = FeatureGrid("g", "x", 6, (3, 5), (2, 3), "pool (ReduceMean)", "NCHW", np.dtype(np.float32), "a note")


def lifted(shape: tuple[int, ...], batch_axis: int | None, batch: int) -> Lifted:
    step = LiftStep("Reshape", "", "t", shape, "shape", False, "")
    channels = int(np.prod(shape)) // batch
    return Lifted("l", channels, shape, batch_axis, batch, (GRID,), np.dtype(np.float32), False, step)


@pytest.mark.parametrize("batch_axis", [0, 1, 2])
def test_index_counts_the_other_axes_row_by_row_for_each_image(batch_axis: int) -> None:
    shape = (2, 3, 4)
    found = lifted(shape, batch_axis, shape[batch_axis])
    inner = [dim for axis, dim in enumerate(shape) if axis != batch_axis]
    assert found.inner_shape == tuple(inner)
    index = found.index()
    assert index.shape == shape
    for place in itertools.product(*(range(dim) for dim in shape)):
        image = place[batch_axis]
        first, second = (position for axis, position in enumerate(place) if axis != batch_axis)
        assert index[place] == image * inner[0] * inner[1] + first * inner[1] + second


def test_index_of_batch_and_channels_in_one_axis() -> None:
    np.testing.assert_array_equal(lifted((6,), MERGED, 2).index(), [0, 1, 2, 3, 4, 5])


def test_index_without_a_batch_axis() -> None:
    found = lifted((2, 3), None, 1)
    assert found.inner_shape == (2, 3)
    np.testing.assert_array_equal(found.index(), [[0, 1, 2], [3, 4, 5]])


def test_size_is_that_of_the_grid() -> None:
    assert lifted((2, 6), 0, 2).size == (3, 5)


def test_a_scale_found_at_run_time_is_dynamic() -> None:
    assert not Quantization(0.5, 3.0, -1.5, 126.0).dynamic
    assert Quantization(0.0, 0.0, -np.inf, np.inf, scale="s").dynamic


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float32, onnx.TensorProto.FLOAT),
        (np.float64, onnx.TensorProto.DOUBLE),
        (np.float16, onnx.TensorProto.FLOAT16),
        (ml_dtypes.bfloat16, onnx.TensorProto.BFLOAT16),
        (np.int8, onnx.TensorProto.INT8),
        (np.uint8, onnx.TensorProto.UINT8),
    ],
)
def test_element_types_have_onnx_numbers(dtype: type, expected: int) -> None:
    assert elem_type(np.dtype(dtype)) == expected
