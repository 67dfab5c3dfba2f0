"""What a Reshape makes of dimensions that grow."""

from __future__ import annotations

import pytest

from onnx_gapmil.rewriting.sizing.regrouping import Parts, regrouped, whole

N, C, H, W = (2, 2), (8, 8), (7, 14), (5, 15)


def axes(*found: tuple[int, int] | Parts) -> list[Parts]:
    return [entry if isinstance(entry[0], tuple) else (entry,) for entry in found]  # type: ignore[list-item,misc]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (axes(N, C, H, W), [2, 8, 35], [2, 8, 210]),
        (axes(N, C, H, W), [2, 280], [2, 1680]),
        (axes(N, C, (H, W)), [2, 8, 7, 5], [2, 8, 14, 15]),
        (axes(N, (C, H, W)), [2, 8, 7, 5], [2, 8, 14, 15]),
        (axes(N, C, H, W), [2, 2, 4, 7, 5], [2, 2, 4, 14, 15]),
        (axes(N, C, H, W), [2, 4, 70], [2, 4, 420]),
        (axes(N, (1, 1), H, W), [2, 7, 5, 1], [2, 14, 15, 1]),
        (axes(N, (1, 1), H, W), [1, 2, 35], [1, 2, 210]),
        (axes(N, C), [16], [16]),
    ],
)
def test_groups_of_equal_product_hold_at_the_new_size(
    before: list[Parts], after: list[int], expected: list[int]
) -> None:
    found = regrouped(before, after)
    assert found is not None
    assert [whole(parts) for parts in found] == list(zip(after, expected, strict=True))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (axes(N, C, (56, 112)), [2, 8, 8, 7]),  # windows: 16 of 7, or 8 of 14
        (axes(N, C, (H, W)), [2, 8, 5, 7]),  # not as it was merged
        (axes(N, C, (35, 210)), [2, 8, 7, 5]),  # of unknown parts
        (axes(N, C, (1, 2), (1, 2)), [2, 8]),  # an axis that was left out would grow
        (axes(N, C, H, W), [0, 8, 7, 5]),
    ],
)
def test_what_cannot_be_told_is_not_guessed(before: list[Parts], after: list[int]) -> None:
    assert regrouped(before, after) is None
