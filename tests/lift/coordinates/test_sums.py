"""Sums over whole axes, spelled as additions of one element after the other."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.lift.coordinates.fields import CONFLICT, POOLED
from tests.helpers.support import coordinate, coordinates_of, text_model

#: Windows of an adaptive average pool of 8 rows to 3, padded to the longest, as PyTorch's dynamo exporter gathers them.
WINDOWS = np.array([[0, 1, 2], [2, 3, 4], [5, 6, 7]])


def spelled(columns: list[int], taken: list[int]) -> str:
    """Rows of (1, 8, 4) gathered into (1, 3, 3, 4) windows, of which some columns and elements are added up."""
    lines = ["w = Gather<axis=1>(x, windows)"]
    terms = []
    for column in columns:
        lines.append(f"c{column} = Gather<axis=3>(w, i{column})")
        for element in taken:
            lines.append(f"t{column}{element} = Gather<axis=2>(c{column}, i{element})")
            terms.append(f"t{column}{element}")
    total = terms[0]
    for number, term in enumerate(terms[1:]):
        lines.append(f"s{number} = Add({total}, {term})")
        total = f"s{number}"
    return "\n ".join([*lines, f"m = Identity({total})"])


def looks(body: str) -> np.ndarray:
    init = {"windows": WINDOWS} | {f"i{number}": np.array(number) for number in range(4)}
    model = text_model(body, x="float[1,8,4] x", y="float[1,3] m", init=init)
    return coordinate(coordinates_of(model), 1)[0]


def test_a_window_whose_elements_are_added_one_by_one_looks_at_their_middle() -> None:
    np.testing.assert_allclose(looks(spelled([0, 1, 2, 3], [0, 1, 2])), [1.5, 3.5, 6.5])


def test_elements_that_are_added_in_another_order_are_the_same_sum() -> None:
    np.testing.assert_allclose(looks(spelled([3, 1, 0, 2], [2, 0, 1])), [1.5, 3.5, 6.5])


@pytest.mark.parametrize(("columns", "taken"), [([0, 1, 2, 3], [0, 2]), ([0, 1], [0, 1, 2])])
def test_a_part_of_them_is_no_whole_sum(columns: list[int], taken: list[int]) -> None:
    assert (looks(spelled(columns, taken)) == CONFLICT).all()


def test_a_sum_over_all_rows_has_no_place() -> None:
    rows = [f"r{number} = Gather<axis=1>(x, i{number})" for number in range(4)]
    body = "\n ".join([*rows, "a = Add(r0, r1)\n b = Add(r2, r3)\n m = Add(a, b)"])
    model = text_model(
        body, x="float[1,4,3] x", y="float[1,3] m", init={f"i{number}": np.array(number) for number in range(4)}
    )
    assert (coordinate(coordinates_of(model), 1) == POOLED).all()
