"""Tensors of half precision: read by one operator that the runtime computes in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx_gapmil.lift.lifting import Lifting

_HALF = np.dtype(np.float16)


class Halves:
    """Gives for each fp16 tensor that depends on the image one that is read in its place.

    On a CPU, ONNX Runtime computes most operators of an fp16 graph in float32 and leaves out the Casts between two of
    them, so that nothing is rounded there. A reader that takes fp16 as it is (Identity, Reshape, Transpose, a graph
    output) makes it put them back, and the vendor's next operator reads what was rounded. A ``Sum`` of one tensor
    changes nothing, is no such reader, and is not optimized away.
    """

    def __init__(self, walk: Lifting) -> None:
        self._walk = walk
        self._outputs = {value.name for value in walk.graph.outputs}
        self._sums: dict[str, str] = {}

    def safe(self, name: str) -> str:
        """The tensor to read; itself where it is not fp16, or is rounded anyway, as a graph output."""
        if self._walk.trace.dtypes.get(name) != _HALF or name in self._outputs:
            return name
        if name not in self._sums:
            self._sums[name] = self._walk.build.node("Sum", [name])
        return self._sums[name]
