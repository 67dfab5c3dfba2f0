"""Where real models look, against their own tiles: kernel energy may be a cell off, and stripes decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_gapmil.images.places import AxisPlaces
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite

pytestmark = pytest.mark.shared
FLOWERS = Path(__file__).parents[3] / "shared" / "real" / "models" / "flowers_mobilenetv2_035_stm_nchw.onnx"


def test_stripes_decide_between_kernel_energy_and_a_tile() -> None:
    traced = rewrite_model(FLOWERS).heads[0].places
    assert traced.columns is not None
    assert traced.columns.first == pytest.approx(45.2, abs=1)
    places = rewrite(FLOWERS, write=False).heads[0].places
    assert places.rows == places.columns == AxisPlaces(16.0, 32.0)
    assert abs(places.measured["columns"]["offset"]) < 0.3
