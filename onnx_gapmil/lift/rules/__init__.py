"""The lift rules, by what they keep. Importing this package registers them all."""

from onnx_gapmil.lift.rules import (
    activations,
    affine,
    dense,
    flattened,
    gates,
    norms,
    pools,
    quantized,
    shape,
    weighted,
)

__all__ = ["activations", "affine", "dense", "flattened", "gates", "norms", "pools", "quantized", "shape", "weighted"]
