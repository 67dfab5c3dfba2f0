"""The map of a pool's weights on a picture: its sign, its zeros, its scale, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.show.drawing import typesetting
from onnx_gapmil.show.drawing.canvas import Canvas
from onnx_gapmil.show.drawing.palette import INK, OTHER, diverging
from onnx_gapmil.show.drawing.pictures import render_prediction
from onnx_gapmil.show.drawing.pool_weights import draw_pool_weights
from onnx_gapmil.show.drawing.sentences import Caption

VALUES = ((2.0, 0.0, -2.0), (1.0, -0.5, 0.25))


def pool(rows: tuple[tuple[float, ...], ...] | None = VALUES, sets: int = 1) -> WeightedPool:
    by = "position" if sets == 1 else "position and channel"
    return WeightedPool("p (MatMul)", by, sets, -2.0, 2.0, 0.3, (1.0, 1.0), rows)  # type: ignore[arg-type]


def picture(*pools: WeightedPool) -> np.ndarray:
    grid = np.random.default_rng(0).normal(size=(3, 2, 3))
    return render_prediction(
        np.full((60, 90, 3), 128, np.uint8),
        Geometry.plan((60, 90), (64, 96), "squash"),
        grid,
        grid.mean((1, 2)),
        labels=None,
        activation="none",
        caption=Caption("t", "m"),
        pools=pools,
    )


def written(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], object]) -> list[str]:
    """The lines of text that are set while something is drawn."""
    lines: list[str] = []
    line = typesetting.line

    def spy(text: str, size: int, *, bold: bool = False):  # type: ignore[no-untyped-def]
        lines.append(text)
        return line(text, size, bold=bold)

    monkeypatch.setattr(typesetting, "line", spy)
    draw()
    return lines


def texts(monkeypatch: pytest.MonkeyPatch, found: WeightedPool) -> list[str]:
    return written(monkeypatch, lambda: draw_pool_weights(Canvas(440), (0, 0), 420, found))


def test_the_least_the_share_below_0_and_the_sum_stand_beside_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    found = " ".join(texts(monkeypatch, replace(pool(), sums=(0.75, 1.5))))
    assert "Least -2 and largest 2 of a plain mean's weight, 30 % below 0, sum 0.75 to 1.5 (of a mean 1)." in found


def test_a_cell_has_its_weights_colour_and_sign() -> None:
    page = Canvas(440)
    pixels = page.pixels(draw_pool_weights(page, (0, 0), 420, pool()))
    side, top = 40, 34
    corners = {(row, column): pixels[top + row * side + 5, column * side + 5] for row in (0, 1) for column in (0, 1, 2)}
    for (row, column), color in corners.items():
        value = VALUES[row][column]
        assert color.tolist() == (list(OTHER) if value == 0 else diverging(np.array(value / 2)).tolist())
    middle = {
        value: pixels[top + row * side + 20, column * side + 20] for (row, column), value in np.ndenumerate(VALUES)
    }
    assert middle[-0.5].tolist() == list(INK)
    assert middle[-2.0].tolist() == [255, 255, 255]  # on blue
    assert middle[0.25].tolist() == corners[1, 2].tolist()
    assert diverging(np.array(-1.0))[2] > diverging(np.array(-1.0))[0]  # blue
    assert diverging(np.array(1.0))[0] > diverging(np.array(1.0))[2]  # orange


def test_the_scale_and_what_is_shown_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said = texts(monkeypatch, pool())
    assert {"Weights of the pool", "-2", "2", "0", "exactly 0", "p (MatMul)"} <= set(said)
    assert "weight of each cell; 1 is a plain mean's." in " ".join(said)


def test_a_scale_without_anything_below_0_begins_there(monkeypatch: pytest.MonkeyPatch) -> None:
    said = texts(monkeypatch, pool(((0.5, 3.0), (1.0, 1.5)), sets=8))
    assert {"0", "3"} <= set(said)
    assert "exactly 0" not in said
    assert "mean over 8 channels of the weight of each cell" in " ".join(said)


@pytest.mark.parametrize("size", [(1, 1), (2, 56), (56, 2), (28, 28), (1, 300)])
def test_maps_of_every_shape_stay_within_their_room(size: tuple[int, int]) -> None:
    page = Canvas(460)
    rows = tuple(tuple(row) for row in np.random.default_rng(0).normal(size=size).tolist())
    pixels = page.pixels(draw_pool_weights(page, (20, 10), 420, pool(rows)))
    assert pixels.shape[0] < 360
    assert (pixels[:, :19] == 255).all()
    assert (pixels[:, 441:] == 255).all()


def test_of_many_pools_two_are_drawn_and_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    said = written(monkeypatch, lambda: picture(*[pool()] * 6))
    assert said.count("Weights of the pool") == 2
    assert "4 more pools have weights of their own." in said
    assert picture(*[pool()] * 6).shape == picture(*[pool()] * 9).shape


def test_only_a_pool_with_a_map_of_these_cells_changes_the_picture() -> None:
    plain = picture()
    assert np.array_equal(plain, picture(pool(None), WeightedPool("a (MatMul)", "image"), pool(((1.0, 2.0),))))
    drawn = picture(pool())
    assert drawn.shape[0] >= plain.shape[0]
    assert not np.array_equal(drawn[: plain.shape[0]], plain)
    assert (drawn[:, -20:] == 255).all()
