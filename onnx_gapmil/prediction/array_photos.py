"""Arrays that are photos: pixels in a ``.npy``, where the model takes a picture and they are not its input as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_gapmil.errors import GapmilError, PreprocessError
from onnx_gapmil.files.arrays import read_array
from onnx_gapmil.images.decode import is_image_array
from onnx_gapmil.images.model_input import model_input
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.resolve import resolve_preprocess

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from onnx_gapmil.files.blob import Source
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.images.input_spec import InputSpec
    from onnx_gapmil.images.levels import FullScale


def is_photo(array: npt.NDArray[Any], spec: InputSpec, full_scale: FullScale) -> bool:
    """Whether an array is a picture for a model, to be prepared as one, and not the model's input as it is.

    (H, W, 3) of bytes always is. (H, W), and what else has a picture's shape, is where it does not fit the input, and
    its range is known: 8 or 16 bits, or a preprocessing that states the full scale.

    Args:
        array: without a batch's axis.
        spec: the model's only input.
        full_scale: of the preprocessing.
    """
    try:
        spec.channels()
    except PreprocessError:
        return False
    if not is_image_array(array):
        return False
    if array.dtype == np.uint8 and array.shape[2:] == (3,):
        return True
    own = spec.shape[1:]
    fits = array.dtype.name == spec.dtype and array.ndim == len(own)
    if fits and all(axis is None or axis == side for axis, side in zip(own, array.shape, strict=True)):
        return False
    return array.dtype in (np.uint8, np.uint16) or (full_scale is not None and array.dtype.kind in "iuf")


def file_is_photo(path: Source, model: LoadedModel, asked: Preprocess | str | Path | None) -> bool:
    """Whether a file of an array holds a picture for a model; see `is_photo`.

    A file or a model that cannot be read is none; whoever reads it says why.
    """
    try:
        spec, _ = model_input(model)
        if spec is None:
            return False
        if not isinstance(asked, Preprocess):
            request = str(asked) if asked is not None else None
            asked = resolve_preprocess(
                spec, request=request, model_path=model.path, metadata=model.metadata, proto=model.proto
            ).preprocess
        return is_photo(read_array(path), spec, asked.full_scale)
    except GapmilError:
        return False
