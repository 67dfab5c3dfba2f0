"""Which images a reader sees first, and what is kept of each."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from onnx_gapmil import Classifier
from onnx_gapmil.auditing.gallery import choose, telling_classes
from onnx_gapmil.auditing.page import Report
from onnx_gapmil.auditing.records import Failure, Record
from tests.helpers import audited_reports
from tests.helpers.audit_records import record
from tests.helpers.report_pages import decode
from tests.helpers.scene_data import MODEL
from tests.helpers.support import text_model, weights


@pytest.fixture(scope="module", params=["shortest", "letterbox"])
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One large photo, twice as wide as high: the model sees its middle, or all of it with padding above and below."""
    folder = tmp_path_factory.mktemp("wide")
    Image.new("RGB", (600, 300), (90, 140, 30)).save(folder / "photo.png")
    body = "a = AveragePool<kernel_shape=[8, 8], strides=[8, 8]>(x)\n c = Conv(a, w)\n p = GlobalAveragePool(c)\n"
    model = text_model(
        body + " y = Flatten(p)", x="float[N,3,32,32] x", y="float[N,4] y", init={"w": weights(4, 3, 1, 1)}
    )
    lines = [{"image": "photo.png", "label": 2, "objects": [{"class": 2, "box": [60, 60, 300, 240]}]}]
    return audited_reports.audited(
        folder,
        audited_reports.saved(model, folder, resize=request.param),
        audited_reports.write_labels(folder, lines),
    )


def chosen(records: list[Record], most: int = 100) -> list[str]:
    return [records[place].image for place in choose(tuple(records), most)]


def test_causes_take_turns_and_right_answers_come_last() -> None:
    records = [
        record("right", share=0.5),
        record("absent", answer=2, cause="absent", share=0.0),
        record("unplaced", answer=2),
        record("distracted", answer=2, cause="distraction", share=0.5),
        record("distracted too", answer=2, cause="distraction", share=0.25),
        record("diluted", answer=2, cause="dilution", share=0.5),
        record("diluted too", answer=2, cause="dilution", share=0.25),
    ]
    assert chosen(records) == [
        *("diluted", "distracted", "absent", "unplaced"),
        *("diluted too", "distracted too"),
        "right",
    ]


def test_errors_whose_object_knew_best_come_first() -> None:
    shares = {"a": 0.25, "b": 0.75, "c": 0.5, "d": 0.75}
    records = [record(name, answer=2, cause="dilution", share=share) for name, share in shares.items()]
    assert chosen(records) == ["b", "d", "c", "a"]  # equal ones in the data set's order


def test_where_no_cell_knew_it_the_surest_error_comes_first() -> None:
    sure = {"a": 0.5, "b": 0.875, "c": 0.25}
    records = [record(name, answer=2, cause="absent", share=0.0, sure=value) for name, value in sure.items()]
    assert chosen(records) == ["b", "a", "c"]
    assert chosen([record(name, answer=2, sure=value) for name, value in sure.items()]) == ["b", "a", "c"]


def test_right_answers_with_the_least_on_the_object_come_first() -> None:
    records = [record(name, share=share) for name, share in {"a": 0.5, "b": 0.125, "c": 0.25}.items()]
    assert chosen(records) == ["b", "c", "a"]


def test_a_fifth_of_the_places_is_for_right_answers() -> None:
    wrong = [record(f"wrong {place}", answer=2) for place in range(20)]
    right = [record(f"right {place}") for place in range(20)]
    assert chosen([*right, *wrong], 10) == [f"wrong {place}" for place in range(8)] + ["right 0", "right 1"]
    assert len(chosen([*right, *wrong], 30)) == 30
    assert chosen([*right, *wrong[:3]], 10) == [f"wrong {p}" for p in range(3)] + [f"right {p}" for p in range(7)]
    assert chosen([*wrong, *right[:1]], 10) == [f"wrong {place}" for place in range(9)] + ["right 0"]
    assert chosen([*right, *wrong], 0) == []


def test_images_that_failed_are_not_shown() -> None:
    assert chosen([Failure("broken", "is empty."), record("whole")]) == ["whole"]


def test_few_classes_are_all_kept_true_ones_first() -> None:
    assert telling_classes(np.zeros((5, 2, 2)), [3, 1], [4]) == [4, 3, 1, 0, 2]


def test_of_many_classes_those_are_kept_that_lead_a_cell() -> None:
    grid = np.zeros((100, 2, 2))
    leaders = {(0, 0): (10, 11, 12, 13, 14), (0, 1): (20, 21, 22, 23, 24), (1, 0): (30, 31, 32, 33, 34)}
    for (row, column), classes in leaders.items():
        grid[list(classes), row, column] = [5.0, 4.0, 3.0, 2.0, 1.0]
    grid[list(range(40, 45)), 1, 1] = [9.0, 8.0, 7.0, 6.0, 5.5]
    kept = telling_classes(grid, [10, 99], [50])
    assert kept[:3] == [50, 10, 99]
    assert kept[3:8] == [40, 41, 42, 43, 44]  # the highest logits
    assert set(kept[3:]) == {*range(11, 15), *range(20, 25), *range(30, 35), *range(40, 45)}


def test_never_more_than_32_classes_unless_there_are_more_labels() -> None:
    grid = np.random.default_rng(0).normal(size=(200, 6, 6))
    assert len(telling_classes(grid, [1, 2, 3, 4, 5], [7])) == 32
    labels = list(range(100, 150))
    assert telling_classes(grid, [1], labels) == labels


def test_maps_are_the_models_cells(digits: Report) -> None:
    """All ten classes are kept: the mean over cells of the maps is the image's logits, whose softmax it says."""
    for image in digits.gallery.images[:8]:
        logits, lse = decode(image.maps)
        shares = dict(zip(image.maps.classes, softmax(logits.mean(axis=1)), strict=True))
        for index, share in image.prediction:
            assert shares[index] == pytest.approx(share, abs=2e-3)
        np.testing.assert_allclose(np.exp(logits - lse).sum(axis=0), 1.0, atol=2e-3)


def test_an_image_is_shown_with_its_boxes_and_in_its_colours(digits: Report, scenes_folder: Path) -> None:
    image, root = digits.gallery.images[0], scenes_folder
    stored = Image.open(Path(root, image.name)).convert("RGB")
    kind, _, data = image.thumb.partition(",")
    assert kind == "data:image/jpeg;base64"
    small = Image.open(io.BytesIO(base64.b64decode(data)))
    assert small.size == image.size == stored.size
    assert np.abs(np.asarray(small, int) - np.asarray(stored, int)).mean() < 6
    entry = next(e for e in json.loads(Path(root, "scenes.json").read_text("utf-8")) if e["image"] == image.name)
    assert image.labels == (entry["label"],)
    assert image.box_classes == tuple((thing["class"],) for thing in entry["objects"])
    boxes = [[side / 96 for side in thing["box"]] for thing in entry["objects"]]
    np.testing.assert_allclose(image.boxes, boxes, atol=1e-5)
    # 12 cells, 8 pixels each, from where the network's first cell looks: the kernels' energy lies left of the tiling.
    places = Classifier(MODEL).head.places
    assert places.rows is not None
    assert places.columns is not None
    left, top = (places.columns.first - 4) / 96, (places.rows.first - 4) / 96
    assert image.window == pytest.approx((left, top, left + 1, top + 1))
    assert -0.05 < left < 0
    assert -0.05 < top < 0


def test_a_large_photo_gets_a_small_thumbnail_of_its_shape(wide: Report) -> None:
    (image,) = wide.gallery.images
    assert image.size == (288, 144)
    assert Image.open(io.BytesIO(base64.b64decode(image.thumb.partition(",")[2]))).size == (288, 144)
    cropped = wide.summary.preprocess.resize == "shortest"
    assert image.window == pytest.approx((0.25, 0.0, 0.75, 1.0) if cropped else (0.0, -0.5, 1.0, 1.5))
    assert image.boxes == ((0.1, 0.2, 0.5, 0.8),)


def test_what_is_not_shown_is_said(digits: Report, many: Report) -> None:
    assert (digits.gallery.total, digits.gallery.shown, digits.gallery.note) == (60, 60, "")
    assert many.gallery.total == many.gallery.shown == len(many.gallery.images) == 1000


def test_suspect_labels_are_shown_though_others_tell_more() -> None:
    records: tuple[Record, ...] = (
        *(record(f"diluted {place}", answer=2, cause="dilution", share=0.5) for place in range(10)),
        record("suspect", answer=2, cause="absent", share=0.0, sure=0.1),
        *(record("absent", answer=2, cause="absent", share=0.0, sure=0.9) for _ in range(5)),
    )
    shown = [records[place].image for place in choose(records, 5, suspects=[10])]
    assert "suspect" in shown
    assert "absent" in shown  # causes take turns
    assert len(shown) == 5
    assert "suspect" not in [records[place].image for place in choose(records, 5)]
    assert choose(records, 0, suspects=[10]) == []
