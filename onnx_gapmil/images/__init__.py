"""Images in: files found and decoded, prepared for the network, mapped back."""

from onnx_gapmil.images.decode import read_image
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.images.input_spec import InputSpec
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.presets import PRESETS
from onnx_gapmil.images.resolve import ResolvedPreprocess, resolve_preprocess
from onnx_gapmil.images.sources import find_images

__all__ = [
    "PRESETS",
    "Geometry",
    "InputSpec",
    "Preprocess",
    "ResolvedPreprocess",
    "find_images",
    "read_image",
    "resolve_preprocess",
]
