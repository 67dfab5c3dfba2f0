"""The files beside a model that hold its weights, by SHA-256: that of the ``.onnx`` file says nothing of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.files.hashing import hash_file
from onnx_gapmil.graph.loading import model_tensors
from onnx_gapmil.graph.tensors import is_external

if TYPE_CHECKING:
    import onnx

    from onnx_gapmil.graph.loading import LoadedModel


def weight_files(proto: onnx.ModelProto) -> list[str]:
    """The files beside a model that hold its weights, as it names them, in order."""
    found = {
        entry.value
        for tensor in model_tensors(proto)
        if is_external(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sorted(found)


def weight_digests(model: LoadedModel) -> dict[str, str]:
    """SHA-256 of each file of weights, by its name; empty where all weights are in the model's file, or it has none.

    Raises:
        ModelError: a file cannot be read.
    """
    folder = model.folder
    return {} if folder is None else {name: hash_file(folder / name) for name in weight_files(model.proto)}
