"""`Aggregator`: a named formula with its parameter, and the family of all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate import formulas
from onnx_gapmil.errors import InputError

#: Sharpness r below which ``log(mean(exp(r x))) / r`` drowns in rounding, and above which it is the maximum.
_SHARPNESS = (0.01, 1000.0)

#: More cells no grid has.
_MOST_CELLS = 1 << 31


@dataclass(frozen=True)
class _Kind:
    """A formula, and what its parameter may be; ``default`` is None where it has none, whole numbers count cells."""

    formula: formulas.Formula
    default: float | None = None
    low: float = _SHARPNESS[0]
    high: float = _SHARPNESS[1]
    counts: bool = False


_KINDS = {
    "mean": _Kind(formulas.mean),
    "max": _Kind(formulas.maximum),
    "lse": _Kind(formulas.log_sum_exp, 1.0),
    "topk": _Kind(formulas.top_share_mean, 0.2, 0.0, 1.0, counts=True),
    "softmax_weighted": _Kind(formulas.softmax_weighted, 1.0),
    "noisy_or": _Kind(formulas.noisy_or),
    "median": _Kind(formulas.median),
    "generalized_mean": _Kind(formulas.generalized_mean, 3.0),
    "prob_mean": _Kind(formulas.probability_mean),
}


@dataclass(frozen=True)
class Aggregator:
    """What turns a prediction grid into one score for each class of the image.

    ``mean`` is the model's own. The scores of ``generalized_mean`` and ``prob_mean`` are probabilities, those of
    ``noisy_or`` ``-log(1 - probability)``, and all others logits. A cell's probability is the softmax over classes
    in that cell, or the sigmoid where there is one class. The formulas and their sources stand at the functions of
    `onnx_gapmil.aggregate.formulas`.

    Attributes:
        name: ``mean``, ``max``, ``lse``, ``topk``, ``softmax_weighted``, ``noisy_or``, ``median``,
            ``generalized_mean`` or ``prob_mean``.
        parameter: sharpness r of ``lse`` (default 1), ``softmax_weighted`` (1) and ``generalized_mean`` (3), from
            0.01 to 1000; of ``topk`` the share of cells in (0, 1] (0.2), or their number, a whole one above 1. None
            stands for the default, and is all that the others take.

    Raises:
        InputError: there is no such aggregator, or its parameter is none or out of range.
    """

    name: str
    parameter: float | None = None

    def __post_init__(self) -> None:
        kind = _KINDS.get(self.name)
        if kind is None:
            raise InputError(f"there is no aggregator '{self.name}'; there are {', '.join(_KINDS)}.")
        if self.parameter is None:
            object.__setattr__(self, "parameter", kind.default)
            return
        if kind.default is None:
            raise InputError(f"the aggregator '{self.name}' takes no parameter; {self.parameter!r} was given.")
        value = float(self.parameter)
        counted = kind.counts and value.is_integer() and kind.high < value <= _MOST_CELLS
        if not (math.isfinite(value) and kind.low <= value <= kind.high and value > 0) and not counted:
            above = "above 0" if kind.low == 0 else f"from {kind.low:g}"
            more = ", or is a whole number of cells" if kind.counts else ""
            raise InputError(
                f"the parameter of '{self.name}' goes {above} to {kind.high:g}{more}; {value:g} was given."
            )
        object.__setattr__(self, "parameter", value)

    @property
    def key(self) -> str:
        """Canonical text, which `parse_aggregator` reads: ``lse``, or ``lse=10`` where it is not the default."""
        if self.parameter is None or self.parameter == _KINDS[self.name].default:
            return self.name
        short = f"{self.parameter:g}"
        return f"{self.name}={short if float(short) == self.parameter else repr(self.parameter)}"

    def __call__(self, grid: npt.NDArray[Any], *, cell_axes: int = 2) -> npt.NDArray[np.float64]:
        """Aggregate.

        Args:
            grid: (..., K, H, W), any float type; K, H and W at least 1. Logits, not probabilities.
            cell_axes: how many of the last axes are cells: 3 for a volume, (..., K, D, H, W), or a clip.

        Returns:
            Scores (..., K), float64; NaN where the grid is not finite.

        Raises:
            InputError: the grid has no axis before those of the cells, or no cell or no class; or no axis is of cells.
        """
        if cell_axes < 1:
            raise InputError(f"a prediction grid has at least one axis of cells, not {cell_axes}.")
        if grid.ndim <= cell_axes or 0 in grid.shape[-cell_axes - 1 :]:
            axes = "H, W" if cell_axes == 2 else f"and {cell_axes} of cells"
            raise InputError(f"a prediction grid has axes (..., K, {axes}) with at least one cell, not {grid.shape}.")
        cells = np.asarray(grid, dtype=np.float64).reshape(*grid.shape[:-cell_axes], -1)
        with np.errstate(invalid="ignore", under="ignore", divide="ignore", over="ignore"):
            return _KINDS[self.name].formula(cells, self.parameter or 0.0)

    def to_json(self) -> dict[str, Any]:
        """The aggregator as reports write it."""
        return {"name": self.name, "parameter": self.parameter}


#: Aggregators that are no more than sums and choices of cells; the others take exponentials, whose unit is 1.
LINEAR = frozenset({"mean", "max", "topk", "median"})
#: Those whose scores are probabilities, or as good as that (``noisy_or``'s is ``-log(1 - p)``).
OF_PROBABILITIES = frozenset({"generalized_mean", "noisy_or", "prob_mean"})
#: Every aggregator by its name, with its default parameter.
AGGREGATORS: Mapping[str, Aggregator] = MappingProxyType({name: Aggregator(name) for name in _KINDS})
_DEFAULTS = {name: kind.default or 0.0 for name, kind in _KINDS.items()}


def by_each_aggregator(grid: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float64]]:
    """What each of `AGGREGATORS` gives, to the last bit, in two thirds of the time: softmaxes are computed once.

    Args:
        grid: (..., K, H, W), as `Aggregator` takes it.

    Returns:
        Scores (..., K) by the aggregator's name.

    Raises:
        InputError: as `Aggregator` does.
    """
    if grid.ndim < 3 or 0 in grid.shape[-3:] or grid.shape[-3] == 1:
        return {name: aggregator(grid) for name, aggregator in AGGREGATORS.items()}
    cells = np.asarray(grid, dtype=np.float64).reshape(*grid.shape[:-2], -1)
    with np.errstate(invalid="ignore", under="ignore", divide="ignore", over="ignore"):
        return formulas.all_defaults(cells, _DEFAULTS)


def parse_aggregator(text: str) -> Aggregator:
    """Read ``name`` or ``name=parameter``.

    Raises:
        InputError: it names no aggregator, or the parameter is no number or out of range.
    """
    name, separator, value = text.strip().partition("=")
    if not separator:
        return Aggregator(name.strip())
    try:
        parameter = float(value)
    except ValueError as error:
        raise InputError(f"'{text}': the parameter of an aggregator is a number, not '{value}'.") from error
    return Aggregator(name.strip(), parameter)
