"""The best temperature against SciPy's search on the logits themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from onnx_gapmil.metrics.temperature import LADDER, best_temperature, likelihood_ladder


@pytest.mark.parametrize("true", [0.5, 0.9, 1.0, 1.4, 3.0])
def test_the_best_temperature_is_the_one_that_a_search_finds(true: float) -> None:
    rng = np.random.default_rng(3)
    right = rng.standard_normal((400, 12)) * 2
    chances = np.exp(log_softmax(right, axis=1))
    labels = np.array([rng.choice(12, p=row) for row in chances])
    logits = right * true
    found = best_temperature([likelihood_ladder(row, int(label)) for row, label in zip(logits, labels, strict=True)])

    def nll(temperature: float) -> float:
        return float(-log_softmax(logits / temperature, axis=1)[np.arange(400), labels].mean())

    best = minimize_scalar(nll, bounds=(0.2, 5), method="bounded")
    assert found is not None
    assert found.value == pytest.approx(best.x, rel=0.01)
    assert found.nll == pytest.approx(nll(1.0))
    assert found.nll_at_value == pytest.approx(best.fun, rel=1e-3)


def test_without_a_best_one_on_the_ladder_its_end_is_said() -> None:
    sure = best_temperature([likelihood_ladder(np.array([9.0, 0.0]), 0)])
    assert sure is not None
    assert sure.value == LADDER[0]
    assert best_temperature([]) is None
