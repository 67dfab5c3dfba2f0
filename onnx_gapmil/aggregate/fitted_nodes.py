"""A fitted pool as standard ONNX nodes; the formulas are those of `onnx_gapmil.aggregate.fitted`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.aggregate.nodes import CellNodes

if TYPE_CHECKING:
    from onnx_gapmil.aggregate.fitted import FittedPool
    from onnx_gapmil.graph.builder import GraphBuilder


class FittedNodes:
    """The nodes of one fitted pool.

    Args:
        build: collects the nodes.
        grid: tensor (N, K, H, W), the prediction grid; (N, C, H, W), the feature grid, of a pool of features.
        pool: what was fitted.
        dtype: the grid's element type.
        cells: H*W where it is known; None where the size is open.
        alone: each class is read by itself, by its sigmoid.

    Attributes:
        constants: the names of the constants that hold the pool's arrays, by the array's name: no other node reads
            them, so that they are found again in the file.
    """

    def __init__(
        self,
        build: GraphBuilder,
        grid: str,
        pool: FittedPool,
        *,
        dtype: np.dtype,
        cells: int | None,
        alone: bool,
    ) -> None:
        self._build, self._grid, self._pool = build, grid, pool
        self._source_dtype, self._cells, self._alone = dtype, cells, alone
        self._dtype = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        self.constants: dict[str, str] = {}

    def logits(self) -> str:
        """Image-level logits (N, K).

        Raises:
            InputError: an aggregator sorts cells, their number is open, and the operator set is older than 10.
        """
        build, pool = self._build, self._pool
        scores = [self._weighed()] if pool.size is not None else self._aggregated()
        # (M,) or (1,): each term times its own scale.
        scale = self._array("scale", pool.arrays["scale"])
        terms = []
        for place, score in enumerate(scores):
            own = scale if len(scores) == 1 else build.node("Gather", [scale, build.ints([place])], axis=0)
            terms.append(build.node("Mul", [score, own]))
        total = terms[0]
        for term in terms[1:]:
            total = build.node("Add", [total, term])
        return build.node("Add", [total, self._array("bias", pool.arrays["bias"])])

    def _array(self, name: str, value: np.ndarray) -> str:
        found = self._build.constant(value.astype(self._dtype), shared=False)
        self.constants[name] = found
        return found

    def _wide(self) -> str:
        if self._source_dtype == self._dtype:
            return self._grid
        kind = int(onnx.helper.np_dtype_to_tensor_dtype(self._dtype))
        return self._build.node("Cast", [self._grid], to=kind)

    def _weighed(self) -> str:
        """``sum_p v_p x_p``, and what a linear layer makes of it."""
        build, arrays = self._build, self._pool.arrays
        value = arrays["positions"]
        weights = self._array("positions", value if value.ndim == 3 else value[None])
        weighed = build.node("Mul", [self._wide(), weights])
        pooled = build.reduce("ReduceSum", weighed, [2, 3], keepdims=False)
        if not self._pool.of_features:
            return pooled
        rows = self._array("weight", arrays["weight"])
        return build.node("Gemm", [pooled, rows, self._array("offset", arrays["offset"])], transB=1)

    def _aggregated(self) -> list[str]:
        build, pool, grid, dtype = self._build, self._pool, self._grid, self._source_dtype
        if pool.of_features:
            rows = self._array("weight", pool.arrays["weight"])
            kernel = build.reshape(rows, [*pool.arrays["weight"].shape, 1, 1])
            grid = build.node("Conv", [self._wide(), kernel, self._array("offset", pool.arrays["offset"])])
            dtype = self._dtype
        cells = CellNodes(build, grid, channels=pool.classes, dtype=dtype, cells=self._cells, alone=self._alone)
        return [cells.logits(entry) for entry in pool.aggregators]
