"""Find the parameters of a fit: L-BFGS on the mean cost of its images, and the ridge by folds of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import InputError

if TYPE_CHECKING:
    from onnx_gapmil.fitting.pooling.fits.fit import Fit
    from onnx_gapmil.fitting.pooling.likelihood import Likelihood, Rows

Array = npt.NDArray[np.float64]

#: Steps of L-BFGS, at the most.
_STEPS = 300
#: Numbers that are held at a time.
_CHUNK = 1 << 23
#: Strengths of the ridge that are tried, from the strongest; before them stands the one that moves nothing.
RIDGES = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001)


@dataclass(frozen=True, eq=False)
class Solution:
    """Parameters of a fit.

    Attributes:
        values: (D,).
        ridge: how strongly they are tied; infinite where they stay where they began.
        steps: of L-BFGS.
        converged: whether it ended for there was nothing to gain.
    """

    values: Array
    ridge: float
    steps: int = 0
    converged: bool = True


def parts_of(fit: Fit, rows: Rows) -> list[Rows]:
    """Images in parts that fit into memory."""
    step = max(1, _CHUNK // max(fit.width, 1))
    return [rows[start : start + step] for start in range(0, len(rows), step)]


def logits_of(fit: Fit, rows: Rows, values: Array) -> Array:
    """(n, K)."""
    return np.concatenate([fit.logits(part, values)[0] for part in parts_of(fit, rows)])


def objective(fit: Fit, likelihood: Likelihood, rows: Rows, ridge: float) -> Callable[[Array], tuple[float, Array]]:
    """``mean cost + ridge / 2 |tied parameters|^2 + the fit's own penalty``, and its slope, as L-BFGS takes it."""
    parts = parts_of(fit, rows)

    def value_and_slope(values: Array) -> tuple[float, Array]:
        extra, slope = fit.penalty(values)
        held = fit.tied * values
        total = extra + 0.5 * ridge * float(held @ held)
        slope = slope + ridge * held
        for part in parts:
            logits, way = fit.logits(part, values)
            cost, by_logit = likelihood.cost_and_slope(part, logits)
            total += float(cost.sum()) / len(rows)
            slope = slope + fit.slope(part, values, way, by_logit / len(rows))
        return total, slope

    return value_and_slope


def solve(fit: Fit, likelihood: Likelihood, rows: Rows, ridge: float, start: Array | None = None) -> Solution:
    """Fit to some images.

    Args:
        fit: what is fitted.
        likelihood: of all images.
        rows: those of the fit.
        ridge: how strongly it is tied; infinite leaves tied parameters at 0.
        start: where to begin; at 0 if None.

    Raises:
        InputError: SciPy is not installed; or the cost is no number.
    """
    begin = np.zeros(len(fit.tied)) if start is None else start
    moves = np.ones(len(begin), dtype=np.bool_) if np.isfinite(ridge) else fit.tied == 0
    if not moves.any():
        return Solution(np.zeros(len(begin)), ridge)
    whole = objective(fit, likelihood, rows, ridge if np.isfinite(ridge) else 0.0)

    def moved(free: Array) -> tuple[float, Array]:
        value, slope = whole(_filled(free, moves))
        return value, slope[moves]

    minimize, threads = _scipy()
    with threads.limit(limits=1):
        found = minimize(
            moved,
            begin[moves],
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _STEPS, "maxcor": 20, "ftol": 1e-10, "gtol": 1e-7},
        )
    if not np.isfinite(found.fun) or not np.isfinite(found.x).all():
        raise InputError("the fit left the numbers: the logits of these images are too large to be fitted.")
    return Solution(_filled(found.x, moves), ridge, int(found.nit), int(found.nit) < _STEPS)


def _filled(free: Array, moves: npt.NDArray[np.bool_]) -> Array:
    """Parameters of which some move; the others are 0."""
    values = np.zeros(len(moves))
    values[moves] = free
    return values


def tuned(
    make: Callable[[Rows], Fit], likelihood: Likelihood, rows: Rows, folds: npt.NDArray[np.intp]
) -> tuple[float, dict[str, float]]:
    """The ridge under which images of folds that a fit did not see are the likeliest.

    Ridges are tried from the strongest, each fit going on from the one before, until it gets worse twice.

    Args:
        make: gives the fit to some images.
        likelihood: of all images.
        rows: (n,), the images that may be seen.
        folds: (n,), the fold of each.

    Returns:
        The ridge, and by each that was tried the mean cost of an image.
    """
    seen = [(rows[folds != part], rows[folds == part]) for part in np.unique(folds)]
    fits = [make(own) for own, _ in seen]
    values = [np.zeros(len(fit.tied)) for fit in fits]
    costs: dict[float, float] = {}
    for ridge in (float("inf"), *RIDGES):
        total = 0.0
        for place, (fit, (own, others)) in enumerate(zip(fits, seen, strict=True)):
            values[place] = solve(fit, likelihood, own, ridge, values[place]).values
            total += float(likelihood.cost(others, logits_of(fit, others, values[place])).sum())
        costs[ridge] = total / len(rows)
        if len(costs) > 2 and min(list(costs.values())[-2:]) > min(costs.values()):
            break
    best = min(costs, key=lambda ridge: costs[ridge])
    return best, {("none moves" if np.isinf(ridge) else f"{ridge:g}"): cost for ridge, cost in costs.items()}


def require_solver() -> None:
    """Refuse a fit before any image is run for it, where what solves it is not there.

    Raises:
        InputError: SciPy or threadpoolctl is not installed.
    """
    _scipy()


def _scipy() -> tuple[Any, Any]:
    """SciPy's minimize, and what limits the threads of the BLAS that comes with it.

    L-BFGS solves systems of 40 unknowns in each step; spread over threads, on a busy machine that took 20 ms and not
    0.4. NumPy has a BLAS of its own, whose threads the fits keep.

    Raises:
        InputError: they are not installed.
    """
    try:
        from scipy.optimize import minimize
        from threadpoolctl import ThreadpoolController
    except ImportError as error:
        raise InputError(
            f"a fit needs SciPy and threadpoolctl ({error.name or 'one of them'} is missing): "
            "pip install 'onnx-gapmil[fit]'."
        ) from error
    found = ThreadpoolController()
    own = [library.filepath for library in found.lib_controllers if "scipy.libs" in library.filepath]
    return minimize, found.select(filepath=own)
