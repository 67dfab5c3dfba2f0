"""The lift rules, by what they keep. Importing this package registers them all."""

from onnx_gapmil.lift.rules import activations, affine, gates, norms, pools, quantized, shape

__all__ = ["activations", "affine", "gates", "norms", "pools", "quantized", "shape"]
