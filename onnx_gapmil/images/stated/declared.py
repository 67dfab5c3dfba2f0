"""What a graph declares of its image input beside its shape: denotations, and words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from onnx_gapmil.images.stated.statement import Statement

if TYPE_CHECKING:
    import onnx

    from onnx_gapmil.images.input_spec import InputSpec

_ORDER = re.compile(r"\b(RGB|BGR)\b", re.IGNORECASE)
#: Words that make of an order one that is not meant, or that is made from another.
_OTHERWISE = re.compile(
    r"\b(not|no|never|non|neither|nor|without|instead|unlike|than|convert\w*|from|or|if|avoid\w*|except)\b|n't\b",
    re.IGNORECASE,
)


def declared_layout(value: onnx.ValueInfoProto) -> str | None:
    """NCHW or NHWC by the dimensions' denotations (onnx, docs/DimensionDenotation.md); None where they say neither."""
    names = [dim.denotation for dim in value.type.tensor_type.shape.dim]
    if "DATA_CHANNEL" not in names:
        return None
    return {-3: "NCHW", -1: "NHWC"}.get(names.index("DATA_CHANNEL") - len(names))


def read_declared(value: onnx.ValueInfoProto, spec: InputSpec) -> list[Statement]:
    """What denotations and the input's description state: the layout, and the order of colours.

    coremltools' converters describe an input as ``Image(s) in BGR format``.
    """
    found: list[Statement] = []
    layout = declared_layout(value)
    if layout is not None:
        found.append(Statement("layout", {"layout": layout}, layout, "the denotation DATA_CHANNEL of the input's axes"))
    orders = {order.upper() for order in _ORDER.findall(value.doc_string[:2000])}
    plain = _OTHERWISE.search(value.doc_string[:2000]) is None
    if plain and len(orders) == 1 and spec.channels() == 3:
        order = orders.pop()
        found.append(Statement("color", {"color": order}, order, f"the description of the input {value.name!r}"))
    return found
