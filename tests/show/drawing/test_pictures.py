from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.show.drawing import typesetting
from onnx_gapmil.show.drawing.canvas import Canvas
from onnx_gapmil.show.drawing.layout import WIDTH, PictureLayout
from onnx_gapmil.show.drawing.palette import CATEGORICAL, CAUTION, INK, sequential
from onnx_gapmil.show.drawing.pictures import render_prediction
from onnx_gapmil.show.drawing.scores import Scores
from onnx_gapmil.show.drawing.sentences import Caption

RNG = np.random.default_rng(0)


def render(height=60, width=90, *, grid=None, rule="squash", labels=None, activation="softmax", top=4, **caption):
    photo = np.full((height, width, 3), 128, dtype=np.uint8)
    grid = RNG.normal(size=(5, 7, 7)) if grid is None else grid
    return render_prediction(
        photo,
        Geometry.plan((height, width), (224, 224), rule),
        grid,
        grid.mean((1, 2)),
        labels=labels,
        activation=activation,
        caption=Caption(**{"title": "t", "model": "model.onnx", **caption}),
        top=top,
    )


def near(pixels, color, tolerance=3):
    return (np.abs(pixels.astype(int) - np.array(color)) <= tolerance).all(axis=-1)


@pytest.mark.parametrize(
    ("height", "width", "classes", "grid", "activation", "rule"),
    [
        (32, 32, 2, (1, 1), "softmax", "squash"),
        (48, 192, 2, (3, 56), "sigmoid", "squash"),
        (300, 30, 12, (56, 3), "none", "letterbox"),
        (900, 1200, 1000, (14, 14), "softmax", "shortest"),
        (1200, 900, 10, (7, 7), "softmax", "letterbox"),
        (5, 2000, 1, (1, 9), "sigmoid", "squash"),
    ],
)
def test_every_shape_of_photo_and_grid_is_drawn(height, width, classes, grid, activation, rule):
    picture = render(height, width, grid=RNG.normal(size=(classes, *grid)), activation=activation, rule=rule)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (WIDTH, 3)
    assert 500 < picture.shape[0] < 2700
    assert (picture[:20] == 255).all()
    assert (picture[:, -20:] == 255).all()  # nothing runs over the margin


def test_the_same_arguments_give_the_same_pixels():
    grid = RNG.normal(size=(4, 5, 5))
    assert np.array_equal(render(grid=grid), render(grid=grid))


def test_threads_draw_the_same_pixels():
    """`predict` draws in threads, which share fonts and what was set before."""
    grids = [RNG.normal(size=(4, 5, 5)) for _ in range(8)]
    names = ["قطة", "家猫", "बिल्ली", "cat"]
    alone = [render(grid=grid, labels=names, title=f"photo {place}") for place, grid in enumerate(grids)]
    typesetting.line.cache_clear()
    typesetting.width.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(render, grid=grid, labels=names, title=f"photo {place}") for place, grid in enumerate(grids)
        ]
        for job, expected in zip(jobs, alone, strict=True):
            assert np.array_equal(job.result(), expected)


def test_the_winners_colours_cover_their_share_of_the_map():
    grid = np.full((2, 4, 4), -50.0)
    grid[0] = 50.0
    grid[:, :, 3] = grid[::-1, :, 3]  # class 1 surely wins the right quarter, class 0 the rest
    picture = render(400, 400, grid=grid, top=1)
    ground = 90 + 128 * 160 / 255
    blue, orange = (np.array(color) * 0.66 + ground * 0.34 for color in CATEGORICAL[:2])
    cells_of_0, cells_of_1 = near(picture, blue).sum(), near(picture, orange).sum()
    assert cells_of_0 / cells_of_1 == pytest.approx(3.0, rel=0.1)


def test_a_cell_that_no_class_surely_wins_is_faint():
    sure, torn = np.full((2, 1, 2), -50.0), np.zeros((2, 1, 2))
    sure[0] = torn[0] = 50.0
    torn[1] = 49.99
    tinted = [render(400, 400, grid=grid, top=1) for grid in (sure, torn)]
    ground = 90 + 128 * 160 / 255
    full = np.array(CATEGORICAL[0]) * 0.66 + ground * 0.34
    assert near(tinted[0], full).sum() > 10_000
    assert near(tinted[1], full).sum() < 2_000


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_names_of_any_kind_do_not_break_the_picture(activation):
    names = ["猫", "\x00\n\t", "Käse " * 200, "", "😀 smile قطة " * 20]
    grid = RNG.normal(size=(5, 7, 7))
    picture = render(grid=grid, labels=names, title="x" * 5000, notes=("a long note " * 60,), activation=activation)
    assert (picture[:, -20:] == 255).all()


def test_a_name_that_no_font_has_is_drawn_as_number_and_code_points():
    grid = RNG.normal(size=(2, 7, 7))
    lost = render(grid=grid, labels=["\ufdd0", "dog"])
    assert np.array_equal(lost, render(grid=grid, labels=["class 0 (\\ufdd0)", "dog"]))
    assert not np.array_equal(lost, render(grid=grid, labels=None))


def test_a_guess_and_notes_are_on_the_picture():
    plain = render(grid=np.eye(3)[:, None], preprocessing="squash")
    guessed = render(grid=np.eye(3)[:, None], preprocessing="squash", guessed="color guessed")
    assert near(guessed, CAUTION).sum() > 100
    assert near(plain, CAUTION).sum() == 0
    noted = render(grid=np.eye(3)[:, None], preprocessing="squash", notes=("Position-dependent head.",))
    assert noted.shape[0] > plain.shape[0]
    assert near(noted, CAUTION).sum() > 100


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("size", [(300, 400), (400, 300)])
def test_beside_one_or_two_panels_stand_the_scores(classes, size):
    grid = np.zeros((classes, 9, 9))
    grid[:, 0, 8] = 5  # the cell that is marked lies out of the way
    picture = render(*size, grid=grid, activation="sigmoid" if classes == 1 else "softmax")
    lower = picture[picture.shape[0] // 2 :]
    panels = lower[(lower[:, 80:250].min(axis=2) < 250).all(axis=1)]
    assert len(panels) > 250
    assert (panels[:, WIDTH // 2 :] < 250).any(axis=(1, 2)).sum() > 15


def test_a_strip_of_a_photo_is_drawn_over_the_whole_width():
    picture = render(40, 800, grid=RNG.normal(size=(2, 3, 56)))
    wide = ((picture[:, 80:1100].min(axis=2) < 250).mean(axis=1) > 0.8).sum()
    assert wide > 80  # photo and map of winners, one above the other


def written(monkeypatch, **options):
    """The texts that are on a picture."""
    texts = []
    draw = Canvas.text

    def record(self, xy, text, *rest, **named):
        texts.append(text)
        return draw(self, xy, text, *rest, **named)

    monkeypatch.setattr(Canvas, "text", record)
    render(**options)
    return texts


def test_zero_is_marked_on_the_scales_where_it_lies_on_them(monkeypatch):
    grid = RNG.normal(size=(3, 5, 5)) * 5
    texts = written(monkeypatch, grid=grid, activation="none", labels=["a", "b", "c"])
    assert "0" in texts
    assert "The line marks 0." in texts
    above = written(monkeypatch, grid=np.abs(grid) + 1, activation="none", labels=["a", "b", "c"])
    assert "0" not in above
    assert "The line marks 0." not in above


def test_a_threshold_is_marked_where_there_is_one(monkeypatch):
    grid = RNG.normal(size=(3, 5, 5)) * 3
    assert "The line marks the threshold, 0.5." in written(monkeypatch, grid=grid, activation="sigmoid")
    assert not [text for text in written(monkeypatch, grid=grid) if "threshold" in text]


def test_every_bar_has_the_line_of_zero_or_of_the_threshold(monkeypatch):
    lines = []
    draw = Canvas.box

    def record(self, rectangle, **named):
        x0, y0, x1, y1 = rectangle
        lines.extend([1] if named.get("fill") == INK and (x1 - x0, y1 - y0) == (2, 30) else [])
        return draw(self, rectangle, **named)

    monkeypatch.setattr(Canvas, "box", record)
    render(grid=RNG.normal(size=(3, 5, 5)) * 5, activation="sigmoid")
    assert len(lines) == 2 * 3  # image and best cell of each of the three classes
    lines.clear()
    render(grid=RNG.normal(size=(3, 5, 5)) * 5, activation="softmax")
    assert not lines


def test_cells_of_nobody_show_the_photo_and_those_of_other_classes_are_grey():
    grid = np.full((9, 1, 9), -5.0)
    for place in range(8):  # eight classes with a cell each, of which six have colours; the ninth cell is nobody's
        grid[place, 0, place] = 5.0 + place / 10
    photo = np.zeros((600, 900, 3), np.uint8)
    scores = Scores(grid, grid.mean((1, 2)), [f"c{index}" for index in range(9)], "sigmoid")
    layout = PictureLayout(photo, Geometry.plan((600, 900), (60, 90), "squash"), scores, [0], faded="")
    middles = layout._winner_map()[40, np.arange(9) * layout.panel.size[1] // 9 + layout.panel.size[1] // 18]
    others = [place for place in range(8) if place not in layout.named]
    assert len(others) >= 2
    assert np.ptp(middles[[*others, 8]].astype(int), axis=1).max() < 8  # no colour
    assert (middles[8] == 90).all()  # black, as the ground of a map has it
    assert (middles[others] > 110).all()


def test_boxes_of_classes_that_are_read_each_by_itself_lie_on_each_other():
    """As in the JSON: a class's box is where it is above its threshold, whoever wins there."""
    grid = np.full((2, 8, 8), -5.0)
    grid[0, 1:5, 1:5], grid[1, 3:7, 3:7] = 9.0, 5.0
    photo = np.full((560, 560, 3), 128, np.uint8)
    geometry = Geometry.plan((560, 560), (64, 64), "squash")
    scores = Scores(grid, grid.mean((1, 2)), ["a", "b"], "sigmoid")
    layout = PictureLayout(photo, geometry, scores, [0, 1], faded="")
    found = {layout.named[region.value]: (region.rows, region.cols) for region in layout._regions() if region.value < 2}
    assert found == {0: ((1, 5), (1, 5)), 1: ((3, 7), (3, 7))}


def test_no_sentence_is_cut(monkeypatch):
    """Names may be, when they are long; what the picture says is not."""
    for activation in ("softmax", "sigmoid", "none"):
        texts = written(monkeypatch, grid=RNG.normal(size=(5, 7, 7)), activation=activation, rule="shortest")
        assert not [text for text in texts if "…" in text]


def test_cells_are_told_by_row_and_column_from_0(monkeypatch):
    grid = np.zeros((2, 3, 4))
    grid[0, 2, 1] = grid[1, 0, 3] = 4.0
    texts = written(monkeypatch, grid=grid)
    assert any(text.startswith("best cell: row 2, column 1, logit 4.00") for text in texts)
    assert any(text.startswith("best cell: row 0, column 3, logit 4.00") for text in texts)


def test_no_colour_where_no_class_is_above_its_threshold():
    grid = np.full((3, 2, 2), -9.0)
    nowhere = render(400, 400, grid=grid, activation="sigmoid", top=1)
    grid[1, :, 0] = 9.0
    half = render(400, 400, grid=grid, activation="sigmoid", top=1)
    ground = 90 + 128 * 160 / 255
    tinted = np.array(CATEGORICAL[0]) * 0.66 + ground * 0.34
    assert near(half, tinted).sum() > 50_000
    assert near(nowhere, tinted).sum() < 1000


def test_constant_and_broken_grids_are_drawn():
    for grid in (np.zeros((3, 2, 2)), np.full((3, 2, 2), np.nan), np.full((3, 2, 2), np.inf)):
        assert render(grid=grid).shape[1] == WIDTH


def test_a_geometry_of_another_photo_is_an_error():
    with pytest.raises(ValueError, match="geometry"):
        render_prediction(
            np.zeros((10, 10, 3), dtype=np.uint8),
            Geometry.plan((20, 20), (8, 8), "squash"),
            np.zeros((2, 2, 2)),
            np.zeros(2),
            labels=None,
            activation="none",
            caption=Caption("", ""),
        )


def test_the_sequential_scale_grows_in_brightness():
    luma = sequential(np.linspace(0, 1, 256)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(luma) > -1).all()
    assert luma[-1] - luma[0] > 150
