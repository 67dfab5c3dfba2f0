"""The precision of a model, and a copy of it in half precision for the measurement."""

from __future__ import annotations

import importlib
import warnings
from collections import Counter
from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.errors import InputError
from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.graph.loading import has_external_data, model_tensors, weight_bytes
from onnx_gapmil.graph.tensors import is_external, tensor_array, tensor_bytes
from onnx_gapmil.ort.errors import readable
from onnx_gapmil.ort.quiet import onnxruntime_module

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = {
    onnx.TensorProto.FLOAT: "fp32",
    onnx.TensorProto.FLOAT16: "fp16",
    onnx.TensorProto.BFLOAT16: "bf16",
    onnx.TensorProto.DOUBLE: "fp64",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "int8",
}
_CONVERTER = "onnxruntime.transformers.float16"
#: Weights above this are not converted: the converter infers shapes on the whole protobuf, which ends at 2 GiB.
_MOST_BYTES = 1_900_000_000


def precision_of(proto: onnx.ModelProto) -> str:
    """What most of the weights are: "fp32", "fp16", "bf16", "fp64" or "int8"; "fp32" without weights."""
    elements: Counter[str] = Counter()
    for tensor in model_tensors(proto):
        name = _NAMES.get(tensor.data_type)
        if name is not None:
            elements[name] += tensor_bytes(tensor) // _WIDTH[name]
    return elements.most_common(1)[0][0] if elements else "fp32"


_WIDTH = {"fp32": 4, "fp16": 2, "bf16": 2, "fp64": 8, "int8": 1}


def to_half(proto: onnx.ModelProto, folder: Path | None, name: str) -> onnx.ModelProto:
    """A copy of a float32 model in float16, inputs and outputs included.

    ONNX Runtime's own converter does it: weights and activations become float16, operators without a float16 kernel
    stay between casts. Nothing is calibrated: it is for measuring speed, not for shipping.

    Args:
        proto: the model, which is not changed.
        folder: where its external data lies.
        name: the model, for messages.

    Raises:
        InputError: the model is not float32, is too large, or the converter is missing or fails.
    """
    found = precision_of(proto)
    if found != "fp32":
        raise InputError(f"--precision fp16: {name} is {found}, and only float32 models are converted; leave it out.")
    if weight_bytes(proto) > _MOST_BYTES:
        raise InputError(
            f"--precision fp16: {name} holds {weight_bytes(proto) / 1e9:.1f} GB of weights, too many to convert in "
            "memory; export it in float16 and measure that file."
        )
    convert = _converter()
    copy = inline_functions(proto) if has_functions(proto) else onnx.ModelProto()
    if not has_functions(proto):
        copy.CopyFrom(proto)
    _load_external(copy, folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one for each weight that float16 rounds to its smallest number
            half: onnx.ModelProto = convert(copy, keep_io_types=False)  # type: ignore[operator]
    except Exception as error:
        raise InputError(
            f"--precision fp16: ONNX Runtime's converter cannot convert {name}: {readable(error).rstrip('.')}; "
            "export the model in float16 and measure that file."
        ) from error
    return half


def _converter() -> object:
    onnxruntime_module()
    try:
        return importlib.import_module(_CONVERTER).convert_float_to_float16
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"--precision fp16: the installed ONNX Runtime does not bring its converter ({_CONVERTER}: {error}); "
            "export the model in float16 and measure that file."
        ) from error


def _load_external(proto: onnx.ModelProto, folder: Path | None) -> None:
    if folder is None or not has_external_data(proto):
        return
    for tensor in model_tensors(proto):
        if is_external(tensor):
            array = tensor_array(tensor, folder)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
