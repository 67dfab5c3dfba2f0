"""The gates of ``benchmarks.zoo_table``."""

from __future__ import annotations

from benchmarks.zoo_table import gates, shortfalls
from tests.references.zoo import Row


def test_gates_fail_on_a_wrong_grid_and_on_one_that_should_be_refused() -> None:
    right = [Row("a", "torch legacy", "exact-affine", "exact", got="exact") for _ in range(20)]
    assert all(holds for holds, _ in gates(right))
    for klass, expect, got in (("exact-affine", "exact", "wrong"), ("cls token", "refused", "exact")):
        spoilt = [*right, Row("b", "torch legacy", klass, expect, got=got)]
        assert not all(holds for holds, _ in gates(spoilt))
        assert shortfalls(spoilt)
