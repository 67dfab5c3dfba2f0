"""What each operator does to one token's row, by (domain, operator)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from onnx_gapmil.lift.tokens.contracting import einsum, multiply
from onnx_gapmil.lift.tokens.dense import gemm
from onnx_gapmil.lift.tokens.fused import attention, multi_head, skip_norm
from onnx_gapmil.lift.tokens.grouped import grouped, standard
from onnx_gapmil.lift.tokens.integers import dequantize, multiply_integers, quantize
from onnx_gapmil.lift.tokens.moving import MOVERS, join, move, pad, pass_on, scatter
from onnx_gapmil.lift.tokens.operators_on_integers import ON_INTEGERS
from onnx_gapmil.lift.tokens.pointwise import (
    FUNCTIONS,
    LINEAR_REDUCTIONS,
    NORMS,
    PRODUCTS,
    REDUCTIONS,
    RUNTIME_FUNCTIONS,
    SUMS,
    along_axis,
    elementwise,
    mean_channels,
    normalize,
    reduce,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.lift.tokens.unrolling import Handler

_RUNTIME = "com.microsoft"

HANDLERS: Mapping[tuple[str, str], Handler] = MappingProxyType(
    {
        **{("", op): move for op in MOVERS},
        **{("", op): pass_on for op in ("Identity", "Dropout")},
        ("", "Concat"): join,
        ("", "Pad"): pad,
        **{("", op): scatter for op in ("ScatterElements", "ScatterND")},
        **{("", op): elementwise for op in (*SUMS, *PRODUCTS, *FUNCTIONS)},
        **{(_RUNTIME, op): elementwise for op in RUNTIME_FUNCTIONS},
        **{("", op): normalize for op in NORMS},
        **{("", op): along_axis for op in ("Softmax", "LogSoftmax", "LpNormalization", "Hardmax")},
        **{("", op): reduce for op in (*LINEAR_REDUCTIONS, *REDUCTIONS)},
        ("", "GlobalAveragePool"): mean_channels,
        ("", "MatMul"): multiply,
        (_RUNTIME, "FusedMatMul"): multiply,
        ("", "Einsum"): einsum,
        ("", "Gemm"): gemm,
        (_RUNTIME, "FusedGemm"): gemm,
        **{(domain, "QuantizeLinear"): quantize for domain in ("", _RUNTIME)},
        **{(domain, "DequantizeLinear"): dequantize for domain in ("", _RUNTIME)},
        ("", "DynamicQuantizeLinear"): quantize,
        ("", "MatMulInteger"): multiply_integers,
        **ON_INTEGERS,
        ("", "Attention"): standard,
        (_RUNTIME, "Attention"): attention,
        (_RUNTIME, "GroupQueryAttention"): grouped,
        (_RUNTIME, "MultiHeadAttention"): multi_head,
        **{(_RUNTIME, op): skip_norm for op in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")},
    }
)
