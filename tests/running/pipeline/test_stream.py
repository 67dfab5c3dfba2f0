"""Photos through a model as a stream: each answer is the photo's own, whatever happens to its neighbours."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnx_gapmil.errors import ImageError, ModelError
from onnx_gapmil.images.decode import read_image
from onnx_gapmil.running.pipeline import Answered, iterate, iterate_batches
from onnx_gapmil.running.prediction_grid import PredictionGrid
from tests.helpers.support import raw_pixels

PREPROCESS = raw_pixels(4, 6)


class FakeSession:
    """Two heads: the first's grid is the input itself, the second's twice that."""

    def __init__(self, *, fixed_batch: int | None = None, used: str = "cpu") -> None:
        self.fixed_batch = fixed_batch
        self.lanes = 1
        self.provider = {"used": used}
        self.batches: list[np.ndarray] = []
        self.failure: Exception | None = None

    def run(self, batch: np.ndarray, *, outputs: Collection[str] | None = None) -> list[PredictionGrid]:
        if self.failure is not None:
            raise self.failure
        self.batches.append(batch.copy())
        return [
            PredictionGrid(
                name,
                factor * batch.mean((2, 3)),
                factor * batch,
                batch.copy() if "features" in (outputs or ()) else None,
            )
            for name, factor in (("once", 1), ("twice", 2))
        ]


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Eleven photos of one grey level each, 10 times their place; the fourth and the last two are damaged."""
    paths = []
    for place in range(11):
        path = tmp_path / f"{place}.png"
        if place in BAD:
            path.write_bytes(b"no image")
        else:
            Image.new("RGB", (12, 8), (10 * place,) * 3).save(path)
        paths.append(path)
    return paths


BAD = {3, 9, 10}


def levels(answers: list[Answered | ImageError]) -> list[float | None]:
    return [None if isinstance(answer, ImageError) else float(answer.grids[0].grid.max()) for answer in answers]


@pytest.mark.parametrize("used", ["cpu", "cuda"])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 11, 50])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_photo_gets_its_own_answer_in_its_place(photos: list[Path], batch: int, workers: int, used: str) -> None:
    answers = list(iterate(FakeSession(used=used), PREPROCESS, photos, batch=batch, workers=workers))
    assert levels(answers) == [None if place in BAD else 10.0 * place for place in range(11)]
    for place, answer in enumerate(answers):
        if isinstance(answer, Answered):
            assert (answer.path, answer.place) == (photos[place], place)
            assert answer.geometry.image_size == (8, 12)
            once, twice = answer.grids
            assert once.grid.shape == (1, 3, 4, 6)
            np.testing.assert_array_equal(twice.grid, 2 * once.grid)
            np.testing.assert_array_equal(once.logits, once.grid.mean((2, 3)))
            assert once.features is None
        else:
            assert str(photos[place]) in str(answer)


def test_on_an_accelerator_every_batch_has_one_shape_and_is_filled_with_photos(photos: list[Path]) -> None:
    session = FakeSession(used="cuda")
    list(iterate(session, PREPROCESS, photos, batch=4))
    assert [len(batch) for batch in session.batches] == [4, 4, 4]
    assert [sorted({float(row.max()) for row in batch}) for batch in session.batches] == [
        [0, 10, 20],
        [40, 50, 60, 70],
        [80],
    ]


def test_on_the_cpu_nothing_is_filled_up(photos: list[Path]) -> None:
    session = FakeSession()
    list(iterate(session, PREPROCESS, photos, batch=4))
    assert [len(batch) for batch in session.batches] == [3, 4, 1]


def test_a_fixed_batch_is_kept_whatever_was_asked_for(photos: list[Path]) -> None:
    session = FakeSession(fixed_batch=2, used="cuda")
    assert levels(list(iterate(session, PREPROCESS, photos[:3], batch=8))) == [0, 10, 20]
    assert [len(batch) for batch in session.batches] == [2, 2]


def test_the_batch_is_no_larger_than_the_number_of_photos(photos: list[Path]) -> None:
    session = FakeSession(used="cuda")
    list(iterate(session, PREPROCESS, photos[:2], batch=64))
    assert [len(batch) for batch in session.batches] == [2]


def test_a_batch_of_damaged_photos_is_not_run(photos: list[Path]) -> None:
    session = FakeSession(used="cuda")
    (answered,) = iterate_batches(session, PREPROCESS, [photos[place] for place in sorted(BAD)], batch=3)
    assert session.batches == []
    assert [type(entry) for entry in answered.entries] == [ImageError] * 3
    assert (answered.grids, answered.photos) == ((), ())


def test_rows_of_a_batch_belong_to_the_photos_that_could_be_read(photos: list[Path]) -> None:
    first = next(iterate_batches(FakeSession(used="cuda"), PREPROCESS, photos, batch=5))
    assert [photo.place for photo in first.photos] == [0, 1, 2, 4]
    assert first.grids[0].grid.shape[0] == first.grids[1].logits.shape[0] == 4
    assert first.grids[0].grid[3].max() == 40


def test_pixels_are_kept_only_when_asked_for(photos: list[Path]) -> None:
    (without,) = iterate(FakeSession(), PREPROCESS, photos[5:6])
    assert without.pixels is None
    (kept,) = iterate(FakeSession(), PREPROCESS, photos[5:6], keep_photos=True)
    np.testing.assert_array_equal(kept.pixels, np.full((8, 12, 3), 50, np.uint8))


def test_features_come_when_asked_for(photos: list[Path]) -> None:
    (answer,) = iterate(FakeSession(), PREPROCESS, photos[5:6], outputs={"grid", "features"})
    assert answer.grids[0].features.shape == (1, 3, 4, 6)


def test_no_photo_is_no_answer() -> None:
    assert list(iterate(FakeSession(), PREPROCESS, [])) == []


def test_a_run_that_fails_ends_the_stream_and_its_threads(photos: list[Path]) -> None:
    session = FakeSession()
    session.failure = ModelError("the run failed")
    before = set(threading.enumerate())
    with pytest.raises(ModelError, match="the run failed"):
        list(iterate(session, PREPROCESS, photos, batch=2))
    assert set(threading.enumerate()) <= before


def test_a_bug_while_decoding_is_no_image_error(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> np.ndarray:
        raise AssertionError("a bug")

    monkeypatch.setattr("onnx_gapmil.running.pipeline.stream.read_samples", broken)
    with pytest.raises(AssertionError, match="a bug"):
        list(iterate(FakeSession(), PREPROCESS, photos))


def test_leaving_early_leaves_no_thread_and_reads_little(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(
        "onnx_gapmil.running.pipeline.stream.read_samples", lambda path: (read.append(path), read_image(photos[0]))[1]
    )
    before = set(threading.enumerate())
    answers = iterate(FakeSession(), PREPROCESS, photos * 100, batch=2, workers=2)
    next(answers)
    answers.close()
    assert set(threading.enumerate()) <= before
    assert len(read) < 20


def test_buffers_are_used_again(photos: list[Path]) -> None:
    """Memory does not grow with the number of photos: 300 of them live in a handful of arrays."""
    seen = set()
    session = FakeSession(used="cuda")
    real = session.run
    session.run = lambda batch, **options: (seen.add(batch.ctypes.data), real(batch, **options))[1]
    for _ in iterate(session, PREPROCESS, photos * 30, batch=2, workers=2):
        session.batches.clear()
    assert len(seen) <= 7


@given(st.lists(st.sampled_from([True, True, False]), max_size=20), st.integers(1, 6), st.booleans())
def test_answers_match_photos_for_any_pattern_of_damage(good: list[bool], batch: int, cuda: bool) -> None:
    """Decoding is replaced: photo i is of grey level i."""

    def fake_read(path: Path) -> np.ndarray:
        if not good[int(path.name)]:
            raise ImageError(f"{path} is damaged")
        return np.full((4, 6, 3), int(path.name), np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onnx_gapmil.running.pipeline.stream.read_samples", fake_read)
        session = FakeSession(used="cuda" if cuda else "cpu")
        answers = list(iterate(session, PREPROCESS, [Path(str(i)) for i in range(len(good))], batch=batch, workers=2))
    assert levels(answers) == [float(place) if fine else None for place, fine in enumerate(good)]


def test_a_row_of_several_kinds_of_arrays(photos: list[Path]) -> None:
    """Whatever a `PredictionGrid` carries is cut: arrays, arrays by name, and what is absent."""
    from onnx_gapmil.running.pipeline.stream import _cut

    rows = slice(1, 2)
    np.testing.assert_array_equal(_cut(np.arange(6).reshape(3, 2), rows), [[2, 3]])
    assert _cut({"max": np.arange(3)}, rows)["max"].tolist() == [1]
    assert _cut(None, rows) is None
    assert _cut("logits", rows) == "logits"
