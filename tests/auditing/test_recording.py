"""One image's record against the vendor's own answer, worked out by NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.special import expit, softmax

from onnx_gapmil import GridSession
from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.aggregate.reading import ONE_OF_MANY, Reading
from onnx_gapmil.auditing.recording import record_batch
from onnx_gapmil.auditing.records import Failure, ImageRecord, Record
from onnx_gapmil.data import Box, Sample
from onnx_gapmil.images.places import Places
from onnx_gapmil.running.pipeline import iterate_batches
from tests.helpers.support import raw_pixels, rng, text_model, weights

KERNEL = weights(7, 3, 1, 1) / 50
MODEL = text_model(
    "c = Conv(x, w)\n p = GlobalAveragePool(c)\n y = Flatten(p)",
    x="float[N,3,4,6] x",
    y="float[N,7] y",
    init={"w": KERNEL},
)
PIXELS = rng(3).integers(0, 256, (4, 4, 6, 3), np.uint8)
GRIDS = np.einsum("kc,nhwc->nkhw", KERNEL[:, :, 0, 0].astype(np.float64), PIXELS.astype(np.float64))

UNKNOWN = Places.unknown("not traced")


def samples(folder: Path, **changes: dict[str, Any]) -> list[Sample]:
    """Four photos of label 2 whose object fills the left half; ``changes`` by the photo's name."""
    found = []
    for place, photo in enumerate(PIXELS):
        name = f"photo{place}"
        Image.fromarray(photo).save(folder / f"{name}.png")
        values = {"labels": (2,), "boxes": (Box((0.0, 0.0, 3.0, 4.0), (2,)),)} | changes.get(name, {})
        found.append(Sample(folder / f"{name}.png", name, **values))
    return found


def recorded(
    found: list[Sample], *, reading: Reading = ONE_OF_MANY, arranged: bool = True, judged: tuple[int, ...] = ()
) -> list[Record]:
    (batch,) = iterate_batches(
        GridSession(MODEL), raw_pixels(4, 6), [sample.image for sample in found], batch=4, outputs=("grid",)
    )
    return record_batch(found, batch, head=0, reading=reading, arranged=arranged, places=UNKNOWN, judged=judged)


def test_a_record_has_the_models_first_classes_and_their_probabilities(tmp_path: Path) -> None:
    records = recorded(samples(tmp_path))
    for record, grid in zip(records, GRIDS, strict=True):
        assert isinstance(record, ImageRecord)
        shares = softmax(grid.mean(axis=(1, 2)))
        order = np.argsort(-shares)[:5]
        assert [index for index, _ in record.top] == order.tolist()
        np.testing.assert_allclose([share for _, share in record.top], shares[order], rtol=1e-5)
        assert record.size == (6, 4)
        assert record.measures.prediction == order[0]
        assert record.measures.confidence == pytest.approx(shares.max(), rel=1e-5)
        assert record.measures.foreground_cells == tuple(6 * row + column for row in range(4) for column in range(3))


def test_ranks_by_aggregator_are_those_of_its_scores(tmp_path: Path) -> None:
    records = recorded(samples(tmp_path))
    cells = GRIDS.reshape(4, 7, -1)
    scores = {
        "mean": cells.mean(axis=-1),
        "max": cells.max(axis=-1),
        "median": np.median(cells, axis=-1),
        "prob_mean": softmax(cells, axis=1).mean(axis=-1),
    }
    for record, place in zip(records, range(4), strict=True):
        assert isinstance(record, ImageRecord)
        assert set(record.aggregators) == set(AGGREGATORS)
        for name, found in scores.items():
            assert record.aggregators[name] == ((found[place] > found[place, 2]).sum(),), name


def test_classes_that_do_not_exclude_one_another_have_sigmoids(tmp_path: Path) -> None:
    records = recorded(samples(tmp_path), reading=Reading.of("sigmoid", 7), judged=(2, 5))
    record = records[0]
    assert isinstance(record, ImageRecord)
    shares = expit(GRIDS[0].mean(axis=(1, 2)))
    np.testing.assert_allclose([share for _, share in record.top], np.sort(shares)[::-1][:5], rtol=1e-5)
    for place, each in enumerate(records):
        assert isinstance(each, ImageRecord)
        assert each.answered is not None
        logits, cells = GRIDS[place].mean(axis=(1, 2)), GRIDS[place].reshape(7, -1)
        assert each.answered.present == tuple(np.flatnonzero(logits > 0).tolist())
        np.testing.assert_allclose(each.answered.scores, logits[[2, 5]], rtol=1e-4, atol=1e-5)
        # Each class by itself, with its sigmoid: no class takes anything from another.
        pooled = each.answered.pooled
        assert set(pooled) == set(AGGREGATORS)
        np.testing.assert_allclose(pooled["max"], cells.max(axis=1)[[2, 5]], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(pooled["prob_mean"], expit(cells).mean(axis=1)[[2, 5]], rtol=1e-4)
        noisy = -np.log1p(-expit(cells)).sum(axis=1)
        np.testing.assert_allclose(pooled["noisy_or"], noisy[[2, 5]], rtol=1e-4)
    assert recorded(samples(tmp_path))[0].answered is None  # type: ignore[union-attr]


def test_thresholds_move_what_is_present_and_who_wins(tmp_path: Path) -> None:
    found = samples(tmp_path)
    logits, cells = GRIDS[0].mean(axis=(1, 2)), GRIDS[0].reshape(7, -1)
    levels = np.array([0.02, 0.9, 0.5, 0.97, 0.5, 0.3, 0.99])
    at = np.log(levels / (1 - levels))
    record = recorded(found, reading=Reading.of("sigmoid", 7, levels.tolist()), judged=(2,))[0]
    assert isinstance(record, ImageRecord)
    assert record.answered is not None
    assert record.answered.present == tuple(np.flatnonzero(logits > at).tolist())
    assert record.measures.prediction == int((logits - at).argmax()) == record.top[0][0]
    margins = cells - at[:, None]
    won = np.where(margins.max(axis=0) > 0, margins.argmax(axis=0), -1).reshape(4, 6)[:, :3].ravel()
    assert record.measures.foreground is not None
    assert record.measures.foreground.cell_share == pytest.approx((won == 2).mean())


def test_an_image_without_a_label_is_right_where_nothing_is_present(tmp_path: Path) -> None:
    nothing = {f"photo{place}": {"labels": (), "boxes": ()} for place in range(4)}
    found = samples(tmp_path, **nothing)
    for place, record in enumerate(recorded(found, reading=Reading.of("sigmoid", 7), judged=(2,))):
        assert isinstance(record, ImageRecord)
        assert record.measures.right == bool(GRIDS[place].mean(axis=(1, 2)).max() <= 0)
        assert record.measures.ranks == ()


def test_without_an_arrangement_nothing_is_measured_by_place(tmp_path: Path) -> None:
    record = recorded(samples(tmp_path), arranged=False)[0]
    assert isinstance(record, ImageRecord)
    assert record.measures.foreground is record.measures.edges is record.measures.pointing is None


def test_images_that_fail_leave_the_others_their_own_answers(tmp_path: Path) -> None:
    """One cannot be read, and has no row in the batch; one has, but its box lies outside the photo."""
    whole = recorded(samples(tmp_path))
    found = samples(tmp_path, photo2={"boxes": (Box((4.0, 0.0, 60.0, 4.0), (2,)),)})
    (tmp_path / "photo1.png").write_bytes(b"no picture")
    records = recorded(found)
    assert [type(record) for record in records] == [ImageRecord, Failure, Failure, ImageRecord]
    assert (records[0], records[3]) == (whole[0], whole[3])
    assert isinstance(records[1], Failure)
    assert isinstance(records[2], Failure)
    assert (records[1].image, records[2].image) == ("photo1", "photo2")
    assert "photo1.png" in records[1].error
    assert "box" in records[2].error


def test_an_answer_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    found = samples(tmp_path)
    (batch,) = iterate_batches(
        GridSession(MODEL), raw_pixels(4, 6), [sample.image for sample in found], batch=4, outputs=("grid",)
    )
    grid = batch.grids[0].grid
    assert grid is not None
    grid[1, 3, 0, 0] = np.inf
    records = record_batch(found, batch, head=0, reading=ONE_OF_MANY, arranged=True, places=UNKNOWN)
    assert [isinstance(record, Failure) for record in records] == [False, True, False, False]
    assert records[1] == Failure("photo1", "photo1: the model's answer is not finite (overflow or NaN).")


def test_a_mask_of_another_size_is_a_failure(tmp_path: Path) -> None:
    Image.new("L", (5, 4), 255).save(tmp_path / "mask.png")
    records = recorded(samples(tmp_path, photo3={"mask": tmp_path / "mask.png", "boxes": ()}))
    assert [isinstance(record, Failure) for record in records] == [False, False, False, True]
