"""Cells that look around their own middle, where stripes are wider than a cell: windows of two taps with a dilation."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.images.places import AxisPlaces, Places
from tests.helpers.stripes import check
from tests.helpers.support import weights

#: A map of 24 x 24 cells of an image of 48 x 48, so that each of 16 stripes is as wide as one and a half cells.
FINE = "c = Conv<strides=[2,2]>(x, fine)\n a = Relu(c)"
WINDOWS = {
    "average": "y = AveragePool<kernel_shape=[{k},{k}], dilations=[{d},{d}]>(a)",
    "maximum": "y = MaxPool<kernel_shape=[{k},{k}], dilations=[{d},{d}]>(a)",
    "convolution": "y = Conv<dilations=[{d},{d}]>(a, kernel)",
}


@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize(
    ("taps", "dilation", "seen"), [(2, 2, False), (2, 3, False), (3, 2, True), (3, 1, True), (2, 1, True)]
)
def test_the_middle_of_a_window_must_have_a_tap(kind: str, taps: int, dilation: int, seen: bool) -> None:
    reach = (taps - 1) * dilation
    axis = AxisPlaces(1.0 + reach, 2.0)
    found = check(
        f"{FINE}\n {WINDOWS[kind].format(k=taps, d=dilation)}",
        x="float[N,3,48,48] x",
        opset=19,
        places=Places(True, "x", axis, axis),
        fine=weights(6, 3, 2, 2),
        kernel=np.ones((6, 6, taps, taps), np.float32),
    )
    assert found.passed is seen
    for looks in (found.rows, found.columns):
        assert looks is not None
        assert looks.stripes == 16 < looks.cells == 24 - reach
        assert (looks.middle >= 0.4) is seen
        assert seen or "look at several places, and not between them" in looks.problem("rows")


@pytest.mark.parametrize("dilation", [2, 3, 4, 5, 8, 11])
def test_a_hole_of_any_width_is_found_between_the_stripes_or_within_one(dilation: int) -> None:
    """Cells of one pixel, stripes of four."""
    axis = AxisPlaces(0.5 + dilation / 2, 1.0)
    found = check(
        f"y = AveragePool<kernel_shape=[2,2], dilations=[{dilation},{dilation}]>(x)",
        x="float[N,3,64,64] x",
        y="float[N,3,H,W] y",
        opset=19,
        places=Places(True, "x", axis, axis),
    )
    assert found.passed is False
    assert "look at several places, and not between them" in found.reason


@pytest.mark.parametrize("taps", [1, 3, 9, 13, 17])
def test_windows_of_any_width_without_a_hole_pass(taps: int) -> None:
    axis = AxisPlaces(taps / 2, 1.0)
    found = check(
        f"y = AveragePool<kernel_shape=[{taps},{taps}]>(x)",
        x="float[N,3,64,64] x",
        y="float[N,3,H,W] y",
        places=Places(True, "x", axis, axis),
    )
    assert found.passed is True
