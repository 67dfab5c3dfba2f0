"""Tensors are checked before anything reads them: a damaged one is a sentence that names it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.graph.tensors import check_tensor, tensor_array, tensor_bytes
from tests.helpers import hostile

WORDS = {
    "gone": r"tensor 'w' of shape \[3, 4\] has 0 values, not 12",
    "short": r"tensor 'w' of shape \[3, 4\] has 44 bytes, not 48",
    "typed": r"tensor 'w' of shape \[3, 4\] has 11 values, not 12",
    "segment": "tensor 'w' is one segment",
    "axes": "tensor 'w' has 65 axes, more than 32",
    "negative": r"tensor 'w' declares an absurd shape \[-3, -4\]",
    "text": "tensor 'w' holds text as raw bytes",
    "reference": "the attribute 'axis' refers to one of a function",
    "attribute": r"tensor 'c' of shape \[5\] has 4 bytes, not 20",
}


@pytest.mark.parametrize("kind", WORDS)
def test_a_damaged_tensor_is_named(kind: str) -> None:
    with pytest.raises(ModelError, match=WORDS[kind]):
        load_model(hostile.damaged_tensors()[kind])


def test_a_shape_of_more_elements_than_any_classifier_is_absurd() -> None:
    with pytest.raises(ModelError, match="declares an absurd shape"):
        check_tensor(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**20, 2**21]), "m")


@pytest.mark.parametrize(
    "name",
    [name for name in TensorProto.DataType.keys() if name not in ("UNDEFINED", "STRING")],  # noqa: SIM118
)
@pytest.mark.parametrize("raw", [True, False])
def test_every_type_is_read_as_onnx_reads_it(name: str, raw: bool) -> None:
    """Values as the onnx package itself writes them, raw and in the field of their type."""
    number = TensorProto.DataType.Value(name)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(number)
    values = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]).astype(dtype)
    try:
        tensor = (
            numpy_helper.from_array(values, "t")
            if raw
            else onnx.helper.make_tensor("t", number, values.shape, values.ravel())
        )
    except (TypeError, ValueError, KeyError, NotImplementedError):
        pytest.skip("onnx itself does not write it")
    check_tensor(tensor, "m")
    assert tensor_array(tensor).tobytes() == numpy_helper.to_array(tensor).tobytes() == values.tobytes()
    if tensor.HasField("raw_data"):
        assert tensor_bytes(tensor) == len(tensor.raw_data)
        tensor.raw_data += b"\0"
        with pytest.raises(ModelError, match="bytes, not"):
            check_tensor(tensor, "m")


def test_what_the_library_cannot_read_is_a_model_error() -> None:
    broken = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], raw_data=b"12345")
    with pytest.raises(ModelError, match=r"the tensor 'w' of shape \[3\] cannot be read"):
        tensor_array(broken)
