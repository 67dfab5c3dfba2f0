"""MaxBoxAccV2, MaxBoxAcc and Top-1 localization against the published algorithm, threshold by threshold."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_gapmil.files.serial import to_json
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics import box_flags
from onnx_gapmil.metrics.boxes import IOUS, THRESHOLDS, BoxHits, box_hits, intersection_over_union
from onnx_gapmil.metrics.localization import box_accuracy
from onnx_gapmil.metrics.scoremap import boxes_on_map, mask_on_map, score_map
from tests.references.naive_measures import maxboxacc_one_box, maxboxacc_successes


@pytest.fixture(scope="module", autouse=True)
def few_at_a_time() -> Iterator[None]:
    """Four objects at a time, so that nine of them are three parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(box_flags, "PART", 4)
        yield


def unpack(digits: tuple[str, ...]) -> np.ndarray:
    """(3, 100) from hexadecimal digits, without NumPy's unpackbits."""
    return np.array([[bit == "1" for bit in f"{int(text, 16):0{4 * len(text)}b}"[:100]] for text in digits])


def pack(flags: np.ndarray) -> tuple[str, ...]:
    texts = []
    for row in flags:
        bits = "".join("1" if flag else "0" for flag in row).ljust(104, "0")
        texts.append(f"{int(bits, 2):026x}")
    return tuple(texts)


def random_plane(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    plane = rng.normal(size=(int(rng.integers(1, 15)), int(rng.integers(1, 15)))).astype(np.float32)
    return cv2.GaussianBlur(plane, (3, 3), 1.0) if rng.random() < 0.5 else plane


@settings(max_examples=25)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(*[st.integers(0, 223)] * 4), min_size=1, max_size=3),
)
def test_successes_are_the_published_ones(seed, corners):
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners], dtype=np.int64)
    plane = random_plane(seed)
    np.testing.assert_array_equal(unpack(box_hits(score_map(plane), boxes).grid), maxboxacc_successes(plane, boxes))


@settings(max_examples=25)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(*[st.integers(0, 223)] * 4), min_size=1, max_size=3),
)
def test_one_box_is_that_of_the_largest_contour(seed, corners):
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners], dtype=np.int64)
    plane = random_plane(seed)
    found = box_hits(score_map(plane), boxes)
    np.testing.assert_array_equal(unpack((found.largest,))[0], maxboxacc_one_box(plane, boxes))
    assert not (unpack((found.largest,))[0] & ~unpack(found.grid)[1]).any()  # one of all contours


def contours_of_each(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The published search with OpenCV's contours at each threshold: (3, 100) and (100,) successes."""
    hits, largest = np.zeros((3, 100), dtype=bool), np.zeros(100, dtype=bool)
    for place, share in enumerate(THRESHOLDS):
        cut = cv2.threshold(image, int(share * 255), 255, cv2.THRESH_BINARY)[1]
        contours = cv2.findContours(cut, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]
        rectangles = [cv2.boundingRect(contour) for contour in contours] or [(0, 0, 0, 0)]
        cornered = np.array([[x, y, min(x + w, 223), min(y + h, 223)] for x, y, w, h in rectangles], dtype=np.int64)
        fits = intersection_over_union(cornered, boxes).max(axis=1)
        hits[:, place] = [fits.max() >= iou for iou in IOUS]
        areas = [cv2.contourArea(contour) for contour in contours] or [0.0]
        largest[place] = fits[areas.index(max(areas))] >= 0.5
    return hits, largest


def rough_map(seed: int) -> np.ndarray:
    """A map that no grid gives: noise, plateaus, rings, dots in corners; reaches 0 and 1."""
    rng = np.random.default_rng(seed)
    kind = seed % 4
    plane = np.kron(rng.random((14, 14), dtype=np.float32), np.ones((16, 16), dtype=np.float32))
    if kind == 1:
        plane = cv2.GaussianBlur(plane, (0, 0), 9)
    if kind == 2:
        plane = np.round(9 * cv2.GaussianBlur(plane, (0, 0), 5) * rng.random()).astype(np.float32)
    if kind == 3:
        rows, columns = np.mgrid[:224, :224]
        radius = np.hypot(rows - rng.integers(0, 224), columns - rng.integers(0, 224))
        plane = (np.cos(radius / rng.integers(4, 30)) * np.exp(-radius / 90)).astype(np.float32)
        plane[rng.integers(0, 2) * 223, rng.integers(0, 2) * 223] = 1.5
    plane = plane - plane.min()
    return (plane / max(float(plane.max()), 1e-6)).astype(np.float32)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(0, 223)] * 4))
def test_one_sweep_finds_what_contours_at_each_threshold_find(seed, corners):
    x0, y0, x1, y1 = corners
    boxes = np.array([[min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]], dtype=np.int64)
    own = rough_map(seed)
    found = box_hits(own, boxes)
    hits, largest = contours_of_each((own * 255).astype(np.uint8), boxes)
    np.testing.assert_array_equal(unpack(found.grid), hits)
    np.testing.assert_array_equal(unpack((found.largest,))[0], largest)


def test_a_ring_and_a_dot_are_not_taken_for_one_piece():
    """Two pieces less one hole are 1 as well; the dot is lower, so that the ring is alone above the high thresholds."""
    own = np.zeros((224, 224), dtype=np.float32)
    own[20:121, 20:121], own[21:120, 21:120] = 0.9, 0.0
    own[20, 20] = 1.0
    own[200:210, 200:210] = 0.5
    boxes = np.array([[20, 20, 120, 120]], dtype=np.int64)
    hits, largest = contours_of_each((own * 255).astype(np.uint8), boxes)
    found = box_hits(own, boxes)
    np.testing.assert_array_equal(unpack(found.grid), hits)
    np.testing.assert_array_equal(unpack((found.largest,))[0], largest)
    assert hits[2, 10]


def test_of_one_piece_no_contour_is_looked_for(monkeypatch):
    def none_wanted(*_: object, **__: object) -> None:
        raise AssertionError("a contour was looked for")

    plane = np.zeros((7, 7), dtype=np.float32)
    plane[2:5, 3:6] = [[1, 2, 1.2], [2.1, 4, 2.4], [1, 2.2, 1.1]]
    own = np.maximum(score_map(plane), 0.1) - 0.1  # without the ripples of the cubic kernel around it
    own /= own.max()
    boxes = np.array([[90, 60, 190, 160]], dtype=np.int64)
    hits, largest = contours_of_each((own * 255).astype(np.uint8), boxes)
    monkeypatch.setattr(cv2, "findContours", none_wanted)
    found = box_hits(own, boxes)
    np.testing.assert_array_equal(unpack(found.grid), hits)
    np.testing.assert_array_equal(unpack((found.largest,))[0], largest)
    assert hits.any()
    assert not hits.all()


def test_the_second_largest_blob_meets_nothing_by_one_box():
    plane = np.zeros((14, 14), np.float32)
    plane[1:9, 1:9], plane[11:13, 11:13] = 1.0, 1.0
    small = np.array([[176, 176, 208, 208]])
    found = box_hits(score_map(plane), small)
    assert unpack(found.grid)[1].any()
    assert not unpack((found.largest,)).any()


def test_a_box_from_a_hole_counts_as_published():
    plane = np.ones((9, 9), np.float32)
    plane[3:6, 3:6] = 0.0
    inner = np.array([[70, 70, 152, 152]])
    hits = unpack(box_hits(score_map(plane), inner).grid)
    np.testing.assert_array_equal(hits, maxboxacc_successes(plane, inner))
    assert hits[2].any()  # the ring around the hole is far larger: its own box has an IoU of 0.14


def test_a_flat_class_finds_nothing():
    assert not unpack(box_hits(score_map(np.full((7, 7), 3.0)), np.array([[50, 50, 200, 200]])).grid).any()


def test_finer_thresholds_of_the_source_change_little():
    """At its default interval of 0.001 the source has 255 distinct thresholds; the best of 100 is nearly theirs."""
    fine, coarse = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        plane, corner = random_plane(seed), rng.integers(0, 112, size=2)
        boxes = np.array([[*corner, *(corner + rng.integers(40, 111, size=2))]])
        fine.append(maxboxacc_successes(plane, boxes, 0.004))
        coarse.append(unpack(box_hits(score_map(plane), boxes).grid))
    best = [np.mean(each, axis=0).max(axis=1) for each in (fine, coarse)]
    assert np.abs(best[0] - best[1]).max() <= 1 / 12 + 1e-9


def test_centred_boxes_grow_with_the_threshold():
    hits = unpack(box_hits(score_map(np.eye(7)), np.array([[56, 56, 168, 168]])).centre)
    assert hits[2, 49]  # half of the sides is this very box
    assert not hits[2, 30]
    assert not hits[2, 80]


def test_intersection_over_union_counts_both_corners():
    one, other = np.array([[0, 0, 9, 9]]), np.array([[5, 0, 14, 9], [0, 0, 9, 9], [10, 10, 12, 12]])
    assert intersection_over_union(one, other).tolist() == [[50 / 150, 1.0, 0.0]]


def best_threshold(table) -> int:
    sums = [sum(each[:, t].sum() for each in table) for t in range(100)]
    return sums.index(max(sums))


def test_no_object_is_measured_at_a_threshold_that_it_chose():
    """Each half succeeds at its own threshold and at no other: chosen on the other half, nothing succeeds."""
    flags = np.zeros((6, 3, 100), bool)
    flags[0::2, :, 20], flags[1::2, :, 60] = True, True
    found, outcomes = box_accuracy([BoxHits(pack(each), pack(each), pack(each)[1], True) for each in flags])
    assert found.one_box.grid.share == found.top1.grid.share == outcomes.v1.sum() == 0
    assert found.one_box.grid.oracle == 0.5
    assert found.grid.shares.mean == 0
    assert found.grid.halves.thresholds == (0.6, 0.2)
    assert found.grid.oracle.mean == 0.5


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_accuracy_by_chosen_threshold_and_by_the_oracle(count, seed):
    rng = np.random.default_rng(seed)
    flags = rng.random((count, 2, 3, 100)) < rng.random((1, 2, 3, 100))
    answered = rng.random(count) < 0.7
    hits = [
        BoxHits(pack(each[0]), pack(each[1]), pack(each[0])[1], bool(right))
        for each, right in zip(flags, answered, strict=True)
    ]
    result, outcomes = box_accuracy(hits)
    for place, found in ((0, result.grid), (1, result.centre_box)):
        table = flags[:, place]
        measured, cuts = held_out(table)
        assert found.threshold == pytest.approx(THRESHOLDS[best_threshold(table)] + 0.01 * place)
        assert found.halves.objects == ((count + 1) // 2, count // 2)
        assert found.halves.thresholds == pytest.approx([THRESHOLDS[cut] + 0.01 * place for cut in cuts])
        expected = np.mean(measured, axis=0)
        assert [to_json(found)[f"iou_{iou}"] for iou in IOUS] == pytest.approx(expected)
        assert found.shares.mean == pytest.approx(np.mean(expected))
        best = [max(np.mean([each[i, t] for each in table]) for t in range(100)) for i in range(3)]
        assert [to_json(found.oracle)[f"iou_{iou}"] for iou in IOUS] == pytest.approx(best)
        assert found.oracle.mean == pytest.approx(np.mean(best))
    assert outcomes.v2.mean() == pytest.approx(result.grid.shares.mean)
    assert result.excess == pytest.approx(result.grid.shares.mean - result.centre_box.shares.mean)
    for one, which in ((result.one_box, np.ones(count, bool)), (result.top1, answered)):
        shares = []
        for place, found in ((0, one.grid), (1, one.centre_box)):
            table = flags[:, place, 1:2] & which[:, None, None]
            measured, cuts = held_out(table)
            assert found.share == pytest.approx(np.mean(measured))
            assert found.oracle == pytest.approx(max(np.mean(table[:, 0, t]) for t in range(100)))
            assert found.threshold == pytest.approx(THRESHOLDS[best_threshold(table)] + 0.01 * place)
            assert found.halves.thresholds == pytest.approx([THRESHOLDS[cut] + 0.01 * place for cut in cuts])
            shares.append(found.share)
        assert one.excess == pytest.approx(shares[0] - shares[1])
    assert outcomes.top1.mean() == pytest.approx(result.top1.grid.share)
    assert (outcomes.top1 <= answered).all()


def held_out(table) -> tuple[list, list[int]]:
    """The objects' successes at the other half's best threshold, in any order; and these thresholds."""
    measured, cuts = [], []
    for half in (0, 1):
        others = [each for number, each in enumerate(table) if number % 2 != half] or list(table)
        cuts.append(best_threshold(others))
        measured += [each[:, cuts[-1]] for number, each in enumerate(table) if number % 2 == half]
    return measured, cuts


def test_a_part_keeps_the_thresholds_of_the_whole():
    rng = np.random.default_rng(3)
    flags = rng.random((9, 2, 3, 100)) < 0.4
    hits = [BoxHits(pack(each[0]), pack(each[1]), pack(each[0])[1], True) for each in flags]
    _, outcomes = box_accuracy(hits)
    parts = [outcomes.of(places) for places in ((0, 3, 4), (1, 2, 5, 6, 7, 8))]
    assert (3 * parts[0].v1.mean() + 6 * parts[1].v1.mean()) / 9 == pytest.approx(outcomes.v1.mean())
    assert parts[0].v2.tolist() == outcomes.v2[[0, 3, 4]].tolist()


def test_no_objects_have_no_accuracy():
    with pytest.raises(ValueError, match="no objects"):
        box_accuracy([])


@given(st.integers(10, 500), st.integers(10, 500), st.integers(0, 2**32 - 1))
def test_boxes_land_where_the_source_puts_them(width, height, seed):
    x = np.sort(np.random.default_rng(seed).integers(0, width + 1, size=2))
    y = np.sort(np.random.default_rng(seed + 1).integers(0, height + 1, size=2))
    found = boxes_on_map(
        ((*map(float, (x[0], y[0], x[1], y[1])),),), Geometry.plan((height, width), (64, 96), "squash")
    )
    expected = [
        int(x[0] * 224.0 / width),
        int(y[0] * 224.0 / height),
        int(x[1] * 224.0 / width),
        int(y[1] * 224.0 / height),
    ]
    if x[0] == x[1] or y[0] == y[1]:
        assert len(found) == 0
    else:
        assert found.tolist() == [expected]


def test_boxes_are_cut_at_the_window_and_dropped_outside():
    geometry = Geometry.plan((100, 300), (50, 50), "shortest")  # sees columns 100..200
    boxes = ((0.0, 0.0, 100.0, 100.0), (50.0, 25.0, 150.0, 75.0), (150.0, 0.0, 300.0, 50.0))
    assert boxes_on_map(boxes, geometry).tolist() == [[0, 56, 112, 168], [112, 0, 224, 112]]


def test_score_map_reaches_both_ends():
    found = score_map(np.random.default_rng(0).normal(size=(7, 7)) * 30)
    assert (found.shape, found.dtype, found.min(), found.max()) == ((224, 224), np.float32, 0.0, 1.0)


def test_mask_on_the_map_is_nearest_by_centres():
    mask = np.random.default_rng(0).random((37, 53)) < 0.5
    geometry = Geometry.plan((37, 53), (64, 64), "squash")
    expected = cv2.resize(mask.astype(np.uint8), (224, 224), interpolation=cv2.INTER_NEAREST_EXACT)
    np.testing.assert_array_equal(mask_on_map(mask, geometry), expected)


def test_mask_on_the_map_knows_padding():
    geometry = Geometry.plan((50, 100), (64, 64), "letterbox")
    found = mask_on_map(np.ones((50, 100), bool), geometry)
    assert (found[:56] == -1).all()
    assert (found[56:168] == 1).all()
    assert (found[168:] == -1).all()
    upright = mask_on_map(np.ones((100, 50), bool), Geometry.plan((100, 50), (64, 64), "letterbox"))
    np.testing.assert_array_equal(upright, found.T)
