"""The aggregators, and what cells say by themselves, as standard ONNX nodes on a prediction grid in the graph.

The formulas are those of `onnx_gapmil.aggregate.formulas`. Half precision is widened to float32 first, so that sums
over cells and exponentials neither overflow nor drown. Spelled for operator sets from 7 on; nothing newer is needed.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.aggregate.formulas import top_count
from onnx_gapmil.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_gapmil.graph.builder import GraphBuilder

#: The first operator set whose TopK takes its count from the graph, where the number of cells is open.
_OPEN_TOPK = 10


class CellNodes:
    """Nodes on one grid; what several reductions share is built once.

    Attributes:
        dtype: element type of all that it makes but indices: float32, or float64 for a float64 grid.
    """

    def __init__(
        self,
        build: GraphBuilder,
        grid: str,
        *,
        channels: int,
        dtype: np.dtype,
        cells: int | None = None,
        alone: bool = False,
    ) -> None:
        """Nothing is built before it is asked for.

        Args:
            build: collects the nodes.
            grid: tensor (N, K, H, W).
            channels: K.
            dtype: the grid's element type.
            cells: H*W where it is known; None where the size is open.
            alone: each class is read by itself, by its sigmoid; else by the softmax over all, where there are several.
        """
        self._build = build
        self._grid = grid
        self._channels = channels
        self._source_dtype = dtype
        self._known_cells = cells
        self._alone = alone or channels == 1
        self.dtype = np.dtype(np.float64 if dtype == np.float64 else np.float32)

    # --- what each cell says ---------------------------------------------------------------------------------------

    @cached_property
    def argmax(self) -> str:
        """The best class of each cell, (N, H, W) int64; of equal ones the lowest."""
        return self._build.node("ArgMax", [self._wide], axis=1, keepdims=0)

    @cached_property
    def certainty(self) -> str:
        """Softmax share of the best class in each cell, (N, H, W); the sigmoid where each is read by itself."""
        build = self._build
        if self._alone:
            return build.reduce("ReduceMax", build.node("Sigmoid", [self._wide]), [1], keepdims=False)
        top = build.reduce("ReduceMax", self._wide, [1])
        parts = build.node("Exp", [build.node("Sub", [self._wide, top])])
        return build.node("Div", [self._number(1), build.reduce("ReduceSum", parts, [1], keepdims=False)])

    @cached_property
    def peaks(self) -> str:
        """The best cell of each class, (N, K) int64, row by row; of equal ones the first."""
        return self._build.node("ArgMax", [self._flat], axis=2, keepdims=0)

    # --- aggregators -----------------------------------------------------------------------------------------------

    def scores(self, aggregator: Aggregator) -> str:
        """Image-level scores (N, K).

        Raises:
            InputError: it sorts cells, their number is open, and the operator set is older than 10.
        """
        rules: dict[str, Callable[[float], str]] = {
            "mean": lambda _: self._mean(self._flat),
            "max": lambda _: self._build.reduce("ReduceMax", self._flat, [2], keepdims=False),
            "lse": lambda r: self._log_mean_exp(self._flat, r),
            "topk": self._top_share,
            "softmax_weighted": self._softmax_weighted,
            "noisy_or": lambda _: self._build.reduce("ReduceSum", self._softplus(self._odds), [2], keepdims=False),
            "median": lambda _: self._median(),
            "generalized_mean": lambda r: self._build.node("Exp", [self._log_mean_exp(self._log_probability, r)]),
            "prob_mean": lambda _: self._mean(self._build.node("Exp", [self._log_probability])),
        }
        return rules[aggregator.name](aggregator.parameter or 0.0)

    def logits(self, aggregator: Aggregator) -> str:
        """Image-level logits (N, K), as `onnx_gapmil.aggregate.pooled.pooled_logits` has them.

        Raises:
            InputError: as `scores`.
        """
        build, r = self._build, aggregator.parameter or 1.0
        if aggregator.name == "prob_mean":
            found = self._log_mean_exp(self._log_probability, 1.0)
            if not self._alone:
                return found
            # The mean of ``1 - p`` is that of the sigmoids of ``-x``: neither is taken from 1.
            absent = build.node("Neg", [self._softplus(self._flat)])
            return build.node("Sub", [found, self._log_mean_exp(absent, 1.0)])
        if aggregator.name == "generalized_mean":
            found = self._log_mean_exp(self._log_probability, r)
            if not self._alone:
                return found
            cost = build.node("Relu", [build.node("Neg", [found])])
            rest = self._log_one_less_exp(build.node("Add", [cost, self._number(1e-30)]))
            return build.node("Sub", [found, rest])
        if aggregator.name == "noisy_or":
            cost = self.scores(aggregator)
            found = self._log_of_cost(cost)
            return build.node("Add", [cost, found]) if self._alone else found
        return self.scores(aggregator)

    def _log_of_cost(self, cost: str) -> str:
        """``log(1 - exp(-s))``; of costs so small that they are the sum of probabilities, the logarithm of that."""
        build = self._build
        small = build.node("Cast", [build.node("Less", [cost, self._number(1e-6)])], to=self._elem_type)
        parts, top = self._exponentials(self._log_probability, 1.0)
        total = build.node("Add", [top, build.node("Log", [build.reduce("ReduceSum", parts, [2])])])
        few = build.node("Mul", [small, build.reshape(total, [0, self._channels])])
        large = build.node("Sub", [self._number(1), small])
        usual = self._log_one_less_exp(build.node("Add", [cost, small]))
        return build.node("Add", [few, build.node("Mul", [large, usual])])

    def _log_one_less_exp(self, tensor: str) -> str:
        """``log(1 - exp(-s))`` of s above 0: ``1 - exp(-s) = 2 t / (1 + t)`` with ``t = tanh(s / 2)``, small or not."""
        build = self._build
        half = build.node("Tanh", [build.node("Mul", [tensor, self._number(0.5)])])
        share = build.node("Div", [half, build.node("Add", [half, self._number(1)])])
        return build.node("Log", [build.node("Mul", [share, self._number(2)])])

    def _mean(self, cells: str) -> str:
        return self._build.reduce("ReduceMean", cells, [2], keepdims=False)

    def _exponentials(self, cells: str, r: float) -> tuple[str, str]:
        """``exp(r (x - top))`` and the top, (N, K, 1)."""
        build = self._build
        top = self._finite(build.reduce("ReduceMax", cells, [2]))
        away = build.node("Sub", [cells, top])
        return build.node("Exp", [away if r == 1 else build.node("Mul", [away, self._number(r)])]), top

    def _finite(self, tensor: str) -> str:
        """A class that is switched off is minus infinity in all cells: its distance to itself would be no number."""
        least = np.finfo(np.float64).min if self.dtype == np.float64 else np.finfo(np.float32).min
        return self._build.at_least(tensor, np.asarray(least, dtype=self.dtype))

    def _log_mean_exp(self, cells: str, r: float) -> str:
        build = self._build
        parts, top = self._exponentials(cells, r)
        logarithm = build.node("Log", [build.reduce("ReduceMean", parts, [2])])
        if r != 1:
            logarithm = build.node("Div", [logarithm, self._number(r)])
        return build.reshape(build.node("Add", [top, logarithm]), [0, self._channels])

    def _softmax_weighted(self, r: float) -> str:
        build = self._build
        cells = self._finite(self._flat)
        parts, _ = self._exponentials(cells, r)
        weighted = build.reduce("ReduceSum", build.node("Mul", [parts, cells]), [2], keepdims=False)
        return build.node("Div", [weighted, build.reduce("ReduceSum", parts, [2], keepdims=False)])

    def _top_share(self, share: float) -> str:
        build = self._build
        count: int | str
        if self._known_cells is not None:
            count = top_count(share, self._known_cells)
        else:
            # In float64, as NumPy has it: 0.2 of 5 cells is 1, and a little more in float32.
            cells = build.node("Cast", [self._cell_count], to=onnx.TensorProto.DOUBLE)
            if share > 1:
                wanted = build.node("Min", [cells, build.constant(np.array([share]))])
            else:
                part = build.node("Mul", [cells, build.constant(np.array([share]))])
                rounded = build.node("Add", [part, build.constant(np.array([0.5]))])
                wanted = build.node("Max", [rounded, build.constant(np.array([1.0]))])
            count = build.node("Cast", [wanted], to=onnx.TensorProto.INT64)
        return self._mean(build.topk(self._flat, count, 2)[0])

    def _median(self) -> str:
        """Mean of the values at (P-1)//2 and P//2 of the sorted upper half, counted from the top."""
        build = self._build
        count: int | str
        if self._known_cells is not None:
            count = self._known_cells // 2 + 1
            middle = build.ints([(self._known_cells - 1) // 2, self._known_cells // 2])
        else:
            two, one = build.ints([2]), build.ints([1])
            upper = build.node("Div", [self._cell_count, two])
            lower = build.node("Div", [build.node("Sub", [self._cell_count, one]), two])
            count = build.node("Add", [upper, one])
            middle = build.node("Concat", [lower, upper], axis=0)
        return self._mean(build.node("Gather", [build.topk(self._flat, count, 2)[0], middle], axis=2))

    # --- shared parts ----------------------------------------------------------------------------------------------

    @cached_property
    def _wide(self) -> str:
        """The grid in a type that is wide enough."""
        if self._source_dtype == self.dtype:
            return self._grid
        return self._build.node("Cast", [self._grid], to=int(onnx.helper.np_dtype_to_tensor_dtype(self.dtype)))

    @cached_property
    def _flat(self) -> str:
        """(N, K, P)."""
        return self._build.reshape(self._wide, [0, self._channels, -1])

    @cached_property
    def _cell_count(self) -> str:
        """P as a 1-D int64 tensor."""
        if self._build.graph.opset < _OPEN_TOPK:
            raise InputError(
                f"the scores 'topk' and 'median' sort cells, which the model's operator set {self._build.graph.opset} "
                "cannot where the input's size is open; fix the size, or convert the model to operator set 10 or later."
            )
        shape = self._build.node("Shape", [self._flat])
        return self._build.node("Gather", [shape, self._build.ints([2])], axis=0)

    @cached_property
    def _best(self) -> str:
        """Largest logit of each cell, (N, 1, P)."""
        return self._build.reduce("ReduceMax", self._flat, [1])

    @cached_property
    def _below(self) -> str:
        """How far each logit is from its cell's largest, (N, K, P), at most 0."""
        return self._build.node("Sub", [self._flat, self._best])

    @cached_property
    def _parts(self) -> str:
        return self._build.node("Exp", [self._below])

    @cached_property
    def _total(self) -> str:
        return self._build.reduce("ReduceSum", self._parts, [1])

    @cached_property
    def _log_probability(self) -> str:
        """Log of each cell's softmax over classes, (N, K, P); of its sigmoid where each is read by itself."""
        build = self._build
        if self._alone:
            return build.node("Neg", [self._softplus(build.node("Neg", [self._flat]))])
        return build.node("Sub", [self._below, build.node("Log", [self._total])])

    @cached_property
    def _odds(self) -> str:
        """Log-odds of each class in each cell, (N, K, P): its logit less the log-sum-exp of all *others*."""
        if self._alone:
            return self._flat
        build = self._build
        winner = build.node("ArgMax", [self._flat], axis=1, keepdims=1)
        numbers = build.constant(np.arange(self._channels, dtype=np.int64).reshape(1, -1, 1))
        wins = build.node("Cast", [build.node("Equal", [winner, numbers])], to=self._elem_type)
        loses = build.node("Sub", [self._number(1), wins])
        rest = build.node("Mul", [build.node("Sub", [self._total, self._parts]), loses])
        others = build.node("Log", [build.node("Add", [rest, wins])])
        # Far below anything, and finite, so that 0 times it is 0.
        hidden = build.node("Sub", [self._below, build.node("Mul", [wins, self._number(1e38)])])
        second = build.reduce("ReduceMax", hidden, [1])
        parts = build.node("Exp", [build.node("Sub", [hidden, second])])
        of_winner = build.node("Add", [second, build.node("Log", [build.reduce("ReduceSum", parts, [1])])])
        against = build.node("Add", [build.node("Mul", [wins, of_winner]), build.node("Mul", [loses, others])])
        return build.node("Sub", [self._below, against])

    def _softplus(self, tensor: str) -> str:
        """``log(1 + exp z) = max(z, 0) + log1p(exp -|z|)``, right to the smallest numbers.

        ONNX has no log1p, and Softplus is ``log(1 + exp z)`` literally in some runtimes, which is 0 for all
        classes that are less likely than 6e-8: their order would be lost. Hence ``u log(w) / (w - 1)`` with
        ``w = 1 + u`` rounded, and u itself where w is 1 (Goldberg, ACM Computing Surveys 23(1), 1991, theorem 4).
        """
        build = self._build
        small = build.node("Exp", [build.node("Neg", [build.node("Abs", [tensor])])])
        rounded = build.node("Add", [small, self._number(1)])
        gained = build.node("Sub", [rounded, self._number(1)])
        is_lost = build.node("Less", [gained, self._number(1e-30)])
        lost = build.node("Cast", [is_lost], to=self._elem_type)
        ratio = build.node(
            "Div",
            [build.node("Add", [build.node("Log", [rounded]), lost]), build.node("Add", [gained, lost])],
        )
        return build.node("Add", [build.node("Relu", [tensor]), build.node("Mul", [small, ratio])])

    @property
    def _elem_type(self) -> int:
        return int(onnx.helper.np_dtype_to_tensor_dtype(self.dtype))

    def _number(self, value: float) -> str:
        return self._build.constant(np.asarray(value, dtype=self.dtype))
