"""The lift rules, by what they keep, and the table of them all."""

from onnx_gapmil.lift.rules import (
    activations,
    affine,
    class_token,
    classical,
    contractions,
    dense,
    extremes,
    fused,
    gates,
    joint,
    norms,
    pools,
    quantized,
    quantized_joins,
    reductions,
    shape,
)
from onnx_gapmil.lift.table import rule_table, rules_in

__all__ = ["RULES"]

_MODULES = (
    activations,
    affine,
    class_token,
    classical,
    contractions,
    dense,
    extremes,
    fused,
    gates,
    joint,
    norms,
    pools,
    quantized,
    quantized_joins,
    reductions,
    shape,
)
#: Every rule of this package, by (domain, operator).
RULES = rule_table(entry for module in _MODULES for entry in rules_in(module))
