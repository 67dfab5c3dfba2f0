"""The lift rules, by what they keep, and the table of them all."""

from onnx_gapmil.lift.rules import (
    activations,
    affine,
    classical,
    contractions,
    dense,
    gates,
    norms,
    pools,
    quantized,
    reductions,
    shape,
)
from onnx_gapmil.lift.table import rule_table, rules_in

__all__ = ["RULES"]

#: Every rule of this package, by (domain, operator).
RULES = rule_table(
    entry
    for module in (
        activations,
        affine,
        classical,
        contractions,
        dense,
        gates,
        norms,
        pools,
        quantized,
        reductions,
        shape,
    )
    for entry in rules_in(module)
)
