"""How many cells a share is: rounded half up and never none, by exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from onnx_gapmil.aggregate.formulas import log_probability, top_count


@given(st.integers(1, 64).map(lambda part: part / 64), st.integers(1, 5000))
def test_a_share_of_cells_is_rounded_half_up_and_at_least_one(share: float, cells: int) -> None:
    exact = Fraction(share) * cells + Fraction(1, 2)
    assert top_count(share, cells) == max(1, exact.numerator // exact.denominator)


@pytest.mark.parametrize(("share", "cells", "count"), [(0.5, 49, 25), (0.25, 2, 1), (0.1, 49, 5), (0.001, 49, 1)])
def test_counts_by_hand(share: float, cells: int, count: int) -> None:
    assert top_count(share, cells) == count


def test_log_probability_is_scipys_also_where_the_probability_is_zero() -> None:
    cells = np.random.default_rng(1).standard_normal((2, 3, 4)) * 600
    np.testing.assert_allclose(log_probability(cells), special.log_softmax(cells, axis=-2), rtol=1e-12, atol=1e-12)
    one = cells[:, :1]
    np.testing.assert_allclose(log_probability(one), special.log_expit(one), rtol=1e-12, atol=1e-300)
