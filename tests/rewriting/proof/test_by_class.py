"""The sum, class by class: of each class its own cells decide, and no class hides another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnx_gapmil.rewriting.proof.by_class import FLOOR, class_errors, relative
from onnx_gapmil.rewriting.record import HeadRecord

HEAD = HeadRecord(
    output="y", outputs=("y",), verdict="exact", grid_shape=("N", 3, 2, 2), logits="l", features=(), grid="g"
)


def cells(*values: float) -> np.ndarray:
    """One image whose cells are the same everywhere, (1, K, 2, 2)."""
    return np.broadcast_to(np.array(values)[None, :, None, None], (1, len(values), 2, 2)).copy()


def test_the_error_is_a_share_of_the_classs_own_cells() -> None:
    grid = cells(4.0, 0.5, -1e9)
    logits = np.array([[4.4, 0.5, -1e9]])
    np.testing.assert_allclose(class_errors(HEAD, logits, grid), [0.1, 0, 0], rtol=1e-12)


def test_cells_that_cancel_are_as_large_as_they_are_and_not_as_their_mean() -> None:
    grid = cells(0.0)
    grid[0, 0] = [[5, -5], [5, -5]]
    assert class_errors(HEAD, np.array([[0.01]]), grid) == pytest.approx(0.01 / 5)


def test_the_worst_image_counts_each_by_its_own_cells() -> None:
    grid = np.concatenate([cells(1.0), cells(1000.0)])
    assert class_errors(HEAD, np.array([[1.5], [1000.5]]), grid) == pytest.approx(0.5)


def test_a_class_of_zeros_is_measured_by_the_floor() -> None:
    assert class_errors(HEAD, np.zeros((1, 1)), cells(0.0)) == 0
    assert class_errors(HEAD, np.full((1, 1), FLOOR), cells(0.0)) == pytest.approx(1.0)


def test_a_class_switched_off_is_right_where_its_cells_are_off_too() -> None:
    off = np.array([[1.0, -np.inf]])
    np.testing.assert_array_equal(class_errors(HEAD, off, cells(1.0, -np.inf)), [0, 0])
    np.testing.assert_array_equal(class_errors(HEAD, off, cells(1.0, 3.0)), [0, np.nan])
    np.testing.assert_array_equal(class_errors(HEAD, np.ones((1, 2)), cells(1.0, -np.inf)), [0, np.inf])


def test_nothing_is_known_of_a_class_that_is_no_number_and_all_of_the_others() -> None:
    found = class_errors(HEAD, np.array([[np.nan, 2.0]]), cells(np.nan, 1.0))
    np.testing.assert_array_equal(found, [np.nan, 1.0])
    twice = class_errors(HEAD, np.array([[np.nan], [2.0]]), np.concatenate([cells(np.nan), cells(2.0)]))
    np.testing.assert_array_equal(twice, [0.0])


@pytest.mark.parametrize("shape", [(2, 2, 2, 2), (1, 3, 2, 2), (1, 2, 2)])
def test_other_shapes_are_infinitely_wrong(shape: tuple[int, ...]) -> None:
    assert (class_errors(HEAD, np.ones((1, 2)), np.ones(shape)) == np.inf).all()


def test_a_quantized_heads_bound_is_allowed_to_small_classes_and_no_more() -> None:
    """Rounding moves a logit by steps of the whole layer; 0.05 of what is measured against is allowed."""
    head = replace(HEAD, quantized=True, rounding_bound=0.02)
    grid = cells(0.01, 100.0)
    errors = relative(head, np.array([[0.03, 101.0]]), np.array([[0.01, 100.0]]), grid)[0]
    assert errors[0] == pytest.approx(0.05), "the bound itself is just allowed"
    assert errors[1] == pytest.approx(0.01), "a class whose cells are larger than that is measured by them"


def test_a_quantized_head_without_a_bound_is_measured_by_the_images_largest_cell() -> None:
    head = replace(HEAD, quantized=True)
    errors = relative(head, np.array([[0.03, 100.0]]), np.array([[0.01, 100.0]]), cells(0.01, 100.0))[0]
    assert errors[0] == pytest.approx(0.0002)
