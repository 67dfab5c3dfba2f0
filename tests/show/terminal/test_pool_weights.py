"""The weights of a pool in a terminal: what is said, and the map in numbers."""

from __future__ import annotations

from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.show.terminal.pool_weights import pool_weights_lines


def pool(rows: tuple[tuple[float, ...], ...] | None) -> WeightedPool:
    return WeightedPool("pool (MatMul)", "position", 1, -0.5, 2.0, 0.25, (0.9, 0.9), rows)


def test_the_map_is_in_per_cent_with_signs_and_a_bare_0_for_0() -> None:
    lines = pool_weights_lines(pool(((-0.5, 0.0), (0.001, -0.001), (2.0, 12.345))))
    assert lines[0] == (
        "weights of the pool at pool (MatMul), by position: least -0.5 and largest 2 of a plain mean's weight, 25 % "
        "below 0, sum 0.9 (of a mean 1)."
    )
    assert lines[1:] == [
        "weight of each cell, 3×2, in % of a plain mean's weight:",
        "   -50     0",
        "    +0    -0",
        "   200  1234",
    ]


def test_a_map_that_is_too_large_is_left_to_json() -> None:
    lines = pool_weights_lines(pool(((1.0,) * 15,)))
    assert lines[1] == "weight of each cell, 1×15, in % of a plain mean's weight: too large to print, see --json"
    assert len(lines) == 2
    assert max(map(len, pool_weights_lines(pool(((1.0,) * 14,) * 14))[2:])) < 80


def test_of_several_sets_the_mean_is_shown_and_said_to_be_that() -> None:
    found = WeightedPool("p (Conv)", "position and channel", 6, -1.0, 2.0, 0.25, (0.5, 0.75), ((1.0, 1.0),))
    lines = pool_weights_lines(found)
    assert "by position and channel (6 channels)" in lines[0]
    assert "sum 0.5 to 0.75" in lines[0]
    assert lines[1].startswith("mean over 6 channels of the weight of each cell, 1×2")


def test_without_a_map_it_is_said_why() -> None:
    assert (
        pool_weights_lines(pool(None))[1] == "no map of them: the cells are not known to lie in rows and columns alone"
    )
    (line,) = pool_weights_lines(WeightedPool("a (MatMul)", "image"))
    assert line == "weights of the pool at a (MatMul), made anew by each image: there is no fixed map of them."
